# SPDX-License-Identifier: Apache-2.0
"""safetensors files with numpy alone: mapped reading, streamed writing, bf16 as raw uint16 with conversions.

Written for the scripts in this folder and independent of the C++ code, so that each checks the other.
Format: https://github.com/huggingface/safetensors#format
"""
import json
import pathlib

import numpy as np

# BF16 has no numpy type: its bits travel as uint16 and the name keeps them apart from U16.
NUMPY_TYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1",
    "U8": "u1", "BOOL": "u1",
}


def bf16_to_f32(bits):
    """uint16 bits of bf16 -> f32, exact."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def f32_to_bf16(values):
    """Finite f32 -> uint16 bits of bf16, to nearest, ties to even."""
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def round_to(values, dtype):
    """f32 values as they read back after being stored as `dtype` (F32, F16 or BF16)."""
    if dtype == "BF16":
        return bf16_to_f32(f32_to_bf16(values))
    return values.astype(NUMPY_TYPES[dtype]).astype(np.float32)


class SafetensorsFile:
    """One mapped file. `tensors[name]` is (dtype, shape); raw() gives a view, floats() an f32 copy."""

    def __init__(self, path):
        self.path = pathlib.Path(path)
        self._data = np.memmap(self.path, dtype=np.uint8, mode="r")
        length = int(self._data[:8].view("<u8")[0])
        header = json.loads(bytes(self._data[8:8 + length]))
        self.metadata = header.pop("__metadata__", {})
        self._begin = 8 + length
        self._offsets = {name: entry["data_offsets"] for name, entry in header.items()}
        self.tensors = {name: (entry["dtype"], tuple(entry["shape"])) for name, entry in header.items()}

    def raw(self, name):
        dtype, shape = self.tensors[name]
        begin, end = self._offsets[name]
        kind = np.dtype(NUMPY_TYPES[dtype])
        if end - begin != kind.itemsize * int(np.prod(shape, dtype=np.int64)):
            raise ValueError(f"{self.path}: {name}: {end - begin} bytes do not fit {dtype} {shape}")
        # A copy of the bytes, because data need not be aligned in the file.
        return self._data[self._begin + begin:self._begin + end].copy().view(kind).reshape(shape)

    def floats(self, name):
        raw = self.raw(name)
        return bf16_to_f32(raw) if self.tensors[name][0] == "BF16" else raw.astype(np.float32)


class Checkpoint:
    """All tensors of a directory: model.safetensors, or the shards of model.safetensors.index.json."""

    def __init__(self, directory):
        directory = pathlib.Path(directory)
        index = directory / "model.safetensors.index.json"
        names = ["model.safetensors"]
        if index.exists():
            names = sorted(set(json.loads(index.read_text())["weight_map"].values()))
        self.files = [SafetensorsFile(directory / name) for name in names]
        self._owner = {tensor: file for file in self.files for tensor in file.tensors}
        self.metadata = {key: value for file in self.files for key, value in file.metadata.items()}

    def names(self):
        return sorted(self._owner)

    def __contains__(self, name):
        return name in self._owner

    def dtype(self, name):
        return self._owner[name].tensors[name][0]

    def raw(self, name):
        return self._owner[name].raw(name)

    def floats(self, name):
        return self._owner[name].floats(name)


class StreamingWriter:
    """Writes one file whose tensors are known beforehand as (name, dtype, shape) and arrive in that order, in parts."""

    def __init__(self, path, specs, metadata=None):
        header, offset = {}, 0
        if metadata:
            header["__metadata__"] = {key: str(value) for key, value in metadata.items()}
        for name, dtype, shape in specs:
            end = offset + np.dtype(NUMPY_TYPES[dtype]).itemsize * int(np.prod(shape, dtype=np.int64))
            header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, end]}
            offset = end
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-(8 + len(text)) % 64)
        self._expected = 8 + len(text) + offset
        self._file = open(path, "wb")
        self._file.write(len(text).to_bytes(8, "little") + text)

    def write(self, array):
        self._file.write(np.ascontiguousarray(array).data)

    def close(self):
        written = self._file.tell()
        self._file.close()
        if written != self._expected:
            raise RuntimeError(f"{self._file.name}: wrote {written} bytes, the header promises {self._expected}")


def save(path, tensors, metadata=None):
    """Writes a dict of numpy arrays (f8, f4, f2, integers; little-endian) as one file."""
    names = {np.dtype(kind): dtype for dtype, kind in NUMPY_TYPES.items() if dtype not in ("BF16", "BOOL")}
    specs = [(name, names[array.dtype], array.shape) for name, array in tensors.items()]
    writer = StreamingWriter(path, specs, metadata)
    for array in tensors.values():
        writer.write(array)
    writer.close()
