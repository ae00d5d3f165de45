# SPDX-License-Identifier: Apache-2.0
"""The Llama-family decoder written a second time, from its equations, in PyTorch: what our C++ is checked against.

Shares no code with scalebits and none with the transformers library. Every operation runs in the dtype given at
loading: float32 as our C++ does, or float64 for golden values whose own rounding can be neglected.
"""
import json
import math
import pathlib
import sys

import torch

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from safetensors_file import Checkpoint  # noqa: E402

LINEARS = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj",
           "mlp.up_proj", "mlp.down_proj")


def inverse_frequencies(config, head_dim):
    """[head_dim / 2] radians per position, in float64, stretched as rope_scaling asks."""
    theta = float(config.get("rope_theta", 10000.0))
    frequencies = [theta ** (-2.0 * i / head_dim) for i in range(head_dim // 2)]
    scaling = config.get("rope_scaling") or {}
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    if kind == "default":
        return frequencies
    factor = float(scaling["factor"])
    if kind == "linear":
        return [f / factor for f in frequencies]
    if kind != "llama3":
        raise ValueError(f"rope type {kind!r} is not known; known: default, linear, llama3")
    # Llama 3.1: wavelengths longer than context/low are stretched by the factor, those shorter than context/high are
    # kept, and between the two the frequency is interpolated linearly in (context / wavelength).
    low, high = float(scaling["low_freq_factor"]), float(scaling["high_freq_factor"])
    context = float(scaling["original_max_position_embeddings"])
    stretched = []
    for f in frequencies:
        turns = context * f / (2.0 * math.pi)  # how often this pair turns within the original context
        share = min(1.0, max(0.0, (turns - low) / (high - low)))
        stretched.append(share * f + (1.0 - share) * f / factor)
    return stretched


class ReferenceModel:
    """Weights of a checkpoint directory as leaf tensors; logits(tokens) is differentiable."""

    def __init__(self, directory, dtype=torch.float64):
        directory = pathlib.Path(directory)
        config = json.loads((directory / "config.json").read_text())
        if config.get("hidden_act", "silu") != "silu":
            raise ValueError(f"hidden_act {config['hidden_act']!r}: only silu is known")
        self.config, self.dtype = config, dtype
        self.d_model, self.n_heads = config["hidden_size"], config["num_attention_heads"]
        self.n_kv_heads = config.get("num_key_value_heads") or self.n_heads
        self.head_dim = config.get("head_dim") or self.d_model // self.n_heads
        self.n_layers = config["num_hidden_layers"]
        checkpoint = Checkpoint(directory)
        self.weights = {name: torch.from_numpy(checkpoint.floats(name)).to(dtype) for name in checkpoint.names()}
        if not config.get("tie_word_embeddings", False) and "lm_head.weight" not in self.weights:
            raise ValueError("lm_head.weight is missing and tie_word_embeddings is false")

    def linear_names(self):
        """The projections in model order, without `.weight`."""
        return [f"model.layers.{layer}.{linear}" for layer in range(self.n_layers) for linear in LINEARS]

    def _linear(self, x, name):
        y = x @ self.weights[name + ".weight"].T
        bias = self.weights.get(name + ".bias")
        return y if bias is None else y + bias

    def _norm(self, x, name):
        mean_square = (x * x).sum(-1, keepdim=True) / x.shape[-1]
        return x / torch.sqrt(mean_square + self.config["rms_norm_eps"]) * self.weights[name + ".weight"]

    def _rotate(self, x):
        """Turns pair (i, i + head_dim/2) of x [B, T, heads, head_dim] by position * frequency_i."""
        frequencies = torch.tensor(inverse_frequencies(self.config, self.head_dim), dtype=torch.float64)
        angles = torch.arange(x.shape[1], dtype=torch.float64)[:, None] * frequencies[None, :]
        cos, sin = (f(angles).to(self.dtype)[None, :, None, :] for f in (torch.cos, torch.sin))
        first, second = x[..., :self.head_dim // 2], x[..., self.head_dim // 2:]
        return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)

    def _attention(self, x, prefix):
        batch, time, _ = x.shape
        q = self._rotate(self._linear(x, prefix + "q_proj").reshape(batch, time, self.n_heads, self.head_dim))
        k = self._rotate(self._linear(x, prefix + "k_proj").reshape(batch, time, self.n_kv_heads, self.head_dim))
        v = self._linear(x, prefix + "v_proj").reshape(batch, time, self.n_kv_heads, self.head_dim)
        future = torch.ones(time, time, dtype=torch.bool).triu(1)
        outputs = []
        for head in range(self.n_heads):
            kv_head = head // (self.n_heads // self.n_kv_heads)
            scores = q[:, :, head] @ k[:, :, kv_head].transpose(1, 2) / math.sqrt(self.head_dim)
            scores = scores.masked_fill(future, -math.inf)
            outputs.append(torch.softmax(scores, dim=-1) @ v[:, :, kv_head])
        return self._linear(torch.cat(outputs, dim=-1), prefix + "o_proj")

    def _mlp(self, x, prefix):
        gate = self._linear(x, prefix + "gate_proj")
        return self._linear(gate * torch.sigmoid(gate) * self._linear(x, prefix + "up_proj"), prefix + "down_proj")

    def logits(self, tokens):
        """tokens [B, T] (integers) -> logits [B, T, V]."""
        x = self.weights["model.embed_tokens.weight"][torch.as_tensor(tokens, dtype=torch.int64)]
        for layer in range(self.n_layers):
            prefix = f"model.layers.{layer}."
            x = x + self._attention(self._norm(x, prefix + "input_layernorm"), prefix + "self_attn.")
            x = x + self._mlp(self._norm(x, prefix + "post_attention_layernorm"), prefix + "mlp.")
        x = self._norm(x, "model.norm")
        head = "model.embed_tokens" if self.config.get("tie_word_embeddings", False) else "lm_head"
        return x @ self.weights[head + ".weight"].T

    def gradients(self, tokens, names):
        """logits [B, T, V], mean_nll and its gradient {name: [out, in]} for the named linear layers."""
        leaves = [self.weights[name + ".weight"].requires_grad_() for name in names]
        logits = self.logits(tokens)
        loss = mean_nll(logits, tokens)
        grads = torch.autograd.grad(loss, leaves)
        for leaf in leaves:
            leaf.requires_grad_(False)
        return logits.detach(), loss.detach(), dict(zip(names, grads))


def token_nll(logits, tokens):
    """-log p(tokens[b, t + 1] | tokens[b, ..t]), nats, [B, T - 1]."""
    tokens = torch.as_tensor(tokens, dtype=torch.int64)
    rows = logits[:, :-1]
    return torch.logsumexp(rows, -1) - rows.gather(-1, tokens[:, 1:, None])[..., 0]


def mean_nll(logits, tokens):
    """Mean of token_nll over all B * (T - 1) predictions."""
    return token_nll(logits, tokens).mean()
