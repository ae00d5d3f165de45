#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes tests/io/golden/tokenizer_*.json: what the Hugging Face `tokenizers` package makes of texts and of ids.

    pip install tokenizers
    python3 tools/golden/tokenizer_golden.py

(tokenizers 0.23.3 wrote the committed files.)

tokenizer_models.json: three real tokenizers (models/demo-5m; ../shared/data: models/stories260K, tokenizers/smollm2).
tokenizer_components.json: two small models below with one component after another, written out as tokenizer.json parts.
tokenizer_patterns.json: how the pre-tokenizers that GGUF files name cut texts.
"""

import json
import pathlib
import random

import tokenizers
from tokenizers import Regex, Tokenizer, pre_tokenizers

ROOT = pathlib.Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared/data"
GOLDEN = ROOT / "tests/io/golden"
SEED = 20260217

TEXTS = [
    "",
    " ",
    "\n\n",
    "a",
    "Hello, world!  It's 2024-02-29.\n",
    "don't DON'T I'Ve he'll'd",
    "\u017f 's 'LL",
    "x\u0085y\u00a0z\u2028w\u180e v",
    "\ufeff\x00\x01\x7f",
    " " * 40 + "x" + " " * 9,
    "ab" * 30 + "a" * 40,
    "na\u00efve e\u0301 \u1e9b\u0323 \ufb01",
    "\u65e5\u672c\u8a9e \u30c6\u30b9\u30c8",
    "\ud55c\uad6d\uc5b4 \u1112\u1161",
    "\U0001f469\u200d\U0001f469\u200d\U0001f467 \U0001f1e9\U0001f1ea",
    "\u0928\u092e\u0938\u094d\u0924\u0947 \u0e44\u0e17\u0e22",
    "\u00b2 \u00bd \u2167 \u0663 1234567",
    "\u0300\u0301x",
    "if (x >= 10) {\n\t\treturn x--;\r\n}\n",
    "<s>a</s> <unk><0x41>",
    "<|im_start|>user\nhi<|im_end|>\n",
    "<|begin_of_text|> x<|end_of_text|><|begin_of",
    "\u2581\u2581a \u2581b",
    "The whale's tail\u2014black, vast\u2014rose.",
    "\U00020000\U0010ffff\u200c\u200d",
]

SMALL_TEXTS = [
    "",
    " ",
    "a",
    "abc ab",
    "  ab  cab ",
    "a12b3\u00bdc",
    "<s>ab</s> c",
    "x [A]  ab[B] c",
    "foo food  foo<t> a",
    "\u2581a b",
    "e\u0301\u00e9 a",
    "abcabc aab\nbb ",
    "zzz a z",
    "\u65e5\u672c a\u65e5",
    "cab'ab \tb",
    "ab ab",
    " [A] [A]foo",
    "ABC\u0130\u00c9 \u03a3\u1e9e  ",
    "\ufb01 x\u0323\u0307",
]


def small_model(byte_level):
    """Characters, three words' worth of merges, and for the metaspace kind the byte tokens."""
    space = "\u0120" if byte_level else "\u2581"
    tokens = ["<unk>"] + ([] if byte_level else [f"<0x{b:02X}>" for b in range(0x20, 0x100)])
    tokens += list("abcefox'123i") + [space, "\u010a", "\u00c3", "\u00a9", "\u00cc", "\u0123"]
    merges = [("a", "b"), ("ab", "c"), (space, "ab"), (space, space), ("f", "o"), ("fo", "o"), ("1", "2"), (space, "a")]
    tokens += ["".join(m) for m in merges] + ([] if byte_level else ["\u00e9"]) + ["cab", "aab"]
    return {"type": "BPE", "vocab": {t: i for i, t in enumerate(tokens)}, "merges": [list(m) for m in merges]}


def unigram_model():
    """Scores for which the best path is not the greedy one ("ab" + "c" against "a" + "bc"); byte tokens from 0x20 on."""
    tokens = [("<unk>", 0.0)] + [(f"<0x{b:02X}>", -20.0) for b in range(0x20, 0x100)]
    tokens += [(c, -6.0 - n / 8) for n, c in enumerate("abcefox'123i\u2581\u00e9")]
    tokens += [("ab", -5.0), ("bc", -4.5), ("\u2581a", -3.25), ("\u2581ab", -5.5), ("foo", -4.0), ("\u2581\u2581", -4.75)]
    tokens += [("cab", -6.5), ("oo", -8.0), ("aab", -7.0)]
    return {"type": "Unigram", "unk_id": 0, "vocab": [list(t) for t in tokens], "byte_fallback": False}


def added(vocab):
    """Added tokens of every kind; `foo` is also in the vocabulary, the others take the ids behind it."""
    flags = {
        "[A]": "lstrip",
        "[B]": "rstrip",
        "foo": "single_word",
        "<t>": "special",
        "x\u0323\u0307": "",
        "<s>": "special",
    }
    names = ["special", "single_word", "lstrip", "rstrip"]
    new = [text for text in flags if text not in vocab]
    return [
        {
            "id": vocab.get(text, len(vocab) + (new.index(text) if text in new else 0)),
            "content": text,
            "normalized": text in ("foo", "x\u0323\u0307"),
            **{n: n == flag for n in names},
        }
        for text, flag in flags.items()
    ]


BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
PREPEND = {"type": "Prepend", "prepend": "\u2581"}
SPACES = {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}
BACK = {"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "}
STRIP = {"type": "Strip", "content": " ", "start": 1, "stop": 0}


def sequence(key, *steps):
    return {"type": "Sequence", key: list(steps)}


def split(pattern, behavior, invert=False):
    return {"type": "Split", "pattern": pattern, "behavior": behavior, "invert": invert}


def metaspace(scheme, cut=True):
    return {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": scheme, "split": cut}


def variants():
    """Name, byte-level or not, normalizer, pre-tokenizer, decoder, options of the model."""
    bytes_out = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}
    llama_in = sequence("normalizers", PREPEND, SPACES)
    llama_out = sequence("decoders", BACK, {"type": "ByteFallback"}, {"type": "Fuse"}, STRIP)
    fallback = {"byte_fallback": True, "fuse_unk": True, "unk_token": "<unk>"}
    for name, step in [
        ("gpt2", {**BYTE_LEVEL, "use_regex": True}),
        ("prefix space", {**BYTE_LEVEL, "add_prefix_space": True, "use_regex": True}),
        ("digits", sequence("pretokenizers", {"type": "Digits", "individual_digits": True}, BYTE_LEVEL)),
        (
            "numbers, prefix",
            sequence(
                "pretokenizers",
                {"type": "Digits", "individual_digits": False},
                {**BYTE_LEVEL, "add_prefix_space": True},
            ),
        ),
        ("split by text", sequence("pretokenizers", split({"String": " "}, "Isolated"), BYTE_LEVEL)),
    ]:
        yield name, True, None, step, bytes_out, {}
    for behavior in ["Isolated", "Removed", "Contiguous", "MergedWithPrevious", "MergedWithNext"]:
        for invert in [False, True]:
            step = sequence("pretokenizers", split({"Regex": "\\s|b"}, behavior, invert), BYTE_LEVEL)
            yield f"{behavior}, invert {invert}", True, None, step, bytes_out, {}
    for form in ["NFC", "NFD", "NFKC", "NFKD"]:
        yield form, True, {"type": form}, BYTE_LEVEL, bytes_out, {}
    yield "lower case, no accents", True, sequence(
        "normalizers", {"type": "NFD"}, {"type": "StripAccents"}, {"type": "Lowercase"}
    ), BYTE_LEVEL, bytes_out, {}
    for left, right in [(True, True), (True, False), (False, True)]:
        yield f"strip {left} {right}", True, {
            "type": "Strip",
            "strip_left": left,
            "strip_right": right,
        }, BYTE_LEVEL, bytes_out, {}
    yield "ignore merges", True, None, sequence(
        "pretokenizers", split({"Regex": " "}, "Isolated"), BYTE_LEVEL
    ), bytes_out, {"ignore_merges": True}
    yield "llama", False, llama_in, None, llama_out, fallback
    yield "llama without fallback", False, llama_in, None, llama_out, {**fallback, "byte_fallback": False}
    yield "unknowns apart, strip each", False, llama_in, None, sequence(
        "decoders", BACK, {"type": "ByteFallback"}, STRIP
    ), {"unk_token": "<unk>"}
    yield "unknowns dropped, no decoder", False, None, None, None, {}
    yield "regex replaced", False, {
        "type": "Replace",
        "pattern": {"Regex": "\\s+|^"},
        "content": "\u2581",
    }, None, sequence("decoders", BACK, {"type": "Fuse"}), fallback
    yield "gemma", False, SPACES, split({"String": " "}, "MergedWithPrevious"), sequence(
        "decoders", BACK, {"type": "ByteFallback"}, {"type": "Fuse"}
    ), fallback
    for scheme in ["always", "first", "never"]:
        yield f"metaspace {scheme}", False, None, metaspace(scheme), metaspace(scheme), fallback
    yield "metaspace whole", False, None, metaspace("first", False), metaspace("first", False), fallback


def encodings(tokenizer, texts):
    """[text, ids, ids with special tokens taken as text] each; the last is left out where it is the same."""
    result = []
    for text in texts:
        both = []
        for plain in [False, True]:
            tokenizer.encode_special_tokens = plain
            both.append(tokenizer.encode(text, add_special_tokens=False).ids)
        tokenizer.encode_special_tokens = False
        result.append([text, both[0]] + (both[1:] if both[0] != both[1] else []))
    return result


def decodings(tokenizer, count, rng):
    """[ids, text, text with special tokens]: random ids, cut characters and runs of byte tokens among them."""
    size = tokenizer.get_vocab_size()
    tokens = {i: tokenizer.id_to_token(i) or "" for i in range(size)}
    special = {i for i, t in tokenizer.get_added_tokens_decoder().items() if t.special}
    # The package leaves in a special token that is also normalized; no real tokenizer has one.
    odd = {i for i, t in tokenizer.get_added_tokens_decoder().items() if t.special and t.normalized}
    foreign = [i for i, t in tokens.items() if any(c >= "\x7f" for c in t) or t.startswith("<0x")]
    pools = [range(size), foreign, list(special) + foreign[:40], range(min(size, 300))]
    result = []
    for n in range(count):
        ids = [i for i in rng.choices(pools[n % len(pools)], k=rng.randint(1, 12)) if i not in odd]
        if n % 3 == 0:  # bytes of real characters, some cut short
            spelled = {t: i for i, t in tokens.items()}
            for char in rng.choices("\u00e9\u65e5\U0001f642a\n", k=4):
                for byte in char.encode()[: rng.randint(1, 4)]:
                    piece = f"<0x{byte:02X}>" if "<0xFE>" in spelled else byte_character(byte)
                    ids += [spelled[piece]] if piece in spelled else []
        result.append([ids] + [tokenizer.decode(ids, skip_special_tokens=skip) for skip in [True, False]])
    return result


def byte_character(byte):
    """The byte-level spelling, from the definition in GPT-2's encoder.py."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = [b for b in range(256) if b not in printable]
    return chr(byte) if byte in printable else chr(256 + rest.index(byte))


GPT2 = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"
REST = " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
CASED = (
    "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+%s|"
    "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*%s|"
)
SUFFIX = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
CASED_REST = " ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
# The name in a GGUF file, and the patterns of the model's own tokenizer.json (falcon, default: llama.cpp's).
PATTERNS = {
    "gpt-2": [GPT2],
    "smollm": ["\\p{N}", GPT2],
    "llama-bpe": [SUFFIX + "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}|" + REST],
    "qwen2": [SUFFIX + "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}|" + REST],
    "qwen35": [
        SUFFIX + "|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|"
        "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
    ],
    "falcon": ["[\\p{P}\\$\\+<=>\\^~\\|`]+", GPT2, "[0-9][0-9][0-9]"],
    "deepseek-v3": [
        "\\p{N}{1,3}",
        "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+",
        "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+|"
        " ?[\\p{P}\\p{S}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
    ],
    "tekken": [CASED % ("", "") + "\\p{N}|" + CASED_REST],
    "gpt-4o": [CASED % (SUFFIX + "?", SUFFIX + "?") + "\\p{N}{1,3}|" + CASED_REST],
    "default": ["[\\p{P}\\$\\+<=>\\^~\\|]+", GPT2, "\\p{N}+", "[0-9][0-9][0-9]"],
}


def pieces(patterns, text):
    cut = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(p), "isolated") for p in patterns])
    return [piece for piece, _ in cut.pre_tokenize_str(text)]


def write(name, content):
    """One line per entry, so that a change shows as such."""
    header = {
        "comment": "written by tools/golden/tokenizer_golden.py",
        "tokenizers": tokenizers.__version__,
        "seed": SEED,
    }
    lines = [f"{json.dumps(k)}:{json.dumps(v)}" for k, v in header.items()]
    for key, rows in content.items():
        body = ",\n".join(json.dumps(row, separators=(",", ":")) for row in rows)
        lines.append(f"{json.dumps(key)}:[\n{body}]")
    (GOLDEN / name).write_text("{" + ",\n".join(lines) + "}\n")


def main():
    rng = random.Random(SEED)
    models = []
    for path in ["models/demo-5m", "models/stories260K", "tokenizers/smollm2"]:
        tokenizer = Tokenizer.from_file(str(SHARED / path / "tokenizer.json"))
        tokenizer.no_truncation()
        models.append({"path": path, "encode": encodings(tokenizer, TEXTS), "decode": decodings(tokenizer, 40, rng)})
    write("tokenizer_models.json", {"models": models})
    rows, decoders = [], []
    for name, byte_level, normalizer, pre_tokenizer, decoder, options in variants():
        model = small_model(byte_level)
        parts = {"normalizer": normalizer, "pre_tokenizer": pre_tokenizer, "decoder": decoder}
        whole = {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "post_processor": None,
            **parts,
            "added_tokens": added(model["vocab"]),
            "model": {**model, **options},
        }
        tokenizer = Tokenizer.from_str(json.dumps(whole))
        rows.append(
            {
                "name": name,
                "byte_level": byte_level,
                **parts,
                "options": options,
                "encode": encodings(tokenizer, SMALL_TEXTS),
                "decode": [] if decoder in decoders else decodings(tokenizer, 16, rng),
            }
        )
        decoders.append(decoder)
    small = [
        {"byte_level": b, "model": small_model(b), "added_tokens": added(small_model(b)["vocab"])}
        for b in (True, False)
    ]
    unigrams = []
    for name, options in [("unigram", {}), ("unigram with bytes", {"byte_fallback": True})]:
        for scheme in ["always", "first"]:
            model = {**unigram_model(), **options}
            vocab = {t: i for i, (t, _) in enumerate(model["vocab"])}
            parts = {"normalizer": None, "pre_tokenizer": metaspace(scheme), "decoder": metaspace(scheme)}
            whole = {"version": "1.0", "truncation": None, "padding": None, "post_processor": None, **parts,
                     "added_tokens": added(vocab), "model": model}
            tokenizer = Tokenizer.from_str(json.dumps(whole))
            unigrams.append({"name": f"{name}, {scheme}", **parts, "added_tokens": whole["added_tokens"],
                             "options": options, "encode": encodings(tokenizer, SMALL_TEXTS),
                             "decode": decodings(tokenizer, 16, rng)})
    write("tokenizer_components.json", {"models": small, "variants": rows})
    write("tokenizer_unigram.json", {"models": [unigram_model()], "variants": unigrams})
    write("tokenizer_patterns.json", {"patterns": [[name, [[t, pieces(p, t)] for t in TEXTS]] for name, p in PATTERNS.items()]})


if __name__ == "__main__":
    main()
