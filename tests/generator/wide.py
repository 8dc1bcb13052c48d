"""Logits of the reference for a model of real widths, which the long tests make and run.

    cargo xtask make-model tests/data/configs/deepseek-v3-wide.json -o DIR --seed 7
    python wide.py DIR ../data/wide/deepseek-v3.safetensors

Takes about 11 GB of memory. Versions as in make_fixtures.py.
"""
import sys

import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

TOKEN_IDS = [1, 15, 151, 271, 500, 3, 37, 377, 73, 301, 9, 99, 490, 90, 199, 2, 444]

directory, out = sys.argv[1:]
model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32, attn_implementation="eager", experts_implementation="eager")
with torch.no_grad():
    logits = model(torch.tensor([TOKEN_IDS])).logits[0]
save_file({"token_ids": torch.tensor(TOKEN_IDS, dtype=torch.int32), "logits": logits.float().contiguous()}, out)
