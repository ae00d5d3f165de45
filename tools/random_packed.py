# SPDX-License-Identifier: Apache-2.0
"""Packed matrices of random codes (docs/format.md), made panel by panel, and files with the checksums that they have.

Any bytes are codes, so only padding has to be placed. Weights are uniform, not normal, with the standard deviation that
is asked for: the zero is the middle of the codes, and the scales are drawn from the two storable ones around the exact.
Needs numpy, and libxxhash for the checksums (the program needs it too).
"""
import ctypes
import functools
import json
import math
import zlib
from typing import Callable, NamedTuple

import numpy as np

from safetensors_file import StreamingWriter

TILE_ROWS, TILE_COLS = 16, 4
VERSION = 2  # kPackedVersion of scalebits/io/packed_config.h


class Tensor(NamedTuple):
    """One of a file; pieces() makes it anew, as arrays that follow each other."""
    name: str
    dtype: str
    shape: tuple
    pieces: Callable


class Layout(NamedTuple):
    rows: int
    cols: int
    group_size: int

    def check(self):
        """Raises ValueError for what the program refuses."""
        if self.rows < 1 or self.rows % TILE_ROWS or self.group_size < 1 or self.group_size % TILE_COLS or self.group_size > 16384:
            raise ValueError(f"blocks of {self.rows} rows, groups of {self.group_size}: expected multiples of "
                             f"{TILE_ROWS} and {TILE_COLS}")
        if self.cols < 1 or self.cols % self.group_size:
            raise ValueError(f"blocks of {self.cols} columns: expected a multiple of the group size {self.group_size}")


def generator(seed, name):
    # One for each tensor: its values do not depend on the other tensors or on the number of layers.
    return np.random.Generator(np.random.SFC64([seed, zlib.crc32(name.encode())]))


def round_up(value, unit):
    return -(-value // unit) * unit


def extents(side, step):
    """How many rows or columns each block has."""
    return np.minimum(step, side - np.arange(0, side, step))


def pack_fields(fields, bits):
    """Fields of `bits` bits each as bytes, least significant bit first."""
    return np.packbits((np.asarray(fields).reshape(-1, 1) >> np.arange(bits)) & 1, bitorder="little")


def zero_bits(bits):
    return 8 if bits == 8 else bits + 1


def zero_field(bits):
    """The middle of the codes: of 0..2^bits - 1 in half steps, at 8 bits the upper of the two middle codes."""
    return 128 if bits == 8 else 2 ** bits - 1


def zero_code(bits):
    """The code nearest to that zero point, ties to even."""
    return 128 if bits == 8 else round(zero_field(bits) / 2)


def unit_std(bits):
    """Root mean square of code - zero over all codes."""
    return math.sqrt((4 ** bits - 1) / 12 + (0.25 if bits == 8 else 0))


@functools.lru_cache(None)
def scale_fields(scale):
    """(field, share of field + 1) such that the mean square of the two is that of the scale."""
    exponent = math.floor(math.log2(scale))
    field = 8 * (exponent + 22) + math.floor((scale / 2.0 ** exponent - 1) * 8)
    if not 1 <= field < 255:
        raise ValueError(f"scale {scale}: beyond those that can be stored")
    below, above = ((1 + f % 8 / 8) * 2.0 ** (f // 8 - 22) for f in (field, field + 1))
    return field, (scale ** 2 - below ** 2) / (above ** 2 - below ** 2)


@functools.lru_cache(None)
def tile_masks(bits, rows, cols):
    """(keep, fill) of a tile's bytes: columns beyond `cols` get the zero's code, then rows beyond `rows` get 0."""
    keep, fill = (np.zeros((TILE_ROWS, TILE_COLS), np.int64) for _ in range(2))
    keep[:rows, :cols] = 2 ** bits - 1
    fill[:rows, cols:] = zero_code(bits)
    return pack_fields(keep, bits), pack_fields(fill, bits)


def pad_codes(tiles, bits, rows, cols):
    """Overwrites the padding of one block, [strips, tiles of a strip, bytes]; rows and cols are those that exist."""
    strips, across, _ = tiles.shape
    for part, r, c in ((tiles[:, -1], TILE_ROWS, cols - TILE_COLS * (across - 1)),
                       (tiles[-1], rows - TILE_ROWS * (strips - 1), TILE_COLS)):
        keep, fill = tile_masks(bits, r, c)
        part &= keep
        part |= fill


@functools.lru_cache(None)
def block_zeros(bits, rows, groups):
    """Bytes of a block's zero fields: in every strip one run of 16 for each group."""
    fields = np.zeros(round_up(rows, TILE_ROWS), np.int64)
    fields[:rows] = zero_field(bits)
    strips = fields.reshape(-1, TILE_ROWS)
    return b"".join(pack_fields(strip, zero_bits(bits)).tobytes() * groups for strip in strips)


class RandomPacked:
    """The four tensors of one matrix. A fractional `bits` mixes the two widths beside it, block by block."""

    def __init__(self, linear, shape, std, bits, layout, seed):
        self.linear, self.std, self.seed = linear, std, seed
        self.rows, self.cols = extents(shape[0], layout.rows), extents(shape[1], layout.cols)
        self.groups = round_up(self.cols, layout.group_size) // layout.group_size
        low = math.floor(bits)
        draws = generator(seed, linear + ".bits").random((len(self.rows), len(self.cols)))
        self.widths = (low + (draws < bits - low)).astype(np.uint8)
        rows, cols = round_up(self.rows, TILE_ROWS), round_up(self.cols, TILE_COLS)
        self.code_bytes = np.outer(rows, cols) // 8 * self.widths
        self.scale_bytes = np.outer(rows, self.groups)
        self.zero_bytes = self.scale_bytes // 8 * np.where(self.widths == 8, 8, self.widths + 1)

    def tensors(self):
        """In the order of the program's own files."""
        parts = {"codes": ((int(self.code_bytes.sum()),), self._codes),
                 "bits": (self.widths.shape, lambda: iter([self.widths])),
                 "scales": ((int(self.scale_bytes.sum()),), self._scales),
                 "zeros": ((int(self.zero_bytes.sum()),), self._zeros)}
        return [Tensor(f"{self.linear}.{part}", "U8", shape, pieces) for part, (shape, pieces) in parts.items()]

    def bytes(self):
        return sum(math.prod(tensor.shape) for tensor in self.tensors())

    def _codes(self):
        raw = generator(self.seed, self.linear + ".codes").bit_generator.random_raw
        for i, rows in enumerate(self.rows):
            ends = np.cumsum(self.code_bytes[i])
            data = raw(int(ends[-1]) // 8).astype("<u8", copy=False).view(np.uint8)
            # Only blocks at the right and bottom edge can have padding.
            first = 0 if rows % TILE_ROWS else len(ends) - 1 if self.cols[-1] % TILE_COLS else len(ends)
            for j in range(first, len(ends)):
                bits = int(self.widths[i, j])
                tiles = data[ends[j] - self.code_bytes[i, j]:ends[j]].reshape(-(-rows // TILE_ROWS), -1, 8 * bits)
                pad_codes(tiles, bits, int(rows), int(self.cols[j]))
            yield data

    def _scales(self):
        rng = generator(self.seed, self.linear + ".scales")
        fields = {bits: scale_fields(self.std / unit_std(bits)) for bits in np.unique(self.widths).tolist()}
        below, share = (np.array([fields.get(bits, (0, 0))[k] for bits in range(9)]) for k in range(2))
        for i, rows in enumerate(self.rows):
            strips = -(-rows // TILE_ROWS)
            widths = np.repeat(self.widths[i], strips * self.groups)  # one for each strip and group
            draws = rng.random((len(widths), TILE_ROWS), dtype=np.float32)
            scales = (below[widths, None] + (draws < share[widths, None])).astype(np.uint8)
            if rows % TILE_ROWS:
                strip = np.concatenate([np.repeat(np.arange(strips), groups) for groups in self.groups])
                scales[strip == strips - 1, rows % TILE_ROWS:] = 0
            yield scales

    def _zeros(self):
        groups = self.groups.tolist()
        for widths, rows in zip(self.widths.tolist(), self.rows.tolist()):
            data = b"".join(block_zeros(bits, rows, n) for bits, n in zip(widths, groups))
            yield np.frombuffer(data, np.uint8)


def quantization_config(matrices, weights, layout, seed, files):
    """That of config.json. @param matrices  the linear layers, of so many weights  @param files  checksums by name"""
    bits = 8 * sum(matrix.bytes() for matrix in matrices) / weights
    return {"quant_method": "scalebits", "version": VERSION, "bits": bits, "block": [layout.rows, layout.cols],
            "group_size": layout.group_size, "quantizer": "random", "method": "random", "reorder": "none",
            "reorder_mode": "folded", "tie": "none", "calib_hash": "", "seed": seed, "files": files}


@functools.lru_cache(None)
def xxh3_library():
    lib = ctypes.CDLL("libxxhash.so.0")
    lib.XXH3_createState.restype = ctypes.c_void_p
    lib.XXH3_64bits_update.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t]
    lib.XXH3_64bits_digest.restype = ctypes.c_uint64
    for function in (lib.XXH3_freeState, lib.XXH3_64bits_reset, lib.XXH3_64bits_digest):
        function.argtypes = [ctypes.c_void_p]
    return lib


def xxh3(pieces, then=lambda piece: None):
    """XXH3 of 64 bits of all the arrays, in hexadecimal; each is passed on to `then`."""
    lib = xxh3_library()
    state = lib.XXH3_createState()
    lib.XXH3_64bits_reset(state)
    for piece in pieces:
        piece = np.ascontiguousarray(piece)
        lib.XXH3_64bits_update(state, piece.ctypes.data, piece.nbytes)
        then(piece)
    digest = lib.XXH3_64bits_digest(state)
    lib.XXH3_freeState(state)
    return f"{digest:016x}"


def write_file(path, tensors, checksums):
    # Loaders of the field refuse a file whose metadata lacks the format.
    metadata = {"format": "pt"}
    if checksums:  # as long as they will be
        metadata.update({"xxh3:" + tensor.name: "0" * 16 for tensor in tensors})
    writer = StreamingWriter(path, [tensor[:3] for tensor in tensors], metadata)
    for tensor in tensors:
        if checksums:
            metadata["xxh3:" + tensor.name] = xxh3(tensor.pieces(), writer.write)
            continue
        for piece in tensor.pieces():
            writer.write(piece)
    writer.close()
    if checksums:
        fill_in_metadata(path, metadata)


def fill_in_metadata(path, metadata):
    """Replaces the metadata of a safetensors file by another of the same length."""
    with open(path, "r+b") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        header["__metadata__"] = metadata
        text = json.dumps(header, separators=(",", ":")).encode().ljust(length)
        if len(text) != length:
            raise RuntimeError(f"{path}: the header has {length} bytes, with other metadata {len(text)}")
        file.seek(8)
        file.write(text)
