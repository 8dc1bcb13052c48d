"""Random checkpoints in the public layout of their family."""
import hashlib
import json
import math
import os
import re
import tempfile

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM

DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32, "float64": torch.float64}


def rng(seed, name):
    """A generator for one tensor: its values depend on nothing but the seed and the name."""
    return np.random.Generator(np.random.PCG64(int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:8], "little")))


def draw(name, shape, seed, spec):
    """Values of one checkpoint tensor, float32, scaled so that every part of the model matters to the logits."""
    g = rng(seed, name)
    x = g.standard_normal(tuple(shape)).astype(np.float32) if len(shape) else np.float32(g.standard_normal())
    for pat, rule in spec.get("init", {}).items():               # the spec's own rules come first
        if re.search(pat, name):
            return rule(x) if callable(rule) else x * np.float32(rule)
    if "e_score_correction_bias" in name:
        return x * np.float32(0.08)
    if name.endswith("sinks"):
        return x
    is_norm = re.search(r"norm|layernorm|ln_f", name) and len(shape) == 1
    if is_norm and name.endswith(".weight"):
        return x * np.float32(0.15) + np.float32(spec.get("norm_center", 1.0))
    if name.endswith("bias") or name.endswith("_proj_bias"):
        return x * np.float32(0.2)
    if "embed_tokens" in name:
        return x * np.float32(spec.get("embed_std", 0.7))
    if name.startswith("lm_head"):
        return x * np.float32(spec.get("head_gain", 3.0) / math.sqrt(shape[-1]))
    fan_in = shape[-1] if len(shape) <= 2 else shape[-2]          # 3-D expert stacks are [experts, in, out]
    if re.search(r"(gate|router)\.weight$", name):
        gain = 2.0
    elif re.search(r"(q_proj|k_proj|q_b_proj|q_a_proj|kv_a_proj|qkv_proj|query_key_value)", name):
        gain = 1.4
    else:
        gain = 1.1
    if re.search(r"(o_proj|down_proj|c_proj|fc2|\.w2|dense)(\.|$)", name):   # tied models would only echo their input
        gain *= spec.get("branch_gain", 3.0 if spec["config"].get("tie_word_embeddings") else 1.0)
    return x * np.float32(gain / math.sqrt(fan_in))


def checkpoint_layout(cfg_dir):
    """Tensor names and shapes of the public checkpoint format for the config in cfg_dir."""
    cfg = AutoConfig.from_pretrained(cfg_dir)
    with tempfile.TemporaryDirectory() as t:
        AutoModelForCausalLM.from_config(cfg, dtype=torch.float32, attn_implementation="eager").save_pretrained(t)
        with safe_open(os.path.join(t, "model.safetensors"), "pt") as f:
            return {k: list(f.get_slice(k).get_shape()) for k in sorted(f.keys())}


def make_tensors(layout, seed, spec):
    """All tensors in their storage types: the spec's `dtype`, or the first of `dtypes` whose pattern is found in the name."""
    rules = [*spec.get("dtypes", {}).items(), (r"e_score_correction_bias", "float32"), ("", spec["dtype"])]
    out = {}
    for name, shape in [*layout.items(), *spec.get("extra_tensors", {}).items()]:
        dtype = next(dtype for pat, dtype in rules if re.search(pat, name))
        out[name] = torch.from_numpy(np.ascontiguousarray(draw(name, shape, seed, spec))).to(DTYPES[dtype])
    return out


def write_weights(d, tensors, spec):
    """One safetensors file, or shards with their index in which neighbours lie apart."""
    n = spec.get("shards", 1)
    if n == 1:
        save_file(tensors, os.path.join(d, "model.safetensors"), metadata={"format": "pt"})
        return
    names = sorted(tensors)
    random_order = [names[i] for i in rng(spec["seed"], "shards").permutation(len(names))]
    wmap, total = {}, sum(t.numel() * t.element_size() for t in tensors.values())
    for i in range(n):
        f = f"model-{i + 1:05d}-of-{n:05d}.safetensors"
        part = {k: tensors[k] for k in random_order[i::n]}
        save_file(part, os.path.join(d, f), metadata={"format": "pt"})
        wmap.update({k: f for k in part})
    json.dump({"metadata": {"total_size": total}, "weight_map": dict(sorted(wmap.items()))},
              open(os.path.join(d, "model.safetensors.index.json"), "w"), indent=2)
