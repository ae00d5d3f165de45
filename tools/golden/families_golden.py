#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes tests/model/golden/families/: tiny random models of every dense family, with logits, losses and gradients of
Hugging Face transformers.

    python3 tools/golden/families_golden.py [--only NAME]     (needs torch, transformers and numpy)

Each model has every feature of its family on, in a form that bites within 24 tokens: windows shorter than the text,
soft-caps of the size of the scores, rope scaling, norm weights far from one. Eager attention in float64 (transformers
keeps norms, softmax and rotary angles in float32 all the same). Golden files change only by their script, in a commit of
their own.
"""
import argparse
import json
import pathlib
import platform
import sys

import numpy as np
import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM

sys.dont_write_bytecode = True
ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))
from safetensors_file import StreamingWriter, bf16_to_f32, f32_to_bf16, save  # noqa: E402

OUT = ROOT / "tests/model/golden/families"
SEED = 20261128
SEQUENCES, LENGTH = 2, 24
SAMPLED = 64  # gradient entries kept per matrix: half of them the largest, half drawn at random

SIZES = {
    "hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 16, "vocab_size": 96, "max_position_embeddings": 64, "rms_norm_eps": 0.01,
    "rope_theta": 500.0, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2, "torch_dtype": "float32",
    "tie_word_embeddings": False, "hidden_act": "silu",
}
GEMMA = {"hidden_activation": "gelu_pytorch_tanh", "hidden_act": None, "tie_word_embeddings": True,
         "query_pre_attn_scalar": 24, "sliding_window": 7}
FAMILIES = {
    "mistral": ("MistralForCausalLM", "mistral", {"sliding_window": 7}),
    # A window from layer 1 on, biases of q, k and v.
    "qwen2": ("Qwen2ForCausalLM", "qwen2", {"head_dim": None, "use_sliding_window": True, "sliding_window": 6,
                                            "max_window_layers": 1}),
    "qwen3": ("Qwen3ForCausalLM", "qwen3", {"attention_bias": True, "use_sliding_window": True, "sliding_window": 6,
                                            "layer_types": ["sliding_attention", "full_attention"]}),
    "gemma2": ("Gemma2ForCausalLM", "gemma2", {**GEMMA, "attn_logit_softcapping": 2.0,
                                               "final_logit_softcapping": 3.0}),
    # Three layers, so that one comes after the first that sees everything.
    "gemma3": ("Gemma3ForCausalLM", "gemma3_text",
               {**GEMMA, "num_hidden_layers": 3, "sliding_window_pattern": 2, "rope_local_base_freq": 50.0,
                "rope_scaling": {"rope_type": "linear", "factor": 4.0}}),
    # Texts of 24 tokens are longer than the original 16, so the long factors count.
    "phi3": ("Phi3ForCausalLM", "phi3",
             {"head_dim": None, "num_attention_heads": 3, "num_key_value_heads": 1, "sliding_window": 9,
              "partial_rotary_factor": 0.75, "original_max_position_embeddings": 16,
              "rope_scaling": {"type": "longrope", "short_factor": [1.0, 1.5, 2.0, 2.5, 3.0, 3.5],
                               "long_factor": [1.25, 2.0, 2.75, 3.5, 4.25, 5.0]}}),
    # A config as transformers 5 writes it.
    "smollm2": ("LlamaForCausalLM", "llama",
                {"head_dim": None, "num_attention_heads": 3, "num_key_value_heads": 1, "tie_word_embeddings": True,
                 "rope_theta": None, "torch_dtype": None, "dtype": "float32",
                 "rope_parameters": {"rope_theta": 500.0, "rope_type": "default"}}),
}


def hf_config(name):
    architecture, model_type, changes = FAMILIES[name]
    config = {"architectures": [architecture], "model_type": model_type, **SIZES, **changes}
    return {key: value for key, value in config.items() if value is not None}


def random_weight(name, shape, rng, adds_one):
    """Large enough that attention is far from uniform, and that every bias and norm weight matters. As bf16 stores it."""
    if "norm" in name:
        values = rng.uniform(0.3, 1.7, shape) - (1.0 if adds_one else 0.0)
    elif name.endswith(".bias"):
        values = rng.normal(0, 0.5, shape)
    elif name == "model.embed_tokens.weight":
        values = rng.normal(0, 0.3, shape)
    else:
        values = rng.normal(0, 1.5 / np.sqrt(shape[-1]), shape)
    return bf16_to_f32(f32_to_bf16(values.astype(np.float32)))


def build(directory, dtype):
    config = AutoConfig.from_pretrained(directory)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager", dtype=dtype)
    return model.eval()


def write_checkpoint(name, directory):
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text(json.dumps(hf_config(name), indent=2) + "\n")
    model = build(directory, torch.float32)
    rng = np.random.default_rng(SEED)
    tied = model.config.tie_word_embeddings
    adds_one = hf_config(name)["model_type"].startswith("gemma")
    weights = {key: random_weight(key, tuple(value.shape), rng, adds_one)
               for key, value in sorted(model.state_dict().items()) if not (tied and key == "lm_head.weight")}
    writer = StreamingWriter(directory / "model.safetensors", [(k, "BF16", v.shape) for k, v in weights.items()],
                             {"format": "pt"})
    for value in weights.values():
        writer.write(f32_to_bf16(value))
    writer.close()
    return weights


def run(directory, weights, tokens, dtype):
    """logits [B, T, V], mean next-token loss, its gradient for every linear layer by the name of its unfused weight."""
    model = build(directory, dtype)
    missing, unexpected = model.load_state_dict({k: torch.from_numpy(v).to(dtype) for k, v in weights.items()},
                                                strict=False)
    assert not unexpected and set(missing) <= {"lm_head.weight"}, (missing, unexpected)
    model.tie_weights()
    ids = torch.as_tensor(tokens, dtype=torch.int64)
    logits = model(ids, use_cache=False).logits
    rows = logits[:, :-1].double()
    nll = torch.logsumexp(rows, -1) - rows.gather(-1, ids[:, 1:, None])[..., 0]
    loss = nll.mean()
    names = [k for k in weights if k.endswith("proj.weight")]
    parameters = dict(model.named_parameters())
    grads = dict(zip(names, torch.autograd.grad(loss, [parameters[k] for k in names])))
    return logits.detach().double(), nll.detach(), loss.detach(), unfused(grads, model.config)


def unfused(grads, config):
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    q, kv = config.num_attention_heads * head, config.num_key_value_heads * head
    parts = {"qkv_proj": [("q_proj", q), ("k_proj", kv), ("v_proj", kv)],
             "gate_up_proj": [("gate_proj", config.intermediate_size), ("up_proj", config.intermediate_size)]}
    result = {}
    for name, grad in grads.items():
        path, linear = name[:-len(".weight")].rsplit(".", 1)
        if linear not in parts:
            result[f"{path}.{linear}"] = grad.double()
            continue
        for (part, rows), piece in zip(parts[linear], grad.split([rows for _, rows in parts[linear]])):
            result[f"{path}.{part}"] = piece.double()
    return result


def f32(tensor):
    return np.ascontiguousarray(tensor.numpy(), dtype=np.float32)


def golden(name):
    directory = OUT / name
    weights = write_checkpoint(name, directory)
    tokens = np.random.default_rng(SEED + 1).integers(0, SIZES["vocab_size"], (SEQUENCES, LENGTH)).astype(np.int32)
    logits, nll, loss, grads = run(directory, weights, tokens, torch.float64)
    logits32, _, _, grads32 = run(directory, weights, tokens, torch.float32)
    rng = np.random.default_rng(SEED + 2)
    tensors = {"tokens": tokens, "logits": f32(logits), "token_nll": f32(nll), "loss": f32(loss.reshape(1))}
    for linear, grad in grads.items():
        flat = grad.reshape(-1)
        largest = flat.abs().topk(SAMPLED // 2).indices.numpy()
        rest = np.setdiff1d(np.arange(flat.numel()), largest)
        index = np.sort(np.concatenate([largest, rng.choice(rest, SAMPLED // 2, replace=False)])).astype(np.int32)
        tensors[f"grad_norm.{linear}"] = f32(grad.norm().reshape(1))
        tensors[f"grad_index.{linear}"] = index
        tensors[f"grad_value.{linear}"] = f32(flat[torch.from_numpy(index).long()])
    logit_error = float((logits32 - logits).abs().max())
    grad_error = max(float((grads32[n] - g).norm() / g.norm()) for n, g in grads.items())
    save(directory / "golden.safetensors", tensors, {
        "generator": "tools/golden/families_golden.py", "transformers": transformers.__version__,
        "torch": torch.__version__, "numpy": np.__version__, "python": platform.python_version(), "seed": SEED,
        "computed_in": "float64 with eager attention, stored as float32", "loss": f"{float(loss):.17g}",
        "float32_logit_error": f"{logit_error:.3g}",
        "float32_gradient_error": f"{grad_error:.3g} (largest relative error of a matrix, Frobenius)",
    })
    print(f"{name}: loss {float(loss):.4f}, logits to {float(logits.abs().max()):.2f}, float32 errors "
          f"{logit_error:.2g} {grad_error:.2g}, {sum(f.stat().st_size for f in directory.iterdir()):,} bytes")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=FAMILIES)
    only = parser.parse_args().only
    torch.use_deterministic_algorithms(True)
    for name in [only] if only else FAMILIES:
        golden(name)


if __name__ == "__main__":
    main()
