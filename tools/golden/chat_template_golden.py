#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes tests/io/golden/chat_templates.json: what transformers makes of conversations with chat templates.

    pip install transformers jinja2      (the header of the file names the versions that wrote it)
    python3 tools/golden/chat_template_golden.py

chat_templates/*.jinja: templates written for this project in the manner of the families' own. A case is
[messages, add_generation_prompt, variables, text], or null in place of the text where the template or Jinja refuses.
The cases of `shared` are for the real template in ../shared/data/tokenizers/qwen2.5.
"""

import datetime
import json
import pathlib

import jinja2
import transformers
from transformers.utils import chat_template_utils

ROOT = pathlib.Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests/io/golden"
REAL = ROOT.parent / "shared/data/tokenizers/qwen2.5/tokenizer_config.json"
NOW = datetime.datetime(2024, 7, 4, 9, 5, 7)
TOKENS = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}


class FixedClock(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return NOW


def chat(*contents, system=None):
    """Messages of user and assistant in turn."""
    roles = ["user", "assistant"]
    messages = [{"role": "system", "content": system}] if system is not None else []
    return messages + [{"role": roles[i % 2], "content": c} for i, c in enumerate(contents)]


CONVERSATIONS = [
    chat("Hello"),
    chat("  white space \n", "\t kept or not \n\n", "third"),
    chat("Who?", "I am.", "Really?", system="You are brief."),
    chat("", system=""),
    chat("na\u00efve \u65e5\u672c\u8a9e \U0001f642 e\u0301\u00a0", "\u00df\u0130 \u2028x", "<|im_end|></s>[INST]"),
    chat("{{ 7 * 7 }} {% raw %}", "'quoted' \"twice\" \\n", "a\r\nb\\"),
    chat("<think>no</think>", "<think>\nlong\nthought\n</think>\n\nanswer", "again", "<think></think>short", "last"),
    chat(),
    chat("one", system="only") + [{"role": "system", "content": "late"}],
    [{"role": "assistant", "content": "first"}],
    [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}],
    [{"role": "tool", "content": "{}"}, {"role": "ipython", "content": "x"}],
    [{"role": "user", "content": "x", "name": "Ann", "weight": 1.5}],
]
CALL = {"type": "function", "function": {"name": "add", "arguments": {"a": 1, "b": [True, None, 2.5, "\u00e9\"<'"]}}}
TOOL = {
    "type": "function",
    "function": {"name": "add", "description": "Adds.", "parameters": {"type": "object", "properties": {"a": {}}}},
}
TOOLED = [
    {"role": "user", "content": "1+1?"},
    {"role": "assistant", "content": "", "tool_calls": [CALL]},
    {"role": "tool", "name": "add", "content": "2"},
    {"role": "tool", "name": "add", "content": "3"},
    {"role": "assistant", "content": "2"},
]


def render(template, messages, prompt, variables):
    try:
        arguments = {**TOKENS, "tools": None, **variables}
        (text,), _ = chat_template_utils.render_jinja_template(
            conversations=[messages], chat_template=template, add_generation_prompt=prompt, **arguments
        )
        return text
    except (jinja2.TemplateError, TypeError, ValueError, KeyError, ArithmeticError, AttributeError):
        return None


def cases(template):
    for messages in CONVERSATIONS:
        for prompt in [True, False]:
            yield [messages, prompt, {}, render(template, messages, prompt, {})]
    for messages, variables in [(TOOLED, {}), (TOOLED, {"tools": [TOOL, TOOL]}), (CONVERSATIONS[2], {"tools": [TOOL]}),
                                (CONVERSATIONS[2], {"enable_thinking": False, "date_string": "1 Jan"})]:
        yield [messages, True, variables, render(template, messages, True, variables)]


def expressions():
    """[expression, text]: one expression after another, each as a template of its own."""
    lines = (GOLDEN / "chat_templates/expressions.txt").read_text().splitlines()
    for line in lines:
        if line:
            source = line if "{%" in line or "{{" in line else "{{ " + line + " }}"
            yield [source.replace("\\n", "\n") if source.startswith("{") and "{%" in source else source, None]


def compact(rows):
    return ",\n".join(json.dumps(row, separators=(",", ":")) for row in rows)


def main():
    chat_template_utils.datetime = FixedClock
    header = {
        "comment": "written by tools/golden/chat_template_golden.py",
        "transformers": transformers.__version__,
        "jinja2": jinja2.__version__,
    }
    parts = [f"{json.dumps(k)}:{json.dumps(v)}" for k, v in header.items()]
    for path in sorted((GOLDEN / "chat_templates").glob("*.jinja")):
        template = path.read_text(encoding="utf-8")
        parts.append(f"{json.dumps(path.name)}:[\n{compact(cases(template))}]")
    real = json.loads(REAL.read_text())["chat_template"]
    parts.append(f'"shared":[\n{compact(cases(real))}]')
    messages = CONVERSATIONS[2]
    rows = [[source, render(source, messages, True, {"tools": [TOOL]})] for source, _ in expressions()]
    parts.append(f'"expressions":[\n{compact(rows)}]')
    (GOLDEN / "chat_templates.json").write_text("{" + ",\n".join(parts) + "}\n")
    refused = sum(text is None for _, text in rows)
    print(f"{len(rows)} expressions, {refused} refused")


if __name__ == "__main__":
    main()
