"""Small tokenizers and chat templates for the golden fixtures.

Everything here is generated from text written in this file, so it is free of outside material.
Styles (each mimics the *structure* of a common public tokenizer, not its vocabulary):

  qwen2     NFC normaliser, regex split (single digits), byte-level BPE, no BOS
  llama3    regex split (digits in runs of up to three), byte-level BPE, ignore_merges, BOS added
  deepseek  three chained splits (digit runs, CJK runs, words), byte-level BPE, BOS added
  gpt2      byte-level BPE with the built-in regex, no BOS
  spm       SentencePiece-like BPE: prepended and replaced U+2581, byte fallback, BOS added
"""
import json
import os

from tokenizers import (AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers,
                        processors, trainers)

EN = """
A compiler reads a model and writes a plan. The plan is run by a small runtime.
Tokens go in, logits come out, and the cache grows by one position at every step.
The quick fox walked over the bridge while the old dog was sleeping in the sun.
When the router picks two experts, the other experts stay silent for that token.
We measured the time of each kernel, then we fused the ones that moved too many bytes.
It isn't easy, but it's worth it: they'll see that we've done what we said we'd do.
In 2024 the team tested 128 layers, 61 layers, 7 heads and 3,141,592 tokens at 99.5% accuracy.
How many cards do you need for a model with 671 billion weights? Write the answer in a table.
Hello! Hello, world. What is the capital of that country? Please explain it step by step.
"""
ZH = """
编译器读取模型，生成执行计划，然后由运行时加载并执行。
今天的天气很好，我们一起去公园散步，看看湖边的花。
请用中文回答下面的问题：什么是注意力机制？它为什么有效？
模型有很多层，每一层都有归一化、注意力和前馈网络。
大语言模型的推理分为两个阶段：预填充和解码。
你好，世界！你好，朋友。谢谢你的帮助，再见。
"""
CODE = """
def add(a, b):
    return a + b

def softmax(x):
    m = max(x)
    e = [exp(v - m) for v in x]
    s = sum(e)
    return [v / s for v in e]

fn main() {
    let mut total: u64 = 0;
    for i in 0..10 {
        total += i * i;
    }
    println!("total = {}", total);
}

for (int i = 0; i < n; ++i) { out[i] = in[i] * scale + bias[i]; }
{"name": "plan", "layers": [1, 2, 3], "dtype": "bfloat16", "ok": true, "none": null}
"""
CORPUS = [l for l in (EN + ZH + CODE).split("\n") if l] * 4 + [EN, ZH, CODE]

CASES = [
    "", "a", " ", "  two  spaces ", "Hello, world!", "It's what they'd've said.",
    "你好，世界！今天天气很好。", "中英 mixed 文本 with 数字 12345 and 3.14", "2024年10月07日",
    "def add(a, b):\n    return a + b\n", "\t tabs\r\nand\n\n\nnew lines  \n",
    "emoji 🙂🚀 and café naïve Ⅷ ﬁ", "e\u0301 vs \u00e9 (combining)", "0123456789 00 007 1,000,000",
    "SCREAMING_snake_CASE camelCase x86_64", "{\"k\": [1, 2.5, null, true]}",
    "עברית العربية हिन्दी 日本語 한국어", "zero\u200bwidth \u00a0nbsp \ufeffbom", "a" * 40,
]

QWEN_RE = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA3_RE = QWEN_RE.replace(r"|\p{N}|", r"|\p{N}{1,3}|")
DS_RE = r"[!-/:-~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"

SPECIALS = {
    "qwen2": ["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
    "llama3": ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"],
    "deepseek": ["<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜pad▁｜>", "<｜User｜>", "<｜Assistant｜>"],
    "gpt2": ["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
    "spm": ["<unk>", "<s>", "</s>", "[INST]", "[/INST]"],
}
ROLE = {
    "qwen2": dict(bos=None, eos="<|im_end|>", pad="<|endoftext|>"),
    "llama3": dict(bos="<|begin_of_text|>", eos="<|eot_id|>", pad=None),
    "deepseek": dict(bos="<｜begin▁of▁sentence｜>", eos="<｜end▁of▁sentence｜>", pad="<｜pad▁｜>"),
    "gpt2": dict(bos=None, eos="<|im_end|>", pad="<|endoftext|>"),
    "spm": dict(bos="<s>", eos="</s>", pad=None, unk="<unk>"),
}
CHATML = (
    "{%- if messages and messages[0]['role'] != 'system' -%}\n"
    "{{- '<|im_start|>system\\nYou are a tiny test model.<|im_end|>\\n' -}}\n"
    "{%- endif -%}\n"
    "{%- for m in messages -%}\n"
    "{{- '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>' + '\\n' -}}\n"
    "{%- endfor -%}\n"
    "{%- if add_generation_prompt -%}\n{{- '<|im_start|>assistant\\n' -}}\n{%- endif -%}\n"
)
TEMPLATES = {
    "qwen2": CHATML,
    "gpt2": CHATML,
    "llama3": (
        "{% set loop_messages = messages %}{% for message in loop_messages %}"
        "{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' + message['content'] | trim + '<|eot_id|>' %}"
        "{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
    ),
    "deepseek": (
        "{%- set ns = namespace(sys='', n=0) -%}"
        "{%- for m in messages if m['role'] == 'system' -%}"
        "{%- set ns.sys = ns.sys + ('\n\n' if ns.n > 0 else '') + m['content'] -%}{%- set ns.n = ns.n + 1 -%}{%- endfor -%}"
        "{{- bos_token + ns.sys -}}"
        "{%- for m in messages -%}"
        "{%- if m['role'] == 'user' -%}{{- '<｜User｜>' + m['content'] -}}"
        "{%- elif m['role'] == 'assistant' -%}{{- '<｜Assistant｜>' + m['content'] + eos_token -}}{%- endif -%}"
        "{%- endfor -%}"
        "{%- if add_generation_prompt and messages[-1]['role'] == 'user' -%}{{- '<｜Assistant｜>' -}}{%- endif -%}"
    ),
    "spm": (
        "{{ bos_token }}{% for m in messages %}"
        "{% if m['role'] == 'user' %}{{ '[INST] ' + m['content'] + ' [/INST]' }}"
        "{% elif m['role'] == 'assistant' %}{{ ' ' + m['content'] | trim + eos_token }}"
        "{% else %}{{ raise_exception('only user and assistant roles are supported') }}{% endif %}{% endfor %}"
    ),
}
CHATS = [
    [{"role": "user", "content": "Hello!"}],
    [{"role": "user", "content": "你好，请介绍一下编译器。"}, {"role": "assistant", "content": " 好的。"},
     {"role": "user", "content": "def add(a, b): what does it do?\n"}],
    [{"role": "system", "content": "Answer in one word."}, {"role": "user", "content": "2 + 2 = ?"}],
]


def _byte_level(style, vocab_size):
    tok = Tokenizer(models.BPE(ignore_merges=(style == "llama3")))
    if style == "qwen2":
        tok.normalizer = normalizers.NFC()
    if style == "gpt2":
        tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    elif style == "deepseek":
        tok.pre_tokenizer = pre_tokenizers.Sequence([
            pre_tokenizers.Split(Regex(r"\p{N}{1,3}"), "isolated"),
            pre_tokenizers.Split(Regex("[一-龥぀-ゟ゠-ヿ]+"), "isolated"),
            pre_tokenizers.Split(Regex(DS_RE), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    else:
        tok.pre_tokenizer = pre_tokenizers.Sequence([
            pre_tokenizers.Split(Regex(QWEN_RE if style == "qwen2" else LLAMA3_RE), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tok.decoder = decoders.ByteLevel()
    sp = SPECIALS[style]
    first = style in ("deepseek", "gpt2")        # specials at the front or at the back of the vocabulary
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size if first else vocab_size - len(sp), show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        special_tokens=[AddedToken(s, special=True, normalized=False) for s in sp] if first else [])
    tok.train_from_iterator(CORPUS, trainer)
    if not first:
        tok.add_special_tokens([AddedToken(s, special=True, normalized=False) for s in sp])
    return tok


def _spm(vocab_size):
    # learn the merges with a metaspace splitter, then lay out: specials, 256 byte tokens, characters, merges
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    sp = SPECIALS["spm"]
    count = {}                                   # own alphabet limit: the trainer's breaks ties at random
    for c in "".join(CORPUS).replace(" ", "▁"):
        count[c] = count.get(c, 0) + 1
    keep = set(sorted(count, key=lambda c: (-count[c], c))[:110]) | {" ", "\n", "▁"}
    t.train_from_iterator(["".join(c for c in l if c in keep) for l in CORPUS], trainers.BpeTrainer(
        vocab_size=vocab_size - 256 - len(sp), show_progress=False, initial_alphabet=sorted(keep - {" "})))
    learned = json.loads(t.to_str())["model"]
    vocab = {}
    for s in sp[:3] + [f"<0x{b:02X}>" for b in range(256)] + sorted(learned["vocab"], key=learned["vocab"].get) + sp[3:]:
        vocab.setdefault(s, len(vocab))
    merges = [tuple(m) if not isinstance(m, str) else tuple(m.split(" ")) for m in learned["merges"]]
    tok = Tokenizer(models.BPE(vocab=vocab, merges=merges, byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    tok.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tok.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
                                     decoders.Strip(" ", 1, 0)])
    tok.add_special_tokens([AddedToken(s, special=True, normalized=False) for s in sp])
    return tok


def build(style, vocab_size):
    tok = _spm(vocab_size) if style == "spm" else _byte_level(style, vocab_size)
    bos = ROLE[style]["bos"]
    if bos:
        b = (bos, tok.token_to_id(bos))
        tok.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", pair=f"{bos} $A {bos}:1 $B:1", special_tokens=[b])
        if style != "spm":
            tok.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), processors.TemplateProcessing(
                single=f"{bos} $A", pair=f"{bos} $A {bos}:1 $B:1", special_tokens=[b])])
    elif style != "spm":
        tok.post_processor = processors.ByteLevel(trim_offsets=False)
    return tok


def write(d, style, vocab_size, template_file=False, max_len=256):
    """Writes tokenizer.json, tokenizer_config.json (and chat_template.jinja); returns (Tokenizer, role ids)."""
    tok = build(style, vocab_size)
    tok.save(os.path.join(d, "tokenizer.json"), pretty=False)
    role = {k: v for k, v in ROLE[style].items() if v}
    cfg = {"add_bos_token": bool(ROLE[style]["bos"]), "add_eos_token": False,
           "added_tokens_decoder": {str(tok.token_to_id(s)): dict(content=s, lstrip=False, normalized=False, rstrip=False,
                                                                  single_word=False, special=True) for s in SPECIALS[style]},
           "clean_up_tokenization_spaces": False, "model_max_length": max_len,
           "tokenizer_class": "PreTrainedTokenizerFast"}
    for k, v in role.items():
        cfg[k + "_token"] = v
    if template_file:
        open(os.path.join(d, "chat_template.jinja"), "w", encoding="utf-8").write(TEMPLATES[style])
    else:
        cfg["chat_template"] = TEMPLATES[style]
    json.dump(cfg, open(os.path.join(d, "tokenizer_config.json"), "w", encoding="utf-8"), indent=2, ensure_ascii=False)
    ids = {k: (tok.token_to_id(v) if v else None) for k, v in ROLE[style].items()}
    return tok, ids


def cases(d, tok, few=False):
    """Expected encodings, decodings and rendered chats (transformers renders the chats); `few` of them in small fixtures."""
    from transformers import PreTrainedTokenizerFast
    cfg = json.load(open(os.path.join(d, "tokenizer_config.json"), encoding="utf-8"))
    fast = PreTrainedTokenizerFast.from_pretrained(d)
    enc = []
    for s in CASES[4:12:2] if few else CASES:
        a, b = tok.encode(s, add_special_tokens=True).ids, tok.encode(s, add_special_tokens=False).ids
        assert fast(s)["input_ids"] == a, (d, s)
        enc.append(dict(text=s, ids=a, ids_no_special=b, decoded=tok.decode(a, skip_special_tokens=True),
                        decoded_with_special=tok.decode(a, skip_special_tokens=False)))
    specials = list(cfg["added_tokens_decoder"].values())
    s = f"x {specials[0]['content']}y{specials[-1]['content']} z"
    a = tok.encode(s, add_special_tokens=False).ids
    enc.append(dict(text=s, ids=tok.encode(s).ids, ids_no_special=a, decoded=tok.decode(a, skip_special_tokens=True),
                    decoded_with_special=tok.decode(a, skip_special_tokens=False)))
    chats = []
    for msgs in CHATS[:2] if few else CHATS:
        for gen in (True, False):
            try:
                text = fast.apply_chat_template(msgs, tokenize=False, add_generation_prompt=gen)
            except Exception as e:                       # the template itself refuses this conversation
                chats.append(dict(messages=msgs, add_generation_prompt=gen, error=type(e).__name__))
                continue
            chats.append(dict(messages=msgs, add_generation_prompt=gen, text=text,
                              ids=tok.encode(text, add_special_tokens=False).ids))
    json.dump(dict(encodings=enc, chats=chats), open(os.path.join(d, "tokenizer_cases.json"), "w", encoding="utf-8"),
              ensure_ascii=False, indent=1)
