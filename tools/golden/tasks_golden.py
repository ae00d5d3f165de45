#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What EleutherAI's lm-evaluation-harness makes of the task files in ../shared/data/tasks with models/demo-5m.

    pip install lm-eval torch transformers   (the golden file's header names the versions that wrote it)
    python3 tools/golden/tasks_golden.py golden                         # rewrites tests/eval/golden/tasks.json
    scalebits eval tasks models/demo-5m --data DATA --tasks ... --limit N --log-samples OUT/
    python3 tools/golden/tasks_golden.py compare OUT --limit N          # table of agreement, item by item

The harness's own task definitions are used (prompts, filters, scoring); only the data set is replaced by the local files,
brought back to the columns of the original data sets by the functions below, which share nothing with our C++ readers.
"""

import argparse
import csv
import importlib.metadata
import json
import math
import os
import pathlib

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import datasets  # noqa: E402
import lm_eval  # noqa: E402
from lm_eval.api.task import ConfigurableTask  # noqa: E402
from lm_eval.evaluator import evaluate  # noqa: E402
from lm_eval.tasks._yaml_loader import load_yaml  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]
DATA = ROOT.parent / "shared/data/tasks"
GOLDEN = ROOT / "tests/eval/golden/tasks.json"
YAML = pathlib.Path(lm_eval.__file__).parent / "tasks"
SEED = 1234  # the harness's default for examples
GOLDEN_ITEMS = 30
GOLDEN_SUBJECTS = ["abstract_algebra", "us_foreign_policy", "high_school_psychology"]


def lines(path):
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file if line.strip()]


def piqa(row):
    return {"goal": row["query"][len("Question: ") : -1], "sol1": row["choices"][0], "sol2": row["choices"][1],
            "label": row["gold"]}


def winogrande(row):
    first, second = row["context_options"]
    shared = len(os.path.commonprefix([first, second]))
    shared = min(shared, len(first) - 1, len(second) - 1)
    return {"sentence": first[:shared] + "_ " + row["continuation"], "option1": first[shared:],
            "option2": second[shared:], "answer": str(row["gold"] + 1)}


def arc(row):
    labels = [chr(ord("A") + i) for i in range(len(row["choices"]))]
    return {"question": row["query"][len("Question: ") :], "choices": {"text": row["choices"], "label": labels},
            "answerKey": labels[row["gold"]]}


def boolq(row):
    passage, question = row["query"][len("Passage: ") :].rsplit("\nQuestion: ", 1)
    assert question.endswith("?")
    return {"passage": passage, "question": question[:-1], "label": row["gold"]}


def lambada(row):
    return {"text": row["context"] + " " + row["continuation"]}


def same(row):
    return row


SINGLE = {
    "winogrande": ("winogrande/default.yaml", "llm-foundry/winogrande.jsonl", winogrande, "validation"),
    "piqa": ("piqa/piqa.yaml", "llm-foundry/piqa.jsonl", piqa, "validation"),
    "hellaswag": ("hellaswag/hellaswag.yaml", "hellaswag/hellaswag_val_750.jsonl", same, "validation"),
    "arc_easy": ("arc/arc_easy.yaml", "llm-foundry/arc_easy.jsonl", arc, "test"),
    "arc_challenge": ("arc/arc_challenge.yaml", "llm-foundry/arc_challenge.jsonl", arc, "test"),
    "boolq": ("super_glue/boolq/default.yaml", "llm-foundry/boolq.jsonl", boolq, "validation"),
    "lambada_openai": ("lambada/lambada_openai.yaml", "llm-foundry/lambada_openai.jsonl", lambada, "test"),
    "gsm8k": ("gsm8k/gsm8k.yaml", "gsm8k/test.jsonl", same, "test"),
}


def subject_rows(subject, split):
    with open(DATA / f"mmlu/{split}/{subject}_{split}.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))[1:]
    return [{"question": r[0], "choices": r[1:5], "answer": int(r[5])} for r in rows]


def subjects():
    return sorted(p.name[: -len("_dev.csv")] for p in (DATA / "mmlu/dev").glob("*_dev.csv"))


def make_task(config, splits, num_fewshot):
    config = dict(config)
    for key in ("dataset_path", "dataset_name", "tag", "group"):
        config.pop(key, None)
    for key in ("training_split", "validation_split", "test_split"):
        if config.get(key) not in splits:
            config.pop(key, None)
    config["num_fewshot"] = num_fewshot
    config["custom_dataset"] = lambda **_: datasets.DatasetDict(
        {name: datasets.Dataset.from_list(rows) for name, rows in splits.items()})
    task = ConfigurableTask(config=config)
    task.set_fewshot_seed(SEED)
    return task


def single_task(name, num_fewshot=None, train=None):
    yaml, path, convert, split = SINGLE[name]
    splits = {split: [convert(row) for row in lines(DATA / path)]}
    if name == "gsm8k":
        splits["train"] = lines(DATA / "gsm8k/train.jsonl")
    elif train is not None:
        splits["train"] = [convert(row) for row in train]
    return make_task(load_yaml(YAML / yaml), splits, (5 if name == "gsm8k" else 0) if num_fewshot is None else num_fewshot)


def subject_task(subject):
    splits = {"test": subject_rows(subject, "test"), "dev": subject_rows(subject, "dev")}
    return make_task(load_yaml(YAML / f"mmlu/default/mmlu_{subject}.yaml"), splits, 5)


def run(tasks, limit, batch_size):
    """-> {task: (samples, results)}"""
    from lm_eval.models.huggingface import HFLM

    model = HFLM(pretrained=str(ROOT / "models/demo-5m"), device="cpu", dtype="float32", batch_size=batch_size)
    out = evaluate(model, {"tasks": tasks, "groups": {}}, limit=limit, bootstrap_iters=0, log_samples=True)
    return {name: (out["samples"][name], out["results"][name]) for name in tasks}


def log_likelihoods(sample):
    return [r[0][0] for r in sample["resps"]], [bool(r[0][1]) for r in sample["resps"]]


def by_doc(samples):
    """The harness logs one sample for each filter."""
    docs = {}
    for sample in samples:
        docs.setdefault(sample["doc_id"], {})[sample["filter"]] = sample
    return [docs[i] for i in sorted(docs)]


def golden_item(filters):
    first = next(iter(filters.values()))
    if len(filters) > 1:
        return {"answer": first["resps"][0][0], "strict": filters["strict-match"]["filtered_resps"][0],
                "flexible": filters["flexible-extract"]["filtered_resps"][0],
                "right": [int(filters[f]["exact_match"]) for f in ("strict-match", "flexible-extract")]}
    values, greedy = log_likelihoods(first)
    item = {"log_likelihoods": [round(v, 5) for v in values], "greedy": greedy, "acc": int(first["acc"])}
    if "acc_norm" in first:
        item["acc_norm"] = int(first["acc_norm"])
    return item


def prompt_of(filters):
    first = next(iter(filters.values()))
    context = first["arguments"][0][0]
    return context if len(filters) > 1 else context + first["arguments"][0][1]


def metrics_of(results):
    return {k: v for k, v in results.items() if isinstance(v, float) and not math.isnan(v)}


def versions():
    return {p: importlib.metadata.version(p) for p in ("lm-eval", "torch", "transformers", "tokenizers", "datasets")}


def fewshot_prompts():
    """Prompts with 2 examples out of the last 60 items of each file, of the first 4 items; no model is asked."""
    out = {}
    for name, (_, path, _, _) in SINGLE.items():
        if name in ("gsm8k", "lambada_openai"):  # the latter has no training split in the harness
            continue
        task = single_task(name, 2, lines(DATA / path)[-60:])
        task.build_all_requests(limit=4, rank=0, world_size=1)
        texts = {}
        for request in task.instances:
            texts.setdefault(request.doc_id, request.args[0] + request.args[1])
        out[name] = [texts[i] for i in sorted(texts)]
    return out


def write_golden():
    tasks = {name: single_task(name) for name in SINGLE}
    tasks.update({f"mmlu_{s}": subject_task(s) for s in GOLDEN_SUBJECTS})
    generating = {"gsm8k": tasks.pop("gsm8k")}
    found = run(tasks, GOLDEN_ITEMS, 8)
    found.update(run(generating, 4, 1))
    golden = {"versions": versions(), "model": "models/demo-5m", "tasks": {}, "fewshot_prompts": fewshot_prompts()}
    for name, (samples, results) in found.items():
        docs = by_doc(samples)
        golden["tasks"][name] = {"first_prompt": prompt_of(docs[0]), "metrics": metrics_of(results),
                                 "items": [golden_item(d) for d in docs]}
    GOLDEN.parent.mkdir(exist_ok=True)
    with open(GOLDEN, "w", encoding="utf-8") as file:
        json.dump(golden, file, ensure_ascii=False, indent=0, separators=(",", ":"))
        file.write("\n")
    print(GOLDEN, GOLDEN.stat().st_size, "bytes")


def pick(values):
    return max(range(len(values)), key=lambda i: values[i])


def compare_task(name, samples, results, ours):
    docs = by_doc(samples)
    assert len(docs) == len(ours), (name, len(docs), len(ours))
    same_choice = same_prompt = 0
    largest = 0.0
    for filters, our in zip(docs, ours):
        first = next(iter(filters.values()))
        text = our["contexts"][0] + (our["continuations"][0] if "continuations" in our else "")
        same_prompt += prompt_of(filters) == text
        if len(filters) > 1:
            same_choice += first["resps"][0][0] == our["answer"]
            continue
        values, greedy = log_likelihoods(first)
        largest = max([largest] + [abs(a - b) for a, b in zip(values, our["log_likelihoods"])])
        same_choice += greedy == our["greedy"] if len(values) == 1 else pick(values) == our["pick"]
    n = len(docs)
    print(f"| {name} | {n} | {same_prompt / n:.2%} | {same_choice / n:.2%} | {largest:.1e} |", end="")
    for key, value in metrics_of(results).items():
        if "stderr" in key:
            continue
        metric, kind = key.split(",")
        if kind != "none":
            mine = sum(o[f"{metric},{kind}"] for o in ours) / n
        elif metric == "perplexity":
            mine = math.exp(-sum(o["log_likelihoods"][0] for o in ours) / n)
        else:
            mine = sum(o[metric] for o in ours) / n
        print(f" {key}: {value:.4f} / {mine:.4f}", end="")
    print(" |", flush=True)
    return same_choice, n


def compare(folder, limit, batch_size, names):
    tasks = {n: single_task(n) for n in SINGLE}
    tasks.update({f"mmlu_{s}": subject_task(s) for s in subjects()})
    print(versions())
    print("| task | items | same prompt | same choice (answer) | largest difference of log-likelihoods | harness / ours |")
    print("|---|---|---|---|---|---|")
    for name, task in tasks.items():
        path = folder / f"samples_{name}.jsonl"
        if not path.exists() or (names and name not in names):
            continue
        samples, results = run({name: task}, limit, batch_size)[name]
        compare_task(name, samples, results, lines(path))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("golden")
    command = commands.add_parser("compare")
    command.add_argument("folder", type=pathlib.Path)
    command.add_argument("--limit", type=int, required=True)
    command.add_argument("--batch-size", type=int, default=8)
    command.add_argument("--tasks", nargs="*")
    arguments = parser.parse_args()
    if arguments.command == "golden":
        write_golden()
    else:
        compare(arguments.folder, arguments.limit, arguments.batch_size, arguments.tasks)


if __name__ == "__main__":
    main()
