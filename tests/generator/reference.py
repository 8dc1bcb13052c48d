"""What `transformers` computes from a directory: logits, hidden states, greedy text, and how firm each of them is."""
import re

import torch
from transformers import AutoModelForCausalLM

import models  # noqa: F401, registers what transformers lacks


def load(d, dtype=torch.float32):
    return AutoModelForCausalLM.from_pretrained(d, dtype=dtype, attn_implementation="eager", experts_implementation="eager").eval()


class Taps:
    """Hooks: input of the first decoder layer, output of every layer, input of the head, router choices."""

    def __init__(self, m):
        self.layers, self.embed, self.last, self.routes, self.h = {}, None, None, [], []
        for i, l in enumerate(m.model.layers):
            if i == 0:
                self.h.append(l.register_forward_pre_hook(self._pre, with_kwargs=True))
            self.h.append(l.register_forward_hook(lambda _, a, o, i=i: self.layers.__setitem__(i, (o[0] if isinstance(o, tuple) else o).detach().clone())))
        self.h.append(m.get_output_embeddings().register_forward_pre_hook(lambda _, a: setattr(self, "last", a[0].detach().clone())))
        for n, mod in m.named_modules():
            if re.search(r"Router$|Gate$", type(mod).__name__):
                self.h.append(mod.register_forward_hook(self._route))

    def _pre(self, _, args, kw):
        self.embed = (args[0] if args else kw["hidden_states"]).detach().clone()

    def _route(self, _, a, out):
        for o in out if isinstance(out, tuple) else (out,):
            if torch.is_tensor(o) and o.dtype == torch.int64:
                self.routes.append(o.sort(-1).values)

    def close(self):
        for h in self.h:
            h.remove()


@torch.no_grad()
def forward(m, ids):
    t = Taps(m)
    logits = m(input_ids=torch.tensor([ids]), use_cache=False).logits[0]
    t.close()
    return logits, t


@torch.no_grad()
def greedy(m, ids, n):
    """Greedy continuation with a KV cache: tokens, the logits each was taken from."""
    out, rows, past = [], [], None
    x = torch.tensor([ids])
    for _ in range(n):
        r = m(input_ids=x, past_key_values=past, use_cache=True)
        past, row = r.past_key_values, r.logits[0, -1]
        rows.append(row)
        out.append(int(row.argmax()))
        x = torch.tensor([[out[-1]]])
    return out, torch.stack(rows)


@torch.no_grad()
def greedy_left_padded(m, prompts, n):
    """The same prompts decoded together, left padded."""
    w = max(map(len, prompts))
    ids = torch.tensor([[0] * (w - len(p)) + p for p in prompts])
    mask = torch.tensor([[0] * (w - len(p)) + [1] * len(p) for p in prompts])
    past, outs, x = None, [[] for _ in prompts], ids
    pos = (mask.cumsum(-1) - 1).clamp(min=0)
    for _ in range(n):
        r = m(input_ids=x, attention_mask=mask, position_ids=pos, past_key_values=past, use_cache=True)
        past, nxt = r.past_key_values, r.logits[:, -1].argmax(-1)
        for o, t in zip(outs, nxt.tolist()):
            o.append(t)
        x = nxt[:, None]
        mask = torch.cat([mask, torch.ones_like(x)], 1)
        pos = pos[:, -1:] + 1
    return outs


def margins(rows):
    v = rows.topk(2, -1).values
    return (v[:, 0] - v[:, 1])


def compute(d, spec, prompts, full=True):
    """Everything that a fixture states; with `full`, also the noise of float32 and of the weights."""
    m = load(d)
    res = {"prompts": [], "tensors": {}}
    for i, p in enumerate(prompts):
        logits, t = forward(m, p)
        toks, rows = greedy(m, p, spec["new_tokens"])
        again, _ = forward(m, p + toks[:-1])                    # no cache: must agree with the cached run
        cache_diff = float((again[len(p) - 1:] - rows).abs().max())
        res["prompts"].append(dict(ids=p, greedy=toks, margins=margins(rows), cache_diff=cache_diff, routes=t.routes,
                                   again_argmax=again[len(p) - 1:].argmax(-1).tolist()))
        res["tensors"][f"prompt{i}.logits"] = logits
        res["tensors"][f"prompt{i}.last_hidden"] = t.last[0]
        if i == 1:
            res["tensors"][f"prompt{i}.decode_logits"] = rows
            res["tensors"][f"prompt{i}.embed"] = t.embed[0]
            for k in sorted(t.layers):
                res["tensors"][f"prompt{i}.layer{k}"] = t.layers[k][0]
    res["batch"] = greedy_left_padded(m, [prompts[0], prompts[2]], spec["new_tokens"])
    if full:
        m64 = m.double()
        res["noise"] = max(float((forward(m64, p)[0].float() - res["tensors"][f"prompt{i}.logits"]).abs().max())
                           for i, p in enumerate(prompts))
        res["shaken"] = shaken(d, prompts, res)
    return res


@torch.no_grad()
def shaken(d, prompts, res, trials=3, eps=2e-5):
    """Relative noise on every weight: how far do the logits move, and does any router choose differently?"""
    worst, moved = 0.0, False
    texts = [ids + res["prompts"][i]["greedy"][:-1] for i, ids in enumerate(prompts)]
    m = load(d)
    base = [forward(m, ids) for ids in texts]
    for k in range(trials):
        m = load(d)
        g = torch.Generator().manual_seed(k)
        for p in m.parameters():
            p.mul_(1 + eps * torch.randn(p.shape, generator=g))
        for ids, (logits, taps) in zip(texts, base):
            l, t = forward(m, ids)
            worst = max(worst, float((l - logits).abs().max()))
            moved |= any(not torch.equal(a, b) for a, b in zip(taps.routes, t.routes))
    return worst, moved


@torch.no_grad()
def bf16_reference(d, prompts, tensors):
    """How far the reference's own run with weights and compute in bfloat16 is from its float32 run, teacher-forced; and
    whether all its router choices are the same."""
    m, m32 = load(d, torch.bfloat16), load(d)
    square, count, same, positions, flipped, scale, firm = 0.0, 0, 0, 0, 0.0, 0.0, True
    for i, ids in enumerate(prompts):
        want = tensors[f"prompt{i}.logits"]
        got, taps = forward(m, ids)
        got = got.float()
        firm &= all(torch.equal(a, b) for a, b in zip(taps.routes, forward(m32, ids)[1].routes))
        scale = max(scale, want.abs().max().item())
        square += ((got - want) ** 2).sum().item()
        count += want.numel()
        differs = got.argmax(-1) != want.argmax(-1)
        same += (~differs).sum().item()
        positions += len(ids)
        if differs.any():
            flipped = max(flipped, margins(want)[differs].max().item())
    return {"rms_error": float(f"{(square / count) ** 0.5 / scale:.3g}"),
            "argmax_agreement": round(same / positions, 4), "largest_flipped_margin": float(f"{flipped:.3g}")}, firm
