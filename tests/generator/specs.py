"""The fixtures of the repository. Sizes are small, but every feature named in `about` changes the outputs."""


def dense(model_type, arch, hidden=64, layers=3, heads=4, kv=2, inter=136, vocab=512, **kw):
    c = {"architectures": [arch], "model_type": model_type, "vocab_size": vocab, "hidden_size": hidden,
         "intermediate_size": inter, "num_hidden_layers": layers, "num_attention_heads": heads,
         "num_key_value_heads": kv, "hidden_act": "silu", "max_position_embeddings": 256, "rms_norm_eps": 1e-6,
         "rope_theta": 10000.0, "tie_word_embeddings": False, "attention_dropout": 0.0, "use_cache": True,
         "initializer_range": 0.02, "torch_dtype": "bfloat16"}
    c.update(kw)
    return c


def without(config, *keys):
    return {k: v for k, v in config.items() if k not in keys}


# Short prompts and a small vocabulary, so that a whole fixture stays below 300 kB.
SMALL = dict(new_tokens=12, random_ids=29, few_cases=True, texts=("Hello!", "你好: x = y + 1", None))

YARN = {"type": "yarn", "factor": 8.0, "original_max_position_embeddings": 32, "beta_fast": 32, "beta_slow": 1}


def small(model_type, arch, **kw):
    return dense(model_type, arch, **{**dict(hidden=48, layers=2, heads=4, kv=1, inter=61, vocab=277), **kw})


def mtp(layer, hidden):
    """A layer for predicting several tokens, stored behind those that are run."""
    at = f"model.layers.{layer}"
    return {f"{at}.eh_proj.weight": [hidden, 2 * hidden], f"{at}.enorm.weight": [hidden], f"{at}.self_attn.o_proj.weight": [hidden, 7],
            f"{at}.input_layernorm.weight": [hidden]}


def fixture(name, seed, about, config, **kw):
    return dict(name=name, seed=seed, about=about, config=config, **{**SMALL, "tok_vocab": 271, **kw})


MLA = dict(kv=4, q_lora_rank=20, kv_lora_rank=24, qk_nope_head_dim=10, qk_rope_head_dim=8, v_head_dim=14)
SANDWICH = {r"post_.*layernorm|post_.*_norm": lambda x: 0.3 * x + 2.0}

SPECS = [
    dict(name="llama", seed=11, tokenizer="llama3",
         about="Llama 3.1: grouped-query attention, llama3 rope scaling hitting all three frequency bands, BOS added, "
               "a second stop token in generation_config.json",
         config=dense("llama", "LlamaForCausalLM", rms_norm_eps=1e-5, attention_bias=False, mlp_bias=False,
                      rope_scaling={"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                                    "original_max_position_embeddings": 64}),
         eos_hit=["generation_config.json"], generation={"do_sample": True, "temperature": 0.6, "top_p": 0.9},
         ablations={"rope_scaling": {"rope_scaling": None}}),
    dict(name="llama_f16", seed=12, dtype="float16", tokenizer="spm", tok_vocab=500,
         about="Llama 2 style: no scaling, kv heads equal heads, float16 weights, SentencePiece-like tokenizer with byte "
               "fallback, model vocabulary larger than the tokenizer's",
         config=dense("llama", "LlamaForCausalLM", layers=2, kv=4, rms_norm_eps=1e-5, torch_dtype="float16")),
    dict(name="qwen2_tied", seed=13, tokenizer="qwen2", embed_std=0.4,
         about="Qwen2/2.5: biases on q, k, v only; tied embeddings, so no lm_head.weight in the file",
         config=dense("qwen2", "Qwen2ForCausalLM", rope_theta=1000000.0, tie_word_embeddings=True, sliding_window=32,
                      use_sliding_window=False, max_window_layers=3),
         ablations={"obeying sliding_window though use_sliding_window is false":
                    {"use_sliding_window": True, "max_window_layers": 0, "sliding_window": 16}}),
    dict(name="qwen2_sharded", seed=14, tokenizer="qwen2", shards=3, template_file=True,
         about="Qwen2 in three shards with model.safetensors.index.json; tensors of one layer lie in different shards; "
               "the chat template is in chat_template.jinja",
         config=dense("qwen2", "Qwen2ForCausalLM", layers=2, rope_theta=1000000.0)),
    dict(name="qwen3", seed=15, tokenizer="qwen2",
         about="Qwen3: RMS norm on each head of q and k before rope, head_dim 24 set apart from hidden/heads, no biases",
         config=dense("qwen3", "Qwen3ForCausalLM", head_dim=24, rope_theta=1000000.0, attention_bias=False, rope_scaling=None)),
    dict(name="qwen3_f32", seed=16, dtype="float32", tokenizer="qwen2",
         about="Qwen3 with float32 weights and the newer config keys (dtype, rope_parameters instead of rope_theta), tied",
         embed_std=0.4,
         config=without(dense("qwen3", "Qwen3ForCausalLM", layers=2, hidden=48, inter=104, heads=4, kv=1, head_dim=16,
                              tie_word_embeddings=True, dtype="float32", layer_types=["full_attention"] * 2,
                              rope_parameters={"rope_type": "default", "rope_theta": 1000000.0}),
                        "rope_theta", "torch_dtype")),
    # Small ones with odd sizes, each with several features that the first six lack.
    dict(name="llama_mixed", seed=31, tokenizer="llama3", tok_vocab=283, **SMALL,
         about="yarn rope scaling in the older spelling with betas of its own; one kv head, heads * head_dim not hidden; odd "
               "vocabulary, hidden and intermediate sizes; bf16, f16, f32 and f64 in one file, among q, k and v, and not the "
               "same in both layers; stored inv_freq, which is to be skipped",
         config=dense("llama", "LlamaForCausalLM", hidden=45, layers=2, heads=5, kv=1, head_dim=14, inter=77, vocab=283,
                      rms_norm_eps=1e-3, rope_scaling={"type": "yarn", "factor": 4.0, "beta_fast": 8, "beta_slow": 0.5,
                                                       "original_max_position_embeddings": 64}),
         dtypes={r"q_proj|up_proj|lm_head": "float16", r"0\.self_attn\.v_proj|gate_proj|input_layernorm": "float32",
                 r"o_proj|1\.self_attn\.v_proj|model\.norm": "float64"},
         extra_tensors={"model.layers.0.self_attn.rotary_emb.inv_freq": [7]},
         ablations={"rope_scaling": {"rope_scaling": None}, "betas":
                    {"rope_scaling": {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}}}),
    dict(name="llama_biased", seed=32, tokenizer="deepseek", tok_vocab=281, embed_std=0.4, **SMALL,
         about="attention_bias and mlp_bias with llama3 rope scaling in rope_parameters; one layer, three heads of q and of kv, odd "
               "sizes; tied by the config, but with a head of its own stored, which is used",
         config=without(dense("llama", "LlamaForCausalLM", hidden=51, layers=1, heads=3, kv=3, head_dim=24, inter=67, vocab=281,
                              attention_bias=True, mlp_bias=True, tie_word_embeddings=True,
                              rope_parameters={"rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0,
                                               "high_freq_factor": 4.0, "original_max_position_embeddings": 64}), "rope_theta"),
         extra_tensors={"lm_head.weight": [281, 51]}, eos_hit=["generation_config.json"],
         ablations={"rope_parameters": {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}}}),
    dict(name="llama_linear", seed=33, dtype="float16", tokenizer="gpt2", tok_vocab=263, shards=2, embed_std=0.4, **SMALL,
         about="linear rope scaling; multi-query attention, tied, float16 in two shards, odd vocabulary and intermediate size",
         config=dense("llama", "LlamaForCausalLM", hidden=50, layers=2, heads=5, kv=1, inter=33, vocab=263, torch_dtype="float16",
                      tie_word_embeddings=True, rope_scaling={"type": "linear", "factor": 4.0}),
         ablations={"rope_scaling": {"rope_scaling": None}}),
    dict(name="qwen2_odd", seed=34, tokenizer="qwen2", tok_vocab=267, **SMALL,
         about="Qwen2 with yarn of a given attention factor; seven heads on one kv head, head_dim not hidden/heads, odd sizes",
         config=dense("qwen2", "Qwen2ForCausalLM", hidden=33, layers=2, heads=7, kv=1, head_dim=12, inter=57, vocab=271,
                      rope_scaling={"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 48, "truncate": False,
                                    "attention_factor": 1.3}),
         ablations={"rope_scaling": {"rope_scaling": None}, "truncate": {"rope_scaling":
                    {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 48, "attention_factor": 1.3}},
                    "attention_factor": {"rope_scaling":
                    {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 48, "truncate": False}}}),
    dict(name="qwen3_odd", seed=35, tokenizer="qwen2", tok_vocab=269, embed_std=0.4, **SMALL,
         about="Qwen3 without head_dim in its config, which means 128; biases, kv heads equal heads, one layer, odd sizes, tied, "
               "float32 norms in a bfloat16 file",
         config=dense("qwen3", "Qwen3ForCausalLM", hidden=37, layers=1, heads=2, kv=2, inter=59, vocab=269, attention_bias=True,
                      tie_word_embeddings=True, rope_theta=1000000.0),
         dtypes={r"norm\.weight": "float32"}),
    dict(name="qwen3_moe", seed=17, tokenizer="qwen2",
         about="Qwen3-MoE: softmax over all experts, best 2 of 8, weights renormalised, no shared expert",
         config=dense("qwen3_moe", "Qwen3MoeForCausalLM", layers=2, head_dim=16, rope_theta=1000000.0, num_experts=8,
                      num_experts_per_tok=2, moe_intermediate_size=24, norm_topk_prob=True, decoder_sparse_step=1,
                      mlp_only_layers=[], router_aux_loss_coef=0.001, output_router_logits=False),
         ablations={"norm_topk_prob": {"norm_topk_prob": False}}),
    dict(name="mixtral", seed=18, tokenizer="spm", about="Mixtral: w1/w2/w3 names, best 2 of 4 experts, weights renormalised, no window",
         config=dense("mixtral", "MixtralForCausalLM", layers=2, inter=56, rms_norm_eps=1e-5, rope_theta=1000000.0,
                      num_local_experts=4, num_experts_per_tok=2, sliding_window=None, output_router_logits=False)),
    dict(name="deepseek_v2", seed=19, tokenizer="deepseek",
         about="DeepSeek-V2: latent attention without q_lora, softmax routing limited to 2 of 4 groups scored by their best "
               "expert, weights not renormalised but scaled, two shared experts, first layer dense, yarn with mscale",
         config=dense("deepseek_v2", "DeepseekV2ForCausalLM", kv=4, q_lora_rank=None, kv_lora_rank=32, qk_nope_head_dim=16,
                      qk_rope_head_dim=8, v_head_dim=12, n_routed_experts=8, n_group=4, topk_group=2, num_experts_per_tok=3,
                      topk_method="group_limited_greedy", scoring_func="softmax", norm_topk_prob=False, n_shared_experts=2,
                      moe_intermediate_size=24, moe_layer_freq=1, first_k_dense_replace=1, routed_scaling_factor=2.0,
                      aux_loss_alpha=0.001, seq_aux=True, attention_bias=False,
                      rope_scaling={"type": "yarn", "factor": 8.0, "original_max_position_embeddings": 32, "beta_fast": 32,
                                    "beta_slow": 1, "mscale": 0.707, "mscale_all_dim": 0.707}),
         ablations={"rope_scaling": {"rope_scaling": None}, "group limit": {"topk_method": "greedy"},
                    "routed_scaling_factor": {"routed_scaling_factor": 1.0},
                    "mscale_all_dim": {"rope_scaling": {"type": "yarn", "factor": 8.0, "original_max_position_embeddings": 32,
                                                        "beta_fast": 32, "beta_slow": 1, "attention_factor": 1.0}}}),
    dict(name="deepseek_v3", seed=20, tokenizer="deepseek",
         about="DeepSeek-V3: latent attention with q_lora, sigmoid scores with a correction bias that only steers the choice, "
               "2 of 4 groups by the sum of their two best, weights renormalised then scaled, one shared expert, first "
               "layer dense, yarn with mscale",
         config=dense("deepseek_v3", "DeepseekV3ForCausalLM", kv=4, q_lora_rank=24, kv_lora_rank=32, qk_nope_head_dim=16,
                      qk_rope_head_dim=8, v_head_dim=12, n_routed_experts=8, n_group=4, topk_group=2, num_experts_per_tok=3,
                      topk_method="noaux_tc", scoring_func="sigmoid", norm_topk_prob=True, n_shared_experts=1,
                      moe_intermediate_size=24, moe_layer_freq=1, first_k_dense_replace=1, routed_scaling_factor=2.5,
                      attention_bias=False, num_nextn_predict_layers=0, ep_size=1,
                      rope_scaling={"type": "yarn", "factor": 8.0, "original_max_position_embeddings": 32, "beta_fast": 32,
                                    "beta_slow": 1, "mscale": 1.0, "mscale_all_dim": 1.0}),
         ablations={"rope_scaling": {"rope_scaling": None}, "group limit": {"topk_group": 4},
                    "routed_scaling_factor": {"routed_scaling_factor": 1.0}, "norm_topk_prob": {"norm_topk_prob": False},
                    "rope_interleave": {"rope_interleave": False},
                    "mscale_all_dim": {"rope_scaling": {"type": "yarn", "factor": 8.0, "original_max_position_embeddings": 32,
                                                        "beta_fast": 32, "beta_slow": 1, "attention_factor": 1.0}}}),
    # Families beyond llama, qwen2 and qwen3, every feature that matters switched on.
    fixture("mistral", 41, "Mistral: a window of 8 in all layers, one kv head, head_dim of its own, odd sizes",
            small("mistral", "MistralForCausalLM", hidden=44, head_dim=14, sliding_window=8, rms_norm_eps=1e-5),
            ablations={"sliding_window": {"sliding_window": None}, "a window of 9": {"sliding_window": 9}}),
    fixture("mixtral_window", 42, "Mixtral: best 2 of 5 experts, weights renormalised, a window of 7",
            small("mixtral", "MixtralForCausalLM", inter=33, num_local_experts=5, num_experts_per_tok=2, sliding_window=7,
                  head_dim=14, rope_theta=1000000.0),
            ablations={"sliding_window": {"sliding_window": None}}),
    fixture("mixtral_top1", 43, "Mixtral: the best 1 of 3 experts, whose weight is 1; one layer, kv heads equal heads",
            small("mixtral", "MixtralForCausalLM", layers=1, kv=4, inter=41, num_local_experts=3, num_experts_per_tok=1,
                  sliding_window=None)),
    fixture("qwen2_moe", 44, "Qwen2-MoE: best 2 of 5 experts, not renormalised, a shared expert behind a sigmoid gate, every second "
            "layer sparse but for one of mlp_only_layers, biases on q, k, v by default",
            small("qwen2_moe", "Qwen2MoeForCausalLM", hidden=36, layers=4, heads=3, inter=39, num_experts=5, num_experts_per_tok=2,
                  moe_intermediate_size=21, shared_expert_intermediate_size=27, decoder_sparse_step=2, mlp_only_layers=[3],
                  norm_topk_prob=False, sliding_window=4, use_sliding_window=False, max_window_layers=2),
            ablations={"norm_topk_prob": {"norm_topk_prob": True}}),
    fixture("qwen2_moe_top1", 45, "Qwen2-MoE: the best 1 of 3 experts with its plain softmax weight, no biases, a window of 6 in layer 0 "
            "(layers with even index below max_window_layers)",
            small("qwen2_moe", "Qwen2MoeForCausalLM", hidden=36, layers=2, heads=3, kv=3, inter=39, num_experts=3, num_experts_per_tok=1,
                  moe_intermediate_size=21, shared_expert_intermediate_size=27, norm_topk_prob=False, qkv_bias=False,
                  sliding_window=6, use_sliding_window=True, max_window_layers=2),
            ablations={"use_sliding_window": {"use_sliding_window": False}}),
    fixture("qwen3_moe_mixed", 46, "Qwen3-MoE: best 2 of 5 experts, not renormalised, layer 0 dense by mlp_only_layers, attention_bias, "
            "head_dim of its own",
            small("qwen3_moe", "Qwen3MoeForCausalLM", hidden=36, inter=39, head_dim=14, num_experts=5, num_experts_per_tok=2,
                  moe_intermediate_size=21, norm_topk_prob=False, decoder_sparse_step=1, mlp_only_layers=[0], attention_bias=True),
            ablations={"norm_topk_prob": {"norm_topk_prob": True}}),
    fixture("qwen3_moe_top1", 47, "Qwen3-MoE: the best 1 of 3 experts, renormalised to 1, decoder_sparse_step 2, a window of 6 in all "
            "layers, kv heads equal heads",
            small("qwen3_moe", "Qwen3MoeForCausalLM", hidden=36, layers=2, kv=4, inter=39, head_dim=14, num_experts=3, num_experts_per_tok=1,
                  moe_intermediate_size=21, norm_topk_prob=True, decoder_sparse_step=2, mlp_only_layers=[], sliding_window=6,
                  use_sliding_window=True, max_window_layers=2),
            ablations={"norm_topk_prob": {"norm_topk_prob": False}, "use_sliding_window": {"use_sliding_window": False}}),
    fixture("deepseek_v2_groups", 48, "DeepSeek-V2: latent attention with q_lora and biases, best 3 of 6 experts in 2 of 3 groups, scaled, "
            "one shared expert, first layer dense, yarn with an mscale other than mscale_all_dim",
            small("deepseek_v2", "DeepseekV2ForCausalLM", **MLA, n_routed_experts=6, n_group=3, topk_group=2, num_experts_per_tok=3,
                  topk_method="group_limited_greedy", scoring_func="softmax", norm_topk_prob=False, n_shared_experts=1,
                  moe_intermediate_size=19, moe_layer_freq=1, first_k_dense_replace=1, routed_scaling_factor=2.0, attention_bias=True,
                  rope_scaling={**YARN, "mscale": 0.707, "mscale_all_dim": 1.0}),
            ablations={"rope_scaling": {"rope_scaling": None}, "group limit": {"topk_method": "greedy"},
                       "mscale": {"rope_scaling": {**YARN, "mscale": 1.0, "mscale_all_dim": 1.0}},
                       "mscale_all_dim": {"rope_scaling": {**YARN, "attention_factor": 0.9}}}),
    fixture("deepseek_v2_greedy", 49, "DeepSeek-V2-Lite: q_proj without q_lora, best 2 of 5 experts without groups, two shared experts, one "
            "layer, no rope scaling",
            small("deepseek_v2", "DeepseekV2ForCausalLM", **{**MLA, "q_lora_rank": None}, layers=1, n_routed_experts=5, n_group=1, topk_group=1,
                  num_experts_per_tok=2, topk_method="greedy", scoring_func="softmax", norm_topk_prob=False, n_shared_experts=2,
                  moe_intermediate_size=19, moe_layer_freq=1, first_k_dense_replace=0, routed_scaling_factor=1.0, attention_bias=False)),
    fixture("deepseek_v3_groups", 50, "DeepSeek-V3: q_lora, biases, best 2 of 6 experts in 1 of 2 groups by the sum of two, correction bias, "
            "renormalised and scaled, two shared experts, first layer dense, yarn; a stored layer for several tokens, to be skipped",
            small("deepseek_v3", "DeepseekV3ForCausalLM", **MLA, n_routed_experts=6, n_group=2, topk_group=1, num_experts_per_tok=2,
                  topk_method="noaux_tc", scoring_func="sigmoid", norm_topk_prob=True, n_shared_experts=2, moe_intermediate_size=19,
                  moe_layer_freq=1, first_k_dense_replace=1, routed_scaling_factor=2.5, attention_bias=True, num_nextn_predict_layers=1,
                  rope_scaling={**YARN, "mscale": 1.0, "mscale_all_dim": 1.0}),
            extra_tensors=mtp(2, 48),
            ablations={"rope_scaling": {"rope_scaling": None}, "group limit": {"topk_group": 2}, "norm_topk_prob": {"norm_topk_prob": False}}),
    fixture("deepseek_v3_half", 51, "DeepSeek-V3: no q_lora, rope_interleave false (half-split pairs), not renormalised, best 1 of 3 experts in one "
            "group, one layer",
            small("deepseek_v3", "DeepseekV3ForCausalLM", **{**MLA, "q_lora_rank": None}, layers=1, n_routed_experts=3, n_group=1, topk_group=1,
                  num_experts_per_tok=1, topk_method="noaux_tc", scoring_func="sigmoid", norm_topk_prob=False, n_shared_experts=1,
                  moe_intermediate_size=19, moe_layer_freq=1, first_k_dense_replace=0, routed_scaling_factor=1.5, attention_bias=False,
                  num_nextn_predict_layers=0, rope_interleave=False),
            ablations={"rope_interleave": {"rope_interleave": True}, "norm_topk_prob": {"norm_topk_prob": True}}),
    fixture("glm4", 52, "GLM-4-0414: sandwich norms, the first half of each head rotated in neighbouring pairs, biases on q, k, v, fused "
            "gate_up_proj",
            small("glm4", "Glm4ForCausalLM", head_dim=20, partial_rotary_factor=0.5, attention_bias=True), init=SANDWICH,
            ablations={"partial_rotary_factor": {"partial_rotary_factor": 1.0}}),
    fixture("glm4_moe", 53, "GLM-4.5: norms on heads of q and k, half of each head rotated in split halves, biases on q, k, v, best 2 of 6 "
            "experts in 1 of 2 groups as DeepSeek-V3, a shared expert, first layer dense; a stored layer for several tokens, to be skipped",
            small("glm4_moe", "Glm4MoeForCausalLM", head_dim=20, partial_rotary_factor=0.5, attention_bias=True, use_qk_norm=True,
                  n_routed_experts=6, n_group=2, topk_group=1, num_experts_per_tok=2, norm_topk_prob=True, n_shared_experts=1,
                  moe_intermediate_size=19, first_k_dense_replace=1, routed_scaling_factor=1.5, num_nextn_predict_layers=1),
            extra_tensors=mtp(2, 48),
            ablations={"use_qk_norm": {"use_qk_norm": False}, "group limit": {"topk_group": 2}}),
    fixture("gemma2", 54, "Gemma 2: norms with 1 + w, before and behind, embedding times sqrt(hidden), soft caps on scores and logits, window of 7 in "
            "even layers, scores scaled by query_pre_attn_scalar, gelu with tanh, tied",
            without(small("gemma2", "Gemma2ForCausalLM", layers=3, head_dim=14, sliding_window=7, query_pre_attn_scalar=20,
                          hidden_activation="gelu_pytorch_tanh", final_logit_softcapping=12.0, attn_logit_softcapping=2.0,
                          tie_word_embeddings=True, attention_bias=False), "hidden_act"),
            norm_center=0.2, embed_std=0.2, init={**SANDWICH, r"^model\.norm": lambda x: 0.3 * x + 2.0},
            ablations={"attn_logit_softcapping": {"attn_logit_softcapping": None}, "final_logit_softcapping": {"final_logit_softcapping": None},
                       "sliding_window": {"sliding_window": 100}, "query_pre_attn_scalar": {"query_pre_attn_scalar": 14}}),
    fixture("gemma3_text", 55, "Gemma 3: as Gemma 2 without caps, norms with 1 + w on heads of q and k, two of three layers with a window of 7 and "
            "unscaled rope of rope_local_base_freq, the third with linearly scaled rope of rope_theta",
            without(small("gemma3_text", "Gemma3ForCausalLM", layers=3, head_dim=14, sliding_window=7, sliding_window_pattern=3,
                          query_pre_attn_scalar=20, hidden_activation="gelu_pytorch_tanh", tie_word_embeddings=True, attention_bias=False,
                          rope_theta=1000000.0, rope_local_base_freq=10000.0, rope_scaling={"rope_type": "linear", "factor": 8.0}),
                    "hidden_act"),
            norm_center=0.2, embed_std=0.2, init={**SANDWICH, r"^model\.norm": lambda x: 0.3 * x + 2.0},
            ablations={"sliding_window": {"sliding_window": 100}, "rope_scaling": {"rope_scaling": None},
                       "rope_local_base_freq": {"rope_local_base_freq": 1000000.0}}),
    fixture("phi", 56, "Phi-2: attention and MLP side by side behind one LayerNorm, biases everywhere, lm_head's too, LayerNorm on heads of q and k, "
            "part of each head rotated, gelu with tanh",
            without(small("phi", "PhiForCausalLM", kv=2, partial_rotary_factor=0.5, qk_layernorm=True, layer_norm_eps=1e-5, hidden_act="gelu_new"),
                    "rms_norm_eps"),
            ablations={"partial_rotary_factor": {"partial_rotary_factor": 0.34}}),
    fixture("phi3", 57, "Phi-3/Phi-4-mini: fused qkv_proj and gate_up_proj, longrope whose long factors count for all prompts, part of each head rotated, "
            "a window of 9",
            small("phi3", "Phi3ForCausalLM", heads=3, kv=1, partial_rotary_factor=0.75, sliding_window=9, original_max_position_embeddings=4,
                  rope_scaling={"type": "longrope", "short_factor": [1.0, 1.05, 1.1, 1.2, 1.3, 1.5], "long_factor": [1.0, 1.3, 2.0, 4.0, 9.0, 17.0]}),
            ablations={"sliding_window": {"sliding_window": None}, "rope_scaling": {"rope_scaling": None},
                       "short factors": {"original_max_position_embeddings": 250}}),
    fixture("phi3_short", 58, "Phi-3 with longrope within the original length: the short factors count, and the attention factor of both lengths",
            small("phi3", "Phi3ForCausalLM", layers=1, heads=3, kv=3, sliding_window=None, max_position_embeddings=256,
                  original_max_position_embeddings=64,
                  rope_scaling={"type": "longrope", "short_factor": [1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0], "long_factor": [1.0, 2.0, 3.0, 4.0, 9.0, 17.0, 20.0, 30.0]}),
            ablations={"rope_scaling": {"rope_scaling": None}}),
    fixture("olmo2", 59, "OLMo 2: no norm before attention and MLP but behind them, norms over all heads of q and of k together",
            small("olmo2", "Olmo2ForCausalLM", kv=2, rope_theta=500000.0, attention_bias=True), init=SANDWICH),
    fixture("granite", 60, "Granite: multipliers of embedding, residual, scores and logits, biases, tied",
            small("granite", "GraniteForCausalLM", kv=2, embedding_multiplier=3.0, residual_multiplier=0.6, attention_multiplier=0.4,
                  logits_scaling=0.7, attention_bias=True, mlp_bias=True, tie_word_embeddings=True), embed_std=0.25,
            ablations={"embedding_multiplier": {"embedding_multiplier": 1.0}, "residual_multiplier": {"residual_multiplier": 1.0},
                       "attention_multiplier": {"attention_multiplier": 12 ** -0.5}, "logits_scaling": {"logits_scaling": 1.0}}),
    fixture("starcoder2", 61, "StarCoder 2: LayerNorm with bias, biases everywhere, plain MLP with gelu of tanh, a window of 8, tied",
            without(small("starcoder2", "Starcoder2ForCausalLM", norm_epsilon=1e-5, use_bias=True, sliding_window=8, hidden_act="gelu_pytorch_tanh",
                          tie_word_embeddings=True), "rms_norm_eps"), embed_std=0.4,
            ablations={"sliding_window": {"sliding_window": None}}),
    fixture("ernie4_5", 62, "ERNIE 4.5: rope over neighbouring pairs, use_bias on all linears, head_dim of its own, tied",
            small("ernie4_5", "Ernie4_5ForCausalLM", head_dim=14, use_bias=True, rope_theta=500000.0, tie_word_embeddings=True), embed_std=0.4),
    fixture("ernie4_5_moe", 63, "ERNIE 4.5 MoE: softmax, a correction bias that steers the choice only, best 3 of 6 experts, renormalised with a "
            "floor, two shared experts, sparse layers by start, end and interval",
            small("ernie4_5_moe", "Ernie4_5_MoeForCausalLM", hidden=36, layers=4, heads=6, inter=39, kv=2, moe_num_experts=6, moe_k=3,
                  moe_intermediate_size=17, moe_num_shared_experts=2, moe_layer_start_index=1, moe_layer_end_index=2, moe_layer_interval=2,
                  moe_norm_min=1e-12, use_bias=False, rope_theta=500000.0)),
    fixture("gpt_oss", 64, "gpt-oss in bf16: sinks, windows in even layers, biases everywhere, experts stored as stacks [E, in, out] with gate and up "
            "interleaved, clamped swiglu, softmax over the best 2 of 5 logits, yarn without truncation",
            small("gpt_oss", "GptOssForCausalLM", hidden=36, inter=23, head_dim=14, kv=2, num_local_experts=5, num_experts_per_tok=2,
                  sliding_window=6, layer_types=["sliding_attention", "full_attention"], swiglu_limit=0.8, attention_bias=True, rope_theta=150000.0,
                  rope_scaling={"rope_type": "yarn", "factor": 8.0, "beta_fast": 32.0, "beta_slow": 1.0, "truncate": False,
                                "original_max_position_embeddings": 64}),
            init={r"gate_up_proj$": lambda x: x * 0.35}, tries=400,
            ablations={"sliding_window": {"sliding_window": 100}, "swiglu_limit": {"swiglu_limit": 7.0}, "rope_scaling": {"rope_scaling": None}}),
    fixture("internlm3", 65, "InternLM 3: as Llama with head_dim of its own, qkv_bias (q, k, v, o) and bias (MLP), rope_type dynamic, which "
            "changes nothing within max_position_embeddings",
            small("internlm3", "InternLM3ForCausalLM", head_dim=14, qkv_bias=True, bias=True, rope_scaling={"rope_type": "dynamic", "factor": 6.0})),
    fixture("minicpm3", 66, "MiniCPM 3: latent attention with half-split rope and longrope, embedding, residual and logit scales, tied",
            small("minicpm3", "MiniCPM3ForCausalLM", **MLA, scale_emb=5, scale_depth=1.9, dim_model_base=32, tie_word_embeddings=True,
                  rope_scaling={"type": "longrope", "original_max_position_embeddings": 4, "short_factor": [1.0, 1.1, 1.2, 1.3],
                                "long_factor": [1.0, 2.0, 5.0, 9.0]}), embed_std=0.25,
            ablations={"scale_emb": {"scale_emb": 1}, "scale_depth": {"scale_depth": 1.0}, "dim_model_base": {"dim_model_base": 48},
                       "rope_scaling": {"rope_scaling": None}}),
    fixture("seed_oss", 67, "Seed-OSS: biases on q, k, v but not o, head_dim of its own",
            small("seed_oss", "SeedOssForCausalLM", head_dim=14, attention_bias=True, attention_out_bias=False, mlp_bias=False)),
    fixture("ministral", 68, "Ministral: a window of 7 in the layers that layer_types names, head_dim of its own",
            small("ministral", "MinistralForCausalLM", layers=3, head_dim=14, sliding_window=7,
                  layer_types=["sliding_attention", "full_attention", "sliding_attention"]),
            ablations={"sliding_window": {"sliding_window": 100}}),
    fixture("smollm3", 69, "SmolLM3: every second layer without rotary positions, tied",
            small("smollm3", "SmolLM3ForCausalLM", layers=3, kv=2, rope_theta=50000.0, no_rope_layer_interval=2, tie_word_embeddings=True),
            embed_std=0.4, ablations={"no_rope_layer_interval": {"no_rope_layer_interval": 100}}),
    fixture("exaone4", 70, "EXAONE 4: norms behind attention and MLP and on heads of q and k, windows of 7 with rotary positions in two layers of "
            "three, the third with neither",
            small("exaone4", "Exaone4ForCausalLM", layers=3, kv=2, sliding_window=7, sliding_window_pattern=3), init=SANDWICH,
            ablations={"sliding_window": {"sliding_window": 100}}),
    fixture("cohere2", 71, "Cohere 2: attention and MLP side by side behind one LayerNorm without bias, windows of 7 with neighbouring pairs rotated in "
            "two layers of three, the third with neither, scaled logits, tied",
            without(small("cohere2", "Cohere2ForCausalLM", layers=3, kv=2, layer_norm_eps=1e-5, logit_scale=0.8, sliding_window=7,
                          sliding_window_pattern=3, tie_word_embeddings=True), "rms_norm_eps"), embed_std=0.4,
            ablations={"sliding_window": {"sliding_window": 100}, "logit_scale": {"logit_scale": 1.0}}),
    fixture("olmo3", 72, "OLMo 3: as OLMo 2 with windows of 7 in three layers of four, yarn in the fourth alone",
            small("olmo3", "Olmo3ForCausalLM", layers=4, hidden=40, inter=41, kv=2, rope_theta=500000.0, sliding_window=7,
                  rope_scaling={"rope_type": "yarn", "factor": 8.0, "original_max_position_embeddings": 32, "beta_fast": 32,
                                "beta_slow": 1, "attention_factor": 1.2}), init=SANDWICH,
            ablations={"sliding_window": {"sliding_window": 100}, "rope_scaling": {"rope_scaling": None}}),
    # Their references are in models.py.
    fixture("pangu_embedded", 73, "openPangu-Embedded: biases on q, k, v, o by `bias`",
            small("PanguEmbedded", "PanguEmbeddedForCausalLM", kv=2, bias=True, rope_theta=16000000.0), ablations={}),
    fixture("minicpm", 74, "MiniCPM: embedding, residual and logit scales, tied",
            small("minicpm", "MiniCPMForCausalLM", kv=4, scale_emb=5, scale_depth=1.9, dim_model_base=32, tie_word_embeddings=True), embed_std=0.25,
            ablations={"scale_emb": {"scale_emb": 1}, "scale_depth": {"scale_depth": 1.0}, "dim_model_base": {"dim_model_base": 48}}),
    fixture("pangu_ultra_moe", 75, "openPangu-Ultra-MoE: latent attention, norms around attention and MLP, best 2 of 5 experts by sigmoid, renormalised "
            "and scaled, a shared expert, first layer dense; a stored layer for several tokens, to be skipped",
            without(small("pangu_ultra_moe", "PanguUltraMoEForCausalLM", kv=4, attention_q_lora_dim=20, attention_kv_lora_dim=24,
                          attention_qk_dim=10, attention_qk_rope_dim=8, attention_v_dim=14, num_routed_experts=5, num_shared_experts=1,
                          num_experts_per_tok=2, moe_intermediate_size=19, num_dense_layers=1, num_mtp_layers=1, norm_topk_prob=True,
                          routed_scaling_factor=2.5, rope_theta=25600000.0, sandwich_norm=True, rms_norm_eps=1e-5)),
            extra_tensors=mtp(2, 48), init=SANDWICH, ablations={"norm_topk_prob": {"norm_topk_prob": False}}),
]
