#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Reads a packed checkpoint with numpy, from docs/format.md and not with our C++; compares it with a dense export.

    tools/golden/packed_reader.py PACKED_DIR DENSE_EXPORT_DIR

Every packed layer is decoded to f32, rounded to the dtype of the export's `<linear>.weight` and must equal it; every
other tensor must be equal as it is. Prints one line per difference and exits 1 if there is any.
"""
import json
import pathlib
import sys

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from safetensors_file import Checkpoint, round_to  # noqa: E402

TILE_ROWS, TILE_COLS = 16, 4
PARTS = ("codes", "bits", "scales", "zeros", "row_perm", "col_perm")


def unpack_fields(stream, bits, count):
    """`count` fields of `bits` bits each from uint8 bytes, least significant bit first."""
    return np.unpackbits(stream, bitorder="little")[:bits * count].reshape(count, bits) @ (1 << np.arange(bits))


def round_up(value, unit):
    return -(-value // unit) * unit


class Stream:
    """Takes bytes from the front; nothing may be missing and nothing may be left."""

    def __init__(self, name, data):
        self.name, self.data, self.at = name, data.reshape(-1).view(np.uint8), 0

    def take(self, n):
        if self.at + n > len(self.data):
            raise ValueError(f"{self.name}: {len(self.data)} bytes, more than {self.at} + {n} expected")
        self.at += n
        return self.data[self.at - n:self.at]

    def end(self):
        if self.at != len(self.data):
            raise ValueError(f"{self.name}: {len(self.data)} bytes, expected {self.at}")


def decode_block(bits, codes, scales, zeros, rows, cols, group_size):
    """f32 [rows, cols] of one block; advances the three streams. rows and cols are those that really exist."""
    strips, tiles = round_up(rows, TILE_ROWS) // TILE_ROWS, round_up(cols, TILE_COLS) // TILE_COLS
    groups = round_up(cols, group_size) // group_size
    zero_bits, zero_unit = (8, 1.0) if bits == 8 else (bits + 1, 0.5)

    code = unpack_fields(codes.take(strips * tiles * 8 * bits), bits, strips * tiles * TILE_ROWS * TILE_COLS)
    code = code.reshape(strips, tiles, TILE_ROWS, TILE_COLS).transpose(0, 2, 1, 3)
    code = code.reshape(strips * TILE_ROWS, tiles * TILE_COLS)[:rows, :cols]

    field = scales.take(strips * groups * TILE_ROWS).reshape(strips, groups, TILE_ROWS).astype(np.int64)
    scale = np.where(field == 0, 0.0, (8 + field % 8) / 8 * 2.0 ** (field // 8 - 22))
    zero = unpack_fields(zeros.take(strips * groups * 2 * zero_bits), zero_bits, strips * groups * TILE_ROWS)
    zero = zero.reshape(strips, groups, TILE_ROWS)
    # [strips, groups, 16] -> one value per row and column of the block
    scale, zero = (np.repeat(x.transpose(0, 2, 1).reshape(-1, groups)[:rows], group_size, axis=1)[:, :cols]
                   for x in (scale, zero))
    # f64 holds the product exactly; f32 does too, which the cast would otherwise hide.
    exact = scale * (code - zero * zero_unit)
    if not np.array_equal(exact.astype(np.float32), exact):
        raise ValueError("a decoded weight is not an f32")
    return exact.astype(np.float32)


def decode_layer(checkpoint, linear, shape, block, group_size, cols_of=None):
    """f32 [out_features, in_features] of `<linear>.codes` and its companions, in the order of the dense matrix.
    `cols_of`: the layer that stores the order of its columns, where that is another."""
    out_features, in_features = shape
    widths = checkpoint.raw(linear + ".bits")
    grid = (round_up(out_features, block[0]) // block[0], round_up(in_features, block[1]) // block[1])
    if widths.shape != grid or widths.min() < 1 or widths.max() > 8:
        raise ValueError(f"{linear}.bits: shape {widths.shape}, values {widths.min()}..{widths.max()}; "
                         f"expected {grid}, 1..8")
    streams = [Stream(f"{linear}.{part}", checkpoint.raw(f"{linear}.{part}")) for part in ("codes", "scales", "zeros")]
    weight = np.empty(shape, np.float32)
    for i in range(grid[0]):
        for j in range(grid[1]):
            top, left = i * block[0], j * block[1]
            rows, cols = min(block[0], out_features - top), min(block[1], in_features - left)
            weight[top:top + rows, left:left + cols] = decode_block(int(widths[i, j]), *streams, rows, cols, group_size)
    for stream in streams:
        stream.end()
    for axis, name in enumerate((linear + ".row_perm", (cols_of or linear) + ".col_perm")):  # perm[new] = old
        if name in checkpoint:
            perm = checkpoint.raw(name)
            if perm.dtype != (np.int16 if shape[axis] <= 32768 else np.int32):
                raise ValueError(f"{name}: {perm.dtype} for {shape[axis]} entries")
            if not np.array_equal(np.sort(perm), np.arange(shape[axis])):
                raise ValueError(f"{name}: not a permutation of {shape[axis]}")
            weight = weight.take(np.argsort(perm), axis=axis)
    return weight


def col_owner(linear, linears):
    """The layer that stores the order of columns of `linear` in a tied checkpoint."""
    for tied in (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj")):
        prefix, _, proj = linear.rpartition(".")
        if proj in tied:
            return next(f"{prefix}.{p}" for p in tied if f"{prefix}.{p}" in linears)
    return linear


def linear_shape(config, linear):
    """[out_features, in_features] from the sizes in config.json."""
    d, ff, heads = config["hidden_size"], config["intermediate_size"], config["num_attention_heads"]
    head_dim = config.get("head_dim") or d // heads
    q, kv = heads * head_dim, (config.get("num_key_value_heads") or heads) * head_dim
    return {"q_proj": (q, d), "k_proj": (kv, d), "v_proj": (kv, d), "o_proj": (d, q), "gate_proj": (ff, d),
            "up_proj": (ff, d), "down_proj": (d, ff), "lm_head": (config["vocab_size"], d),
            "embed_tokens": (config["vocab_size"], d)}[linear.split(".")[-1]]


def compare(got, expected):
    """None, or where two f32 arrays of one shape differ first."""
    if got.shape != expected.shape:
        return f"shape {got.shape}, the export has {expected.shape}"
    different = np.argwhere(~(got == expected))  # also NaN
    if len(different) == 0:
        return None
    at = tuple(different[0].tolist())
    return f"{len(different)} of {got.size} differ, first at {list(at)}: {got[at]!r}, the export has {expected[at]!r}"


def differences(packed_dir, dense_dir):
    """Yields (tensor, what differs or None) for every tensor of the packed checkpoint."""
    packed, dense = Checkpoint(packed_dir), Checkpoint(dense_dir)
    config = json.loads((pathlib.Path(packed_dir) / "config.json").read_text())
    quantization = config["quantization_config"]
    if quantization["quant_method"] != "scalebits":
        raise ValueError(f"quant_method is {quantization['quant_method']!r}, expected scalebits")
    linears = [name[:-len(".codes")] for name in packed.names() if name.endswith(".codes")]
    if not linears:
        raise ValueError(f"{packed_dir}: no packed layer")
    companions = {f"{linear}.{part}" for linear in linears for part in PARTS}
    for linear in linears:
        name = linear + ".weight"
        if name not in dense:
            yield name, "missing in the export"
            continue
        weight = decode_layer(packed, linear, linear_shape(config, linear), quantization["block"],
                              quantization["group_size"],
                              col_owner(linear, linears) if quantization["tie"] == "fused" else None)
        yield name, compare(round_to(weight, dense.dtype(name)), dense.floats(name))
    for name in packed.names():
        if name not in companions:
            missing = "missing in the export" if name not in dense else None
            yield name, missing or compare(round_to(packed.floats(name), dense.dtype(name)), dense.floats(name))
    for name in dense.names():
        if name not in packed and name[:-len(".weight")] not in linears:
            yield name, "only in the export"


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    results = list(differences(*sys.argv[1:]))
    bad = [(name, what) for name, what in results if what]
    for name, what in bad:
        print(f"{name}: {what}")
    print(f"{len(results) - len(bad)} of {len(results)} tensors equal")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
