#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Tests packed_reader.py on checkpoints written field by field by a slow encoder, and proves that it can fail."""
import json
import pathlib
import sys
import tempfile
import unittest
import unittest.mock

import numpy as np

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import packed_reader  # noqa: E402
from safetensors_file import round_to, save  # noqa: E402

CONFIG = {"hidden_size": 37, "intermediate_size": 50, "num_attention_heads": 3, "num_key_value_heads": 1, "head_dim": 6,
          "vocab_size": 11, "quantization_config": {"quant_method": "scalebits", "block": [32, 16], "group_size": 8,
                                                "tie": "none"}}
SHAPES = {"q_proj": (18, 37), "k_proj": (6, 37), "o_proj": (37, 18), "down_proj": (37, 50), "gate_proj": (50, 37)}


class BitWriter:
    """One integer whose bits are the stream."""

    def __init__(self):
        self.value, self.length = 0, 0

    def put(self, field, bits):
        assert 0 <= field < 1 << bits
        self.value |= field << self.length
        self.length += bits

    def array(self):
        assert self.length % 8 == 0
        return np.frombuffer(self.value.to_bytes(self.length // 8, "little"), np.uint8).copy()


def random_layer(rng, shape, block, group):
    """Four streams and the dense matrix that they mean, one code after the other."""
    dense = np.zeros(shape, np.float32)
    codes, zeros, scales, widths = BitWriter(), BitWriter(), [], []
    for top in range(0, shape[0], block[0]):
        widths.append([])
        for left in range(0, shape[1], block[1]):
            b = int(rng.integers(1, 9))
            widths[-1].append(b)
            bottom, right = min(top + block[0], shape[0]), min(left + block[1], shape[1])
            params = {}
            for strip in range(top, bottom, 16):
                for g, _ in enumerate(range(left, right, group)):
                    for row in range(strip, strip + 16):
                        real = row < bottom
                        field = int(rng.integers(100, 200)) if real else 0
                        scale = (1 + field % 8 / 8) * 2.0 ** (field // 8 - 22) if real else 0.0
                        zero = int(rng.integers(0, 2 ** (b + 1) if b < 8 else 256)) if real else 0
                        zeros.put(zero, b + 1 if b < 8 else 8)
                        scales.append(field)
                        params[row, g] = scale, zero / 2 if b < 8 else zero
                for tile in range(left, right, 4):
                    for row in range(strip, strip + 16):
                        for col in range(tile, tile + 4):
                            code = int(rng.integers(0, 2 ** b))
                            codes.put(code, b)
                            if row < bottom and col < right:
                                scale, zero_point = params[row, (col - left) // group]
                                dense[row, col] = scale * (code - zero_point)
    return {"codes": codes.array(), "bits": np.array(widths, np.uint8), "scales": np.array(scales, np.uint8),
            "zeros": zeros.array()}, dense


class PackedReader(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.packed, self.dense = (pathlib.Path(folder.name) / name for name in ("packed", "dense"))
        rng = np.random.default_rng(5)
        self.packed_tensors = {"model.norm.weight": np.ones(37, np.float32)}
        self.dense_tensors = dict(self.packed_tensors)
        for name, shape in SHAPES.items():
            linear = f"model.layers.0.x.{name}"
            quantization = CONFIG["quantization_config"]
            parts, weight = random_layer(rng, shape, quantization["block"], quantization["group_size"])
            if name == "o_proj":
                parts["row_perm"] = rng.permutation(shape[0]).astype(np.int16)
                parts["col_perm"] = rng.permutation(shape[1]).astype(np.int16)
                stored, weight = weight, np.empty_like(weight)
                for new_row, old_row in enumerate(parts["row_perm"]):
                    for new_col, old_col in enumerate(parts["col_perm"]):
                        weight[old_row, old_col] = stored[new_row, new_col]
            self.packed_tensors.update({f"{linear}.{part}": array for part, array in parts.items()})
            self.dense_tensors[linear + ".weight"] = weight

    def differences(self):
        for folder, tensors in ((self.packed, self.packed_tensors), (self.dense, self.dense_tensors)):
            folder.mkdir(exist_ok=True)
            (folder / "config.json").write_text(json.dumps(CONFIG))
            save(folder / "model.safetensors", tensors)
        return [(name, what) for name, what in packed_reader.differences(self.packed, self.dense) if what]

    def test_equal_checkpoints_have_no_difference(self):
        self.assertEqual(self.differences(), [])

    def test_export_rounded_to_f16_is_equal(self):
        self.dense_tensors = {name: array.astype(np.float16) for name, array in self.dense_tensors.items()}
        self.assertEqual(self.differences(), [])

    def test_bf16_rounds_to_nearest_even(self):
        # 1 + 2^-8 lies between two bf16 values and goes to the even one, 1; 1 + 3 * 2^-8 goes up.
        values = np.array([1 + 2**-8, 1 + 3 * 2**-8], np.float32)
        self.assertEqual(round_to(values, "BF16").tolist(), [1.0, 1 + 4 * 2**-8])

    def test_every_flipped_part_is_noticed(self):
        for name in list(self.packed_tensors):
            original = self.packed_tensors[name]
            if name.endswith((".bits", "_perm")):
                continue
            changed = original.copy()
            changed.reshape(-1).view(np.uint8)[0] ^= 1  # row 0 is real and its first scale is not 0
            self.packed_tensors[name] = changed
            with self.subTest(name):
                self.assertEqual(len(self.differences()), 1)
            self.packed_tensors[name] = original

    def test_swapped_permutation_entries_are_noticed(self):
        perm = self.packed_tensors["model.layers.0.x.o_proj.col_perm"]
        perm[[0, 1]] = perm[[1, 0]]
        self.assertEqual(len(self.differences()), 1)

    def test_tied_layers_have_the_columns_of_the_first(self):
        order = np.random.default_rng(6).permutation(37)
        for name in ("q_proj", "k_proj"):
            stored = self.dense_tensors[f"model.layers.0.x.{name}.weight"]
            weight = np.empty_like(stored)
            weight[:, order] = stored
            self.dense_tensors[f"model.layers.0.x.{name}.weight"] = weight
        self.packed_tensors["model.layers.0.x.q_proj.col_perm"] = order.astype(np.int16)
        self.assertEqual([name for name, _ in self.differences()], ["model.layers.0.x.k_proj.weight"])
        with unittest.mock.patch.dict(CONFIG["quantization_config"], {"tie": "fused"}):
            self.assertEqual(self.differences(), [])

    def test_wrong_width_or_length_is_an_error(self):
        for part, change in (("bits", lambda x: x % 8 + 1), ("codes", lambda x: x[:-1]), ("scales", lambda x: x[:-1]),
                             ("zeros", lambda x: np.append(x, np.uint8(0)))):
            name = f"model.layers.0.x.down_proj.{part}"
            original = self.packed_tensors[name]
            self.packed_tensors[name] = change(original)
            with self.subTest(part), self.assertRaises(ValueError):
                self.differences()
            self.packed_tensors[name] = original


if __name__ == "__main__":
    unittest.main()
