#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes tests/io/golden/sentencepiece_*.model and sentencepiece.json: four models trained here, and what the sentencepiece
package (with `legacy: false` transformers) makes of texts.

    pip install sentencepiece transformers protobuf
    python3 tools/golden/sentencepiece_golden.py

(sentencepiece 0.2.3 and transformers 5.24.0 wrote the committed files.)
"""

import json
import os
import pathlib
import tempfile

import sentencepiece
import transformers

ROOT = pathlib.Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared/data"
GOLDEN = ROOT / "tests/io/golden"

# What is encoded with the SentencePiece models; the last ones hold added tokens.
SPACED = ["", " ", "a", " the  whale ", "It was night.\n", "\u65e5\u672c\u8a9e \u00e9", "\u2581the\u2581 sea", "<s> a</s>"]
ADDED = ["<s>the sea</s> a", "the <sep> sea<sep>the", "[U]the [U] sea", "<sep>", " the<sep>  sea"]


# Mapped characters, runs of spaces at every place, U+2581 at the ends, characters without a piece side by side.
MARKED = [
    "\uff21\ufb01\u00c6 x", "a\n\n\nb", "the     sea", "  the   sea  ", "a\u2581\u2581", "\u2581 ", "<b> x<b><b>",
    "\u65e5\u672c \u65e5", "12 345", "It\uff21\uff21 was", "\U0001f642\u00e9",
]


def train(name, **options):
    """Writes tests/io/golden/NAME. The training text is models/demo-5m's own (CC0)."""
    text = (SHARED / "text/demo/validation.txt").read_text()[:60000]
    here = os.getcwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)  # the model records its paths
        pathlib.Path("text").write_text(text)
        pathlib.Path("rules.tsv").write_text("FF21\t41\nFB01\t66 69\nC6\t\n")
        if options.pop("rules", False):
            options["normalization_rule_tsv"] = "rules.tsv"
        defaults = {"user_defined_symbols": ["[U]"], "control_symbols": ["<ctl>"]}
        sentencepiece.SentencePieceTrainer.train(
            input="text", model_prefix="m", num_threads=1, minloglevel=2, **(defaults | options)
        )
        (GOLDEN / name).write_bytes(pathlib.Path("m.model").read_bytes())
        os.chdir(here)
    return sentencepiece.SentencePieceProcessor(model_file=str(GOLDEN / name))


def stretches(text, token, token_id, encode):
    """Encodes what lies between the occurrences of one added token, each stretch on its own."""
    ids = []
    for n, part in enumerate(text.split(token)):
        ids += ([token_id] if n else []) + (encode(part) if part else [])
    return ids


def sentencepiece_rows():
    bpe = train(
        "sentencepiece_bpe.model", model_type="bpe", vocab_size=420, byte_fallback=True,
        normalization_rule_name="identity", remove_extra_whitespaces=False, split_digits=True,
    )
    unigram = train("sentencepiece_unigram.model", model_type="unigram", vocab_size=300, rules=True)
    gemma = train(  # no space in front; runs of spaces and line ends are pieces of their own
        "sentencepiece_gemma.model", model_type="bpe", vocab_size=420, byte_fallback=True, add_dummy_prefix=False,
        normalization_rule_name="identity", remove_extra_whitespaces=False,
        user_defined_symbols=["\n", "\n\n", "\u2581\u2581", "\u2581\u2581\u2581", "<b>"], bos_piece="<bos>", eos_piece="<eos>",
    )
    plain = train(  # what has no piece is unknown
        "sentencepiece_plain.model", model_type="bpe", vocab_size=300, normalization_rule_name="identity",
    )
    rows = []
    for name, model in [("bpe", bpe), ("unigram", unigram), ("gemma", gemma), ("plain", plain)]:
        # Control symbols and <sep> are added tokens to transformers; here the texts name none but <sep>.
        plain = [[text, model.encode(text)] for text in SPACED[:-1] + ADDED[2:3] + MARKED]
        size = model.get_piece_size()
        legacy = [[text, stretches(text, "<sep>", size, model.encode)] for text in ADDED if "<s>" not in text]
        rows.append({"model": f"sentencepiece_{name}.model", "plain": plain, "legacy": legacy})
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder)
        (path / "tokenizer.model").write_bytes((GOLDEN / "sentencepiece_bpe.model").read_bytes())
        config = {"tokenizer_class": "LlamaTokenizer", "legacy": False, "add_bos_token": True, "added_tokens_decoder": {
            "420": {"content": "<sep>", "special": False, "normalized": False, "lstrip": False, "rstrip": False,
                    "single_word": False}}}
        (path / "tokenizer_config.json").write_text(json.dumps(config))
        llama = transformers.LlamaTokenizer.from_pretrained(folder)
        rows[0]["not legacy"] = [[t, llama.encode(t, add_special_tokens=False)] for t in SPACED + ADDED]
    return rows


def main():
    header = {"comment": "written by tools/golden/sentencepiece_golden.py", "sentencepiece": sentencepiece.__version__,
              "transformers": transformers.__version__}
    lines = [f"{json.dumps(k)}:{json.dumps(v)}" for k, v in header.items()]
    rows = ",\n".join(json.dumps(row, separators=(",", ":")) for row in sentencepiece_rows())
    (GOLDEN / "sentencepiece.json").write_text("{" + ",\n".join(lines) + ',\n"models":[\n' + rows + "]}\n")


if __name__ == "__main__":
    main()
