#!/usr/bin/env python3
"""Golden fixtures: tiny random Hugging Face checkpoints with the outputs that `transformers` gives for them.

    python make_fixtures.py --out DIR                      # all of specs.py
    python make_fixtures.py --only NAME... [--specs FILE]  # a few of them, or of another list; --out is ../data/fixtures
    python make_fixtures.py --verify                       # compute again from what is on disk, compare; writes nothing

Needs torch, transformers, safetensors, tokenizers, numpy, jinja2; the fixtures in the repository were made with torch 2.15.0
and transformers 5.23.0 on a CPU. Each tensor's values depend only on the seed and the tensor's name, so that a directory
comes out the same to the byte with the same versions, and with the same weights with any.

How one fixture is made
  1. The spec's `config` is written as config.json as a model repository would have it, with tokenizer files.
  2. transformers builds the empty model from it and tells the checkpoint's tensor names and shapes.
  3. The tensors are drawn (weights.py), rounded to their storage types and written as safetensors.
  4. The directory is loaded back in float32 with eager attention, and the expected outputs are computed (reference.py).
  5. Several seeds are tried; one is refused when a greedy step is nearly a tie, the text is degenerate, or a router
     decision hangs on rounding, be it to bfloat16; among the others the first with a good margin, or the one with the
     largest, wins.

expected.json has `prompts` (`token_ids`, `greedy`, `greedy_until_stop`, and names of tensors in expected.safetensors: `logits`
of each position, `last_hidden`, the input of the output head; of prompt 1 also `decode_logits`, `embed` and `layers`), `batch`
(prompts 0 and 2 decoded together), and what is known of noise: of float32 itself, of weights moved by 2e-5, and of the
reference's own bfloat16 run. `sensitivity` is how far prompt 2's logits move when one feature is ignored.
"""
import argparse
import copy
import importlib.util
import json
import os
import re
import shutil
import sys
import tempfile
import warnings

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
warnings.filterwarnings("ignore")

import torch
import transformers
from safetensors.torch import load_file, save_file

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import tok as T
from reference import bf16_reference, compute, forward, load, shaken
from weights import checkpoint_layout, make_tensors, rng, write_weights

transformers.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()
torch.set_num_threads(1)
torch.use_deterministic_algorithms(True)

TEXTS = ("Hello, world!", "请用中文回答: def add(a, b): return a + b", None)
MIN_MARGIN = 2e-3          # smallest accepted gap between the two best logits at any greedy step


def write_json(path, obj):
    with open(path, "w", encoding="utf-8") as f:
        json.dump(obj, f, indent=2, ensure_ascii=False)
        f.write("\n")


def compact(obj):
    """JSON with number lists on one line."""
    s = json.dumps(obj, indent=1, ensure_ascii=False)
    return re.sub(r"\[\s+([-\d.e,\s]+?)\s+\]", lambda m: "[" + re.sub(r"\s+", " ", m.group(1)) + "]", s) + "\n"


def base_files(d, spec):
    cfg = copy.deepcopy(spec["config"])
    tok, ids = T.write(d, spec.get("tokenizer", "qwen2"), spec.get("tok_vocab", min(512, cfg["vocab_size"])),
                       template_file=spec.get("template_file", False), max_len=cfg.get("max_position_embeddings", 256))
    assert tok.get_vocab_size() <= cfg["vocab_size"], (spec["name"], tok.get_vocab_size())
    for k in ("bos", "eos", "pad"):
        cfg.setdefault(f"{k}_token_id", ids[k])
    write_json(os.path.join(d, "config.json"), cfg)
    gen = {"bos_token_id": cfg["bos_token_id"], "eos_token_id": cfg["eos_token_id"], "pad_token_id": cfg["pad_token_id"],
           "do_sample": False}
    gen.update(spec.get("generation", {}))
    write_json(os.path.join(d, "generation_config.json"), {k: v for k, v in gen.items() if v is not None})
    return cfg, tok


def make_prompts(tok, spec, vocab, seed):
    """Two texts and ids at random over the whole vocabulary."""
    texts = spec.get("texts", TEXTS)
    at_random = rng(seed, "prompts").integers(0, vocab, spec.get("random_ids", 43)).tolist()
    return [at_random if s is None else tok.encode(s).ids for s in texts], texts


def attempt(spec, seed, d, layout):
    """Writes all input files of the fixture into d."""
    cfg, tok = base_files(d, spec)
    layout = layout or checkpoint_layout(d)
    write_weights(d, make_tensors(layout, seed, spec), spec)
    prompts, texts = make_prompts(tok, spec, cfg["vocab_size"], seed)
    return cfg, tok, layout, prompts, texts


def refuse(res, cfg, spec):
    """Why this seed makes no good fixture."""
    eos = cfg["eos_token_id"]
    eos = set(eos if isinstance(eos, list) else [eos])
    m = min(float(p["margins"].min()) for p in res["prompts"])
    if m < MIN_MARGIN:
        return f"margin {m:.1e}"
    for i, p in enumerate(res["prompts"]):
        if len(set(p["greedy"])) < spec.get("min_distinct", max(5, spec["new_tokens"] // 3)):
            return f"prompt {i} repeats itself"
        if eos & set(p["greedy"]):
            return "eos in the greedy text"
        if p["again_argmax"] != p["greedy"]:
            return f"cache and no cache disagree on prompt {i}"
        if p["cache_diff"] > 2e-4:
            return f"cache differs by {p['cache_diff']:.1e}"
    if res["batch"] != [res["prompts"][0]["greedy"], res["prompts"][2]["greedy"]]:
        return "the padded batch differs"
    if not all(torch.isfinite(t).all() for t in res["tensors"].values()):
        return "not finite"
    if "shaken" in res and res["shaken"][1]:
        return "a router choice hangs on rounding"
    return None


def best_seed(spec):
    best, layout, why = None, None, []
    for k in range(spec.get("tries", 48)):
        seed = spec["seed"] * 1000 + k
        with tempfile.TemporaryDirectory() as d:
            cfg, _, layout, prompts, _ = attempt(spec, seed, d, layout)
            res = compute(d, spec, prompts, full=False)
            no = refuse(res, cfg, spec)
            if no is None:
                res["shaken"] = shaken(d, prompts, res)
                no = refuse(res, cfg, spec)
            if no is None and not bf16_reference(d, prompts, res["tensors"])[1]:
                no = "a router choice differs in bfloat16"
            # Another order of roundings than the reference's is as good: choices that hang on it say nothing.
            if no is None and shaken(d, prompts, res, trials=6, eps=2 ** -9)[1]:
                no = "a router choice hangs on rounding to bfloat16"
            if no:
                why.append(no)
                continue
            m = min(float(p["margins"].min()) for p in res["prompts"])
            if best is None or m > best[0]:
                best = (m, seed)
            if m > spec.get("good_margin", 0.03):
                break
    if best is None:
        raise SystemExit(f"{spec['name']}: no seed is acceptable: {why}")
    return *best, layout, why


def stop_early(d, spec, res):
    """An ordinary token of prompt 2's text becomes a second stop token, in the files that the spec names."""
    others = set(res["prompts"][0]["greedy"]) | set(res["prompts"][1]["greedy"])
    g = res["prompts"][2]["greedy"]
    stop = next(t for t in g[len(g) // 3:] if t not in others and g.index(t) >= len(g) // 3)
    for f in spec["eos_hit"]:
        c = json.load(open(os.path.join(d, f), encoding="utf-8"))
        c["eos_token_id"] = [c["eos_token_id"], stop]
        write_json(os.path.join(d, f), c)


def sensitivity(d, spec, ids, logits):
    out = {}
    for label, patch in spec.get("ablations", {}).items():
        with tempfile.TemporaryDirectory() as t:
            shutil.copytree(d, t, dirs_exist_ok=True)
            c = json.load(open(os.path.join(t, "config.json"), encoding="utf-8"))
            c.update(patch)
            write_json(os.path.join(t, "config.json"), c)
            out[label] = round(float((forward(load(t), ids)[0] - logits).abs().max()), 5)
    return out


def build(spec, out):
    spec = {"dtype": "bfloat16", "new_tokens": 20, **spec}
    margin, seed, layout, why = best_seed(spec)
    d = os.path.join(out, spec["name"])
    shutil.rmtree(d, ignore_errors=True)
    os.makedirs(d)
    cfg, tok, layout, prompts, texts = attempt(spec, seed, d, layout)
    res = compute(d, spec, prompts)
    assert refuse(res, cfg, spec) is None
    if spec.get("eos_hit"):
        stop_early(d, spec, res)
    T.cases(d, tok, few=spec.get("few_cases", False))
    gen = json.load(open(os.path.join(d, "generation_config.json")))
    eos = gen["eos_token_id"] if isinstance(gen["eos_token_id"], list) else [gen["eos_token_id"]]
    moved = sensitivity(d, spec, prompts[2], res["tensors"]["prompt2.logits"])
    exp = {"format": 1, "name": spec["name"], "model_type": cfg["model_type"], "about": spec["about"],
           "reference": {"transformers": transformers.__version__, "torch": torch.__version__.split("+")[0],
                         "compute": "float32", "attention": "eager", "device": "cpu"},
           "weights_dtype": spec["dtype"], "seed": seed, "vocab_size": cfg["vocab_size"], "new_tokens": spec["new_tokens"],
           "logits_max_abs": round(max(float(res["tensors"][f"prompt{i}.logits"].abs().max()) for i in range(3)), 4),
           "f32_vs_f64_max_abs": float(f"{res['noise']:.2e}"),
           "logits_moved_by_2e-5_weight_noise": float(f"{res['shaken'][0]:.2e}"),
           "min_greedy_margin": round(margin, 5), "stop_tokens": eos, "prompts": []}
    for i, p in enumerate(res["prompts"]):
        cut = next((j + 1 for j, t in enumerate(p["greedy"]) if t in eos), len(p["greedy"]))
        exp["prompts"].append({"text": texts[i], "token_ids": p["ids"], "greedy": p["greedy"], "greedy_until_stop": p["greedy"][:cut],
                               "min_margin": round(float(p["margins"].min()), 5), "logits": f"prompt{i}.logits",
                               "last_hidden": f"prompt{i}.last_hidden"})
    nl = len([k for k in res["tensors"] if k.startswith("prompt1.layer")])
    exp["prompts"][1].update(decode_logits="prompt1.decode_logits", embed="prompt1.embed",
                             layers=[f"prompt1.layer{i}" for i in range(nl)])
    exp["batch"] = {"prompts": [0, 2], "greedy": res["batch"]}
    if moved:
        exp["sensitivity"] = {"about": "largest change of prompt 2's logits when the named feature is ignored", **moved}
    exp["bf16_reference"], _ = bf16_reference(d, prompts, res["tensors"])
    save_file({k: v.float().contiguous() for k, v in res["tensors"].items()}, os.path.join(d, "expected.safetensors"))
    open(os.path.join(d, "expected.json"), "w", encoding="utf-8").write(compact(exp))
    for f in os.listdir(d):
        os.chmod(os.path.join(d, f), 0o644)
    size = sum(os.path.getsize(os.path.join(d, f)) for f in os.listdir(d))
    print(f"{spec['name']:20s} seed {seed} margin {margin:.4f} noise {res['noise']:.1e} shaken {res['shaken'][0]:.1e} "
          f"max|logit| {exp['logits_max_abs']:.1f} lengths {[len(p) for p in prompts]} bf16 {exp['bf16_reference']['rms_error']} "
          f"{size / 1024:.0f} KiB  {moved or ''} {('refused: ' + '; '.join(why[:4])) if why else ''}", flush=True)


def verify(spec, out):
    """Reload from disk and compare with what is stored."""
    spec = {"dtype": "bfloat16", "new_tokens": 20, **spec}
    d = os.path.join(out, spec["name"])
    exp = json.load(open(os.path.join(d, "expected.json"), encoding="utf-8"))
    old = load_file(os.path.join(d, "expected.safetensors"))
    res = compute(d, spec, [p["token_ids"] for p in exp["prompts"]], full=False)
    worst = max(float((old[k] - v).abs().max()) for k, v in res["tensors"].items())
    ok = worst == 0.0 and all(a["greedy"] == b["greedy"] for a, b in zip(exp["prompts"], res["prompts"])) \
        and exp["batch"]["greedy"] == res["batch"]
    print(f"{spec['name']:20s} {'same' if ok else 'DIFFERS'}  max abs {worst:.1e}", flush=True)
    return ok


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--specs", default=os.path.join(HERE, "specs.py"))
    ap.add_argument("--out", default=os.path.join(HERE, "..", "data", "fixtures"))
    ap.add_argument("--only", nargs="*")
    ap.add_argument("--verify", action="store_true")
    a = ap.parse_args()
    s = importlib.util.spec_from_file_location("specs", a.specs)
    mod = importlib.util.module_from_spec(s)
    s.loader.exec_module(mod)
    os.makedirs(a.out, exist_ok=True)
    todo = [x for x in mod.SPECS if not a.only or x["name"] in a.only]
    if a.verify:
        sys.exit(0 if all([verify(x, a.out) for x in todo]) else 1)
    failed = []
    for x in todo:
        try:
            build(x, a.out)
        except SystemExit as e:
            print(e, flush=True)
            failed.append(x["name"])
    if failed:
        sys.exit(f"failed: {failed}")


if __name__ == "__main__":
    main()
