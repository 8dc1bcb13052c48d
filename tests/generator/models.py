"""Reference models that transformers lacks, made of those that it has, as the code that comes with the models describes them."""
import torch
from transformers import (AutoConfig, AutoModelForCausalLM, DeepseekV3Config, DeepseekV3ForCausalLM, GraniteConfig, GraniteForCausalLM,
                          LlamaConfig, LlamaForCausalLM)
from transformers.conversion_mapping import get_checkpoint_conversion_mapping, register_checkpoint_conversion_mapping
from transformers.models.granite.modeling_granite import GraniteRMSNorm
from transformers.models.deepseek_v3.modeling_deepseek_v3 import DeepseekV3DecoderLayer, DeepseekV3MoE, DeepseekV3RMSNorm


class PanguEmbeddedConfig(LlamaConfig):
    """Llama whose biases in attention are called `bias`."""
    model_type = "PanguEmbedded"

    def __post_init__(self, bias=True, **kwargs):
        self.attention_bias = bias
        super().__post_init__(**kwargs)


class PanguEmbeddedForCausalLM(LlamaForCausalLM):
    config_class = PanguEmbeddedConfig


class MiniCPMConfig(GraniteConfig):
    """Granite whose factors are made of other keys."""
    model_type = "minicpm"

    def __post_init__(self, scale_emb=1, scale_depth=1, dim_model_base=1, **kwargs):
        self.embedding_multiplier = float(scale_emb)
        self.residual_multiplier = scale_depth / self.num_hidden_layers ** 0.5
        self.attention_multiplier = (self.hidden_size // self.num_attention_heads) ** -0.5
        self.logits_scaling, self.last_divisor = 1.0, self.hidden_size / dim_model_base
        super().__post_init__(**kwargs)


class DividedNorm(GraniteRMSNorm):
    def forward(self, hidden_states):
        return super().forward(hidden_states) / self.divisor


class MiniCPMForCausalLM(GraniteForCausalLM):
    config_class = MiniCPMConfig

    def __init__(self, config):
        super().__init__(config)
        self.model.norm.__class__, self.model.norm.divisor = DividedNorm, config.last_divisor


class PanguUltraMoEConfig(DeepseekV3Config):
    """DeepSeek-V3 with names of its own, and experts in one group."""
    model_type = "pangu_ultra_moe"

    def __post_init__(self, attention_q_lora_dim=1536, attention_kv_lora_dim=512, attention_qk_dim=128, attention_qk_rope_dim=64,
                      attention_v_dim=128, num_routed_experts=256, num_shared_experts=1, num_dense_layers=3, **kwargs):
        self.q_lora_rank, self.kv_lora_rank, self.v_head_dim = attention_q_lora_dim, attention_kv_lora_dim, attention_v_dim
        self.qk_nope_head_dim, self.qk_rope_head_dim = attention_qk_dim, attention_qk_rope_dim
        self.n_routed_experts, self.n_shared_experts, self.first_k_dense_replace = num_routed_experts, num_shared_experts, num_dense_layers
        self.n_group = self.topk_group = 1
        super().__post_init__(**kwargs)


class SandwichLayer(DeepseekV3DecoderLayer):
    """Norms before and behind attention and MLP."""

    def forward(self, hidden_states, **kwargs):
        attended, _ = self.self_attn(hidden_states=self.input_layernorm(hidden_states), **kwargs)
        hidden_states = hidden_states + self.post_attention_layernorm(attended)
        return hidden_states + self.post_mlp_layernorm(self.mlp(self.pre_mlp_layernorm(hidden_states)))


class PanguUltraMoEForCausalLM(DeepseekV3ForCausalLM):
    config_class = PanguUltraMoEConfig

    def __init__(self, config):
        super().__init__(config)
        for layer in self.model.layers:
            layer.__class__ = SandwichLayer
            layer.pre_mlp_layernorm = DeepseekV3RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
            layer.post_mlp_layernorm = DeepseekV3RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
            if isinstance(layer.mlp, DeepseekV3MoE):
                # Nothing corrects the choice, and nothing is stored.
                layer.mlp.gate.register_buffer("e_score_correction_bias", torch.zeros(config.n_routed_experts), persistent=False)
        self.post_init()


register_checkpoint_conversion_mapping("pangu_ultra_moe", get_checkpoint_conversion_mapping("deepseek_v3"))
for config, model in ((PanguEmbeddedConfig, PanguEmbeddedForCausalLM), (MiniCPMConfig, MiniCPMForCausalLM),
                      (PanguUltraMoEConfig, PanguUltraMoEForCausalLM)):
    AutoConfig.register(config.model_type, config)
    AutoModelForCausalLM.register(config, model)
