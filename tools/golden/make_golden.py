#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Writes tests/model/golden/: logits, losses and gradients of reference_model.py for three models.

    /usr/bin/python3 tools/golden/make_golden.py [--only NAME]    (numpy and PyTorch; no other package)

Computed in float64, stored as f32. What the files hold: tests/model/golden/README.md. Golden files change only by this
script, in a commit of their own.
"""
import argparse
import hashlib
import json
import pathlib
import platform
import sys

import numpy as np
import torch

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import kl  # noqa: E402
from reference_model import LINEARS, ReferenceModel, mean_nll, token_nll  # noqa: E402
from safetensors_file import save  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests/model/golden"
STORIES = ROOT.parent / "shared/data/models/stories260K"
SEED = 20260217
SAMPLED = 64  # gradient entries kept per matrix: half of them the largest, half drawn at random


def f32(tensor):
    return np.ascontiguousarray(tensor.numpy(), dtype=np.float32)


def describe(directory, tokens, logits, loss, grads):
    """Metadata of a golden file, with how far a float32 run of the same code is from the float64 values."""
    _, loss32, grads32 = single = ReferenceModel(directory, torch.float32).gradients(tokens, list(grads))
    grad_error = max(float((grads32[n].double() - g).norm() / g.norm()) for n, g in grads.items())
    return {
        "generator": "tools/golden/make_golden.py",
        "torch": torch.__version__, "numpy": np.__version__, "python": platform.python_version(), "seed": SEED,
        "model_sha256": hashlib.sha256((directory / "model.safetensors").read_bytes()).hexdigest(),
        "computed_in": "float64, stored as float32",
        "loss": f"{float(loss):.17g}",
        "loss_is": "mean over B * (T - 1) predictions of -log p(token[t + 1] | token[..t]), nats",
        "float32_logit_error": f"{float((single[0].double() - logits).abs().max()):.3g}",
        "float32_loss_error": f"{abs(float(loss32) - float(loss)):.3g}",
        "float32_gradient_error": f"{grad_error:.3g} (largest relative error of a matrix, Frobenius)",
    }


def sampled_golden(directory, name, tokens, positions, vocab_ids):
    """One sequence of a model that lives elsewhere: some logits, every logsumexp and token loss, sampled gradients."""
    model = ReferenceModel(directory)
    logits, loss, grads = model.gradients([tokens], model.linear_names())
    rng = np.random.default_rng(SEED)
    tensors = {
        "tokens": np.array([tokens], np.int32), "positions": np.array(positions, np.int32),
        "vocab_ids": np.array(vocab_ids, np.int32), "logits": f32(logits[0][positions][:, vocab_ids]),
        "logsumexp": f32(torch.logsumexp(logits, -1)), "token_nll": f32(token_nll(logits, [tokens])),
        "loss": f32(loss.reshape(1)),
    }
    for linear, grad in grads.items():
        flat = grad.reshape(-1)
        largest = flat.abs().topk(SAMPLED // 2).indices.numpy()
        rest = np.setdiff1d(np.arange(flat.numel()), largest)
        index = np.sort(np.concatenate([largest, rng.choice(rest, SAMPLED // 2, replace=False)])).astype(np.int32)
        tensors[f"grad_norm.{linear}"] = f32(grad.norm().reshape(1))
        tensors[f"grad_index.{linear}"] = index
        tensors[f"grad_value.{linear}"] = f32(flat[torch.from_numpy(index).long()])
    save(GOLDEN / name, tensors, describe(directory, [tokens], logits, loss, grads))


def demo_5m():
    directory = ROOT / "models/demo-5m"
    reference = json.loads((directory / "reference.json").read_text())
    check_demo_reference(directory, reference)
    rng = np.random.default_rng(SEED)
    vocab_ids = np.sort(np.concatenate([[0, 4095], 1 + rng.choice(4094, 254, replace=False)])).tolist()
    sampled_golden(directory, "demo-5m.safetensors", reference["input"][:48], [0, 1, 7, 23, 46, 47], vocab_ids)


def check_demo_reference(directory, reference):
    """reference.json was written by the training code (fp32, 5 or 6 digits): a third implementation."""
    model = ReferenceModel(directory)
    tokens = [reference["input"] + [reference["ids"][-1]]]
    logits = model.logits(tokens)
    nll = token_nll(logits, tokens)[0]
    worst = float((nll - torch.tensor(reference["nll"], dtype=torch.float64)).abs().max())
    last = logits[0, len(reference["input"]) - 1]
    worst_logit = max(abs(float(last[i]) - value) for i, value in reference["last_position_top8"])
    worst_logit = max([worst_logit] + [abs(float(last[i]) - v) for i, v in
                                       enumerate(reference["last_position_logits_first8"])])
    # Half a unit of the fifth decimal, plus fp32 rounding of the writer.
    assert worst < 3e-5 and worst_logit < 3e-5, (worst, worst_logit)
    assert abs(float(nll.mean()) - reference["nll_mean"]) < 5e-6
    ids = list(reference["greedy_prompt_ids"])
    for _ in reference["greedy_continuation_32"]:
        ids.append(int(model.logits([ids])[0, -1].argmax()))
    assert ids[len(reference["greedy_prompt_ids"]):] == reference["greedy_continuation_32"]
    print(f"demo-5m against reference.json: token losses within {worst:.1e}, logits within {worst_logit:.1e}")


def stories260k():
    if not STORIES.exists():
        print(f"skipped stories260K: no {STORIES}")
        return
    check_stories_text()
    # A story that the model tells itself: BOS, then 63 tokens drawn from its own distribution.
    model, rng, tokens = ReferenceModel(STORIES), np.random.default_rng(SEED), [1]
    while len(tokens) < 64:
        probabilities = torch.softmax(model.logits([tokens])[0, -1], -1).numpy()
        tokens.append(int(np.searchsorted(np.cumsum(probabilities), rng.random())))
    sampled_golden(STORIES, "stories260K.safetensors", tokens, [0, 1, 5, 20, 62, 63], list(range(512)))


def check_stories_text():
    """The greedy text that Karpathy's run.c gives: a third implementation, on the weights before their conversion."""
    expected = ("Once upon a time, there was a little girl named Lily. She loved to play outside in the park. One day, "
                "she saw a big, red ball. She wanted to play with it, but it was too high.")
    vocab = json.loads((STORIES / "tokenizer.json").read_text())["model"]["vocab"]
    pieces = {i: piece for piece, i in vocab.items()}
    model, ids = ReferenceModel(STORIES), [1]
    text = ""
    while len(text) < len(expected):
        ids.append(int(model.logits([ids])[0, -1].argmax()))
        text = "".join(pieces[i] for i in ids[1:]).replace("\u2581", " ").strip()
    assert text[:len(expected)] == expected, text
    print("stories260K: greedy text equals that of run.c")


TINY_CONFIG = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "hidden_size": 64,
    "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 24,
    "vocab_size": 128, "max_position_embeddings": 512,
    # Neither is the usual value, so that a reader that ignores the key is noticed, and so is an eps outside the root.
    "rms_norm_eps": 0.01, "rope_theta": 5000.0,
    # Context 64: pairs 0 and 1 keep their frequency, 2 and 3 are interpolated, 4 to 11 are stretched.
    "rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                     "original_max_position_embeddings": 64},
    "attention_bias": True, "mlp_bias": True, "tie_word_embeddings": False, "bos_token_id": 0, "eos_token_id": 1,
    "torch_dtype": "float32",
}


def write_tiny_checkpoint(directory):
    """Random weights, large enough that attention is far from uniform and every bias and norm weight matters."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text(json.dumps(TINY_CONFIG, indent=2) + "\n")
    c, rng, tensors = TINY_CONFIG, np.random.default_rng(SEED), {}

    def normal(name, shape, std, mean=0.0):
        tensors[name] = (mean + std * rng.standard_normal(shape)).astype(np.float32)

    q, kv = (c[key] * c["head_dim"] for key in ("num_attention_heads", "num_key_value_heads"))
    d, ff, vocab = c["hidden_size"], c["intermediate_size"], c["vocab_size"]
    shapes = dict(zip(LINEARS, [(q, d), (kv, d), (kv, d), (d, q), (ff, d), (ff, d), (d, ff)]))
    normal("model.embed_tokens.weight", (vocab, d), 0.7)
    for layer in range(c["num_hidden_layers"]):
        prefix = f"model.layers.{layer}."
        normal(prefix + "input_layernorm.weight", (d,), 0.3, 1.0)
        normal(prefix + "post_attention_layernorm.weight", (d,), 0.3, 1.0)
        for linear, shape in shapes.items():
            normal(prefix + linear + ".weight", shape, 1.2 / np.sqrt(shape[1]))
            normal(prefix + linear + ".bias", (shape[0],), 0.2)
    normal("model.norm.weight", (d,), 0.3, 1.0)
    normal("lm_head.weight", (vocab, d), 1.2 / np.sqrt(d))
    save(directory / "model.safetensors", tensors, {"format": "pt", "generator": "tools/golden/make_golden.py",
                                                   "seed": SEED})


def tiny_gqa():
    directory = GOLDEN / "tiny-gqa"
    write_tiny_checkpoint(directory)
    tokens = np.random.default_rng(SEED + 1).integers(0, TINY_CONFIG["vocab_size"], (2, 24))
    model = ReferenceModel(directory)
    names = model.linear_names() + ["lm_head"]
    logits, loss, grads = model.gradients(tokens, names)
    check_directional_derivative(model, tokens, grads)
    metadata = describe(directory, tokens, logits, loss, grads)
    save(directory / "golden.safetensors", {
        "tokens": tokens.astype(np.int32), "logits": f32(logits), "loss": f32(loss.reshape(1)),
        "token_nll": f32(token_nll(logits, tokens)), "grad.lm_head": f32(grads["lm_head"]),
    }, metadata)
    for layer in range(model.n_layers):
        own = {f"grad.{n}": f32(g) for n, g in grads.items() if n.startswith(f"model.layers.{layer}.")}
        save(directory / f"golden-gradients-{layer}.safetensors", own, metadata)


def check_directional_derivative(model, tokens, grads):
    """Autograd against a central difference of the loss along a random direction in each matrix."""
    rng, step = np.random.default_rng(SEED + 2), 1e-5
    for name, grad in grads.items():
        weight = model.weights[name + ".weight"]
        direction = torch.from_numpy(rng.standard_normal(tuple(weight.shape)))
        direction *= grad.norm() / direction.norm()
        direction += grad  # so that the derivative is not small by chance
        ends = []
        for sign in (1, -1):
            model.weights[name + ".weight"] = weight + sign * step * direction
            ends.append(float(mean_nll(model.logits(tokens), tokens)))
        model.weights[name + ".weight"] = weight
        expected = float((grad * direction).sum())
        # Rounding of the loss, 1e-15, over the step; the truncation is of the order of step^2.
        assert abs((ends[0] - ends[1]) / (2 * step) - expected) < 1e-9 + 1e-7 * abs(expected), name


def kl_case():
    (GOLDEN / "kl_case.json").write_text(json.dumps(kl.golden_case(), indent=1) + "\n")


def main():
    makers = {"demo-5m": demo_5m, "tiny-gqa": tiny_gqa, "stories260K": stories260k, "kl": kl_case}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=makers)
    only = parser.parse_args().only
    torch.set_num_threads(1)  # the same order of summation everywhere
    GOLDEN.mkdir(parents=True, exist_ok=True)
    for name, make in makers.items():
        if only in (None, name):
            make()
            print(f"{name}: written")


if __name__ == "__main__":
    main()
