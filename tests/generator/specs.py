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
]
