#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes tests/model/golden/moe/: tiny random mixtures of experts, with logits, losses and gradients of Hugging Face
transformers.

    python3 tools/golden/moe_golden.py     (needs torch, transformers and numpy)

Eager attention and experts in float64 (transformers keeps norms, softmax, routing and rotary angles in float32 all the
same). The seed is one for which no token is near a tie between the last expert that it goes to and the next. Golden
files change only by their script, in a commit of their own.
"""
import json
import pathlib
import platform
import re
import sys

import numpy as np
import torch
import transformers
from transformers import AutoModelForCausalLM

sys.dont_write_bytecode = True
ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))
from safetensors_file import StreamingWriter, bf16_to_f32, f32_to_bf16, save  # noqa: E402

OUT = ROOT / "tests/model/golden/moe"
SEED = 20261129
SEQUENCES, LENGTH = 2, 24
SAMPLED = 32  # gradient entries kept per matrix: half of them the largest, half drawn at random
LEAST_MARGIN = 2e-3  # between the router logits of the last expert that is chosen and the next

SIZES = {
    "hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16,
    "vocab_size": 96, "max_position_embeddings": 64, "rms_norm_eps": 0.01, "rope_theta": 500.0, "bos_token_id": 0,
    "eos_token_id": 1, "torch_dtype": "float32", "tie_word_embeddings": False, "hidden_act": "silu",
}
MODELS = {
    "mixtral": ("MixtralForCausalLM", "mixtral",
                {"intermediate_size": 24, "num_local_experts": 8, "num_experts_per_tok": 2, "sliding_window": None}),
    # Layer 0 is dense; the weights of a token's experts do not add up to 1.
    "qwen3_moe": ("Qwen3MoeForCausalLM", "qwen3_moe",
                  {"intermediate_size": 64, "moe_intermediate_size": 32, "num_experts": 8, "num_experts_per_tok": 3,
                   "norm_topk_prob": False, "decoder_sparse_step": 1, "mlp_only_layers": [0]}),
}


def shapes(name):
    """Tensor name -> shape, as released checkpoints of the model have them."""
    _, _, c = MODELS[name]
    d, heads, kv, head = (SIZES[k] for k in ("hidden_size", "num_attention_heads", "num_key_value_heads", "head_dim"))
    result = {"model.embed_tokens.weight": (SIZES["vocab_size"], d)}
    for layer in range(SIZES["num_hidden_layers"]):
        prefix = f"model.layers.{layer}."
        result[prefix + "input_layernorm.weight"] = (d,)
        for linear, shape in (("q_proj", (heads * head, d)), ("k_proj", (kv * head, d)), ("v_proj", (kv * head, d)),
                              ("o_proj", (d, heads * head))):
            result[f"{prefix}self_attn.{linear}.weight"] = shape
        if name == "qwen3_moe":
            result[prefix + "self_attn.q_norm.weight"] = result[prefix + "self_attn.k_norm.weight"] = (head,)
        result[prefix + "post_attention_layernorm.weight"] = (d,)
        if layer in c.get("mlp_only_layers", []):
            width = c["intermediate_size"]
            result.update({f"{prefix}mlp.gate_proj.weight": (width, d), f"{prefix}mlp.up_proj.weight": (width, d),
                           f"{prefix}mlp.down_proj.weight": (d, width)})
            continue
        block, gate, up, down = (("block_sparse_moe", "w1", "w3", "w2") if name == "mixtral" else
                                 ("mlp", "gate_proj", "up_proj", "down_proj"))
        width = c.get("moe_intermediate_size", c["intermediate_size"])
        experts = c.get("num_local_experts") or c["num_experts"]
        result[f"{prefix}{block}.gate.weight"] = (experts, d)
        for expert in range(experts):
            e = f"{prefix}{block}.experts.{expert}."
            result.update({f"{e}{gate}.weight": (width, d), f"{e}{up}.weight": (width, d),
                           f"{e}{down}.weight": (d, width)})
    return {**result, "model.norm.weight": (d,), "lm_head.weight": (SIZES["vocab_size"], d)}


def random_weight(name, shape, rng):
    if "norm" in name:
        values = rng.uniform(0.3, 1.7, shape)
    elif name == "model.embed_tokens.weight":
        values = rng.normal(0, 0.3, shape)
    else:
        values = rng.normal(0, 1.5 / np.sqrt(shape[-1]), shape)
    return bf16_to_f32(f32_to_bf16(values.astype(np.float32)))


def write_checkpoint(name, directory):
    directory.mkdir(parents=True, exist_ok=True)
    architecture, model_type, changes = MODELS[name]
    config = {"architectures": [architecture], "model_type": model_type, **SIZES, **changes}
    (directory / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    rng = np.random.default_rng(SEED)
    weights = {key: random_weight(key, shape, rng) for key, shape in shapes(name).items()}
    writer = StreamingWriter(directory / "model.safetensors", [(k, "BF16", v.shape) for k, v in weights.items()],
                             {"format": "pt"})
    for value in weights.values():
        writer.write(f32_to_bf16(value))
    writer.close()


def fused_part(model, name):
    """The parameter that holds a stored tensor, and which part of it: transformers fuses the experts of a layer."""
    parameters = dict(model.named_parameters())
    match = re.fullmatch(r"(model\.layers\.\d+)\.(?:block_sparse_moe|mlp)\.experts\.(\d+)\.(\w+)\.weight", name)
    if not match:
        return parameters[name], slice(None)
    layer, expert, linear = match.groups()
    if linear in ("w2", "down_proj"):
        return parameters[f"{layer}.mlp.experts.down_proj"], int(expert)
    both = parameters[f"{layer}.mlp.experts.gate_up_proj"]
    half = both.shape[1] // 2
    return both, (int(expert), slice(0, half) if linear in ("w1", "gate_proj") else slice(half, None))


def run(directory, tokens, dtype, names):
    """logits [B, T, V], token losses, mean loss, its gradient for every linear layer, least margin of the routers."""
    model = AutoModelForCausalLM.from_pretrained(directory, attn_implementation="eager", dtype=dtype,
                                                 experts_implementation="eager").eval()
    margins = []

    def watch(module, _, output):
        top = torch.topk(output[0].detach().double(), module.top_k + 1, dim=-1).values
        margins.append(float((top[:, -2] - top[:, -1]).min()))

    for path, module in model.named_modules():
        if type(module).__name__.endswith("TopKRouter"):
            module.register_forward_hook(watch)
    ids = torch.as_tensor(tokens, dtype=torch.int64)
    logits = model(ids, use_cache=False).logits
    rows = logits[:, :-1].double()
    nll = torch.logsumexp(rows, -1) - rows.gather(-1, ids[:, 1:, None])[..., 0]
    loss = nll.mean()
    loss.backward()
    grads = {}
    for name in names:
        parameter, part = fused_part(model, name + ".weight")
        grads[name] = parameter.grad[part].double()
    return logits.detach().double(), nll.detach(), loss.detach(), grads, min(margins)


def f32(tensor):
    return np.ascontiguousarray(tensor.numpy(), dtype=np.float32)


def golden(name):
    directory = OUT / name
    write_checkpoint(name, directory)
    tokens = np.random.default_rng(SEED + 1).integers(0, SIZES["vocab_size"], (SEQUENCES, LENGTH)).astype(np.int32)
    linears = [n[:-len(".weight")] for n in shapes(name) if re.search(r"(proj|\.w\d)\.weight$", n)]
    logits, nll, loss, grads, margin = run(directory, tokens, torch.float64, linears)
    assert margin > LEAST_MARGIN, f"{name}: a router is within {margin:.2g} of a tie; choose another seed"
    logits32, _, _, grads32, _ = run(directory, tokens, torch.float32, linears)
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
    # An expert that no token goes to has no gradient to err by.
    grad_error = max(float((grads32[n] - g).norm() / g.norm()) for n, g in grads.items() if float(g.norm()) > 0)
    logit_error = float((logits32 - logits).abs().max())
    save(directory / "golden.safetensors", tensors, {
        "generator": "tools/golden/moe_golden.py", "transformers": transformers.__version__,
        "torch": torch.__version__, "numpy": np.__version__, "python": platform.python_version(), "seed": SEED,
        "computed_in": "float64 with eager attention and experts, stored as float32", "loss": f"{float(loss):.17g}",
        "router_margin": f"{margin:.3g} (least difference of the logits of the last expert chosen and the next)",
        "float32_logit_error": f"{logit_error:.3g}",
        "float32_gradient_error": f"{grad_error:.3g} (largest relative error of a matrix, Frobenius)",
    })
    print(f"{name}: loss {float(loss):.4f}, logits to {float(logits.abs().max()):.2f}, margin {margin:.2g}, float32 "
          f"errors {logit_error:.2g} {grad_error:.2g}, {sum(f.stat().st_size for f in directory.iterdir()):,} bytes")


if __name__ == "__main__":
    torch.use_deterministic_algorithms(True)
    for model_name in MODELS:
        golden(model_name)
