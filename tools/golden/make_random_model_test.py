#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Tests packed models of tools/make_random_model with packed_reader.py, which knows nothing of how they are made."""
import json
import math
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

import numpy as np

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from packed_reader import decode_layer, linear_shape, unpack_fields  # noqa: E402
from random_packed import Layout, RandomPacked, unit_std, xxh3  # noqa: E402
from safetensors_file import Checkpoint  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]
# The code nearest to the middle of 0..2^bits - 1, ties to even.
MIDDLE = {1: 0, 2: 2, 3: 4, 4: 8, 5: 16, 6: 32, 7: 64, 8: 128}
VOCAB = 4101  # 5 rows more than whole blocks
LAYERS = 3


def make(directory, *arguments):
    subprocess.run([ROOT / "tools/make_random_model", "-o", directory, *map(str, arguments)], check=True,
                   stdout=subprocess.DEVNULL)
    return Checkpoint(directory), json.loads((directory / "config.json").read_text())


class PackedModel(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.folder = pathlib.Path(folder.name)
        # Neither 346 nor VOCAB is a multiple of blocks, strips or tiles.
        cls.arguments = ("--d-model", 256, "--layers", LAYERS, "--d-ff", 346, "--vocab", VOCAB, "--no-tied", "--bits",
                         2.25, "--head-bits", 6, "--embed-bits", 8, "--shard-gb", 0.001)
        cls.model, cls.config = make(cls.folder / "model", *cls.arguments)
        cls.linears = [name[:-len(".codes")] for name in cls.model.names() if name.endswith(".codes")]

    def test_every_matrix_is_packed_and_norms_are_not(self):
        self.assertEqual(len(self.linears), 7 * LAYERS + 2)
        dense = [name for name in self.model.names() if name.rpartition(".")[0] not in self.linears]
        self.assertEqual(len(dense), 2 * LAYERS + 1)
        self.assertTrue(all(name.endswith("norm.weight") for name in dense))

    def test_decoded_weights_have_the_standard_deviation_of_dense_ones(self):
        residual = math.sqrt(2 * LAYERS)
        for linear in self.linears:
            shape = linear_shape(self.config, linear)
            expected = 1 / math.sqrt(shape[1])
            if linear.endswith(("o_proj", "down_proj")):
                expected /= residual
            elif linear.endswith("embed_tokens"):
                expected = 0.02
            weight = decode_layer(self.model, linear, shape, [32, 128], 128)
            # Variance of the square over its squared mean: 0.8 for uniform weights, less for few codes; 0.014 at most
            # for a scale drawn from 1 and 9/8. The root varies by half of that. Five standard deviations: 4 % for the
            # least matrix and 0.4 % for the largest, while always the lower scale would be 3 % to 6 % off.
            n, n_scales = math.prod(shape), shape[0] * -(-shape[1] // 128)
            delta = 5 * math.sqrt(0.8 / n + 0.014 / n_scales) / 2
            with self.subTest(linear):
                self.assertAlmostEqual(np.sqrt((weight.astype(np.float64) ** 2).mean()) / expected, 1, delta=delta)
                # The zero of 8 bits is half a step, 1/148 of the deviation, above the middle.
                self.assertLess(abs(weight.mean(dtype=np.float64)), expected * (5 / math.sqrt(n) + 1 / 148))

    def test_widths_are_mixed_in_the_right_share(self):
        widths = np.concatenate([self.model.raw(f"{linear}.bits").ravel() for linear in self.linears
                                 if linear.endswith("_proj")])
        self.assertEqual(set(widths.tolist()), {2, 3})
        # A share of 1/4 of n blocks, five standard deviations.
        self.assertAlmostEqual(widths.mean(), 2.25, delta=5 * math.sqrt(0.25 * 0.75 / len(widths)))
        self.assertEqual(set(self.model.raw("lm_head.bits").ravel().tolist()), {6})
        self.assertEqual(set(self.model.raw("model.embed_tokens.bits").ravel().tolist()), {8})

    def test_config_says_what_the_program_requires(self):
        quantization = self.config["quantization_config"]
        header = (ROOT / "scalebits/io/packed_config.h").read_text()
        self.assertEqual(quantization["version"], int(re.search(r"kPackedVersion = (\d+)", header)[1]))
        reader = (ROOT / "scalebits/io/packed_config.cc").read_text()
        required = set(re.findall(r'(?:required<.*>|one_of)\(q, "(\w+)"', reader))
        self.assertIn("files", required)
        self.assertEqual(set(quantization), required)
        linears = [linear for linear in self.linears if linear.endswith("_proj")]
        stored = sum(self.model.raw(f"{linear}.{part}").nbytes for linear in linears
                     for part in ("codes", "bits", "scales", "zeros"))
        weights = sum(math.prod(linear_shape(self.config, linear)) for linear in linears)
        self.assertAlmostEqual(quantization["bits"], 8 * stored / weights, places=12)

    def test_every_tensor_and_file_has_its_checksum(self):
        for name in self.model.names():
            self.assertEqual(self.model.metadata["xxh3:" + name], xxh3([self.model.raw(name)]), name)
        files = self.config["quantization_config"]["files"]
        self.assertIn("tokenizer.json", files)
        for name, checksum in files.items():
            self.assertEqual(checksum, xxh3([np.fromfile(self.folder / "model" / name, np.uint8)]))
        # From xxHash's own documentation; that pieces do not matter is what streaming relies on.
        self.assertEqual(xxh3([]), "2d06800538d394c2")
        data = np.arange(2000, dtype=np.uint16)
        self.assertEqual(xxh3([data[:7], data[7:]]), xxh3([data]))

    def test_same_arguments_give_the_same_bytes(self):
        make(self.folder / "again", *self.arguments)
        make(self.folder / "other", *self.arguments, "--seed", 1)
        paths = sorted((self.folder / "model").iterdir())
        self.assertGreater(len([path for path in paths if path.suffix == ".safetensors"]), 1)
        for path in paths:
            self.assertEqual(path.read_bytes(), (self.folder / "again" / path.name).read_bytes(), path.name)
        self.assertNotEqual(*((self.folder / x / paths[2].name).read_bytes() for x in ("model", "other")))


class Padding(unittest.TestCase):
    def test_of_rows_is_0_and_of_columns_is_the_rounded_zero(self):
        rows, cols = 18, 38  # of a block of 32 x 40 and two groups
        for bits, middle in MIDDLE.items():
            parts = {tensor.name[2:]: np.concatenate([piece.ravel() for piece in tensor.pieces()])
                     for tensor in RandomPacked("x", (rows, cols), 1.0, bits, Layout(32, 64, 32), 0).tensors()}
            code = unpack_fields(parts["codes"], bits, 32 * 40).reshape(2, 10, 16, 4).transpose(0, 2, 1, 3)
            code = code.reshape(32, 40)
            zero_bits = 8 if bits == 8 else bits + 1
            zeros = unpack_fields(parts["zeros"], zero_bits, 64).reshape(2, 2, 16)
            scales = parts["scales"].reshape(2, 2, 16)
            with self.subTest(bits):
                self.assertEqual(len(parts["codes"]), 32 * 40 * bits // 8)
                self.assertEqual(set(code[:rows, cols:].ravel().tolist()), {middle})
                self.assertEqual(code[:rows, :cols].min(), 0)
                self.assertGreater(code[:rows, :cols].max(), 0.98 * (2 ** bits - 1))
                self.assertFalse(code[rows:].any() or zeros[1, :, 2:].any() or scales[1, :, 2:].any())
                self.assertTrue(scales[0].all() and scales[1, :, :2].all() and zeros[0].all())


class UnitDeviation(unittest.TestCase):
    def test_is_the_root_mean_square_around_the_zero_code_by_code(self):
        for bits in MIDDLE:
            zero = 128 if bits == 8 else (2 ** bits - 1) / 2
            self.assertAlmostEqual(unit_std(bits), np.sqrt(((np.arange(2 ** bits) - zero) ** 2).mean()))


if __name__ == "__main__":
    unittest.main()
