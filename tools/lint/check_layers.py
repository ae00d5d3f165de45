#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks the rules on includes, names and first lines in all source files.

Data first: a new layer or library is a line in a table below, not a change of code.
"""
import re
import sys

from source_files import CPP, Report, blank_comments, root_argument, tracked_kinds

# An include goes to the own folder or to its left.
LAYERS = ("base", "format", "kernels", "quantize", "io", "model", "calibrate", "search", "pack", "run", "eval",
          "report", "cli")
TORCH_FREE = ("base", "format", "kernels", "quantize", "io")
TORCH = ("torch/", "ATen/", "c10/", "caffe2/")

# Each library is visible in one place: include prefix -> path prefixes that may name it.
LIBRARIES = {
    "nlohmann/": ("scalebits/io/json.h",),
    "CLI/": ("cli/",),
    "gtest/": ("tests/",),
    "gmock/": ("tests/",),
    "benchmark/": ("bench/",),
    "pcre2": ("scalebits/io/",),
    "utf8proc": ("scalebits/io/",),
    "xxhash": ("scalebits/base/",),
    "cuda": ("scalebits/kernels/cuda/",),
}

# An ISA file is compiled with flags of its own: an inline function of any other header would leak out of it with these
# instructions inside. What it may include, besides intrinsics:
ISA_FILE = re.compile(r"scalebits/(kernels|quantize)/[^/]*avx[^/]*\.cc")
ISA_INCLUDES = re.compile(r"immintrin\.h|cstddef|cstdint|"
                          r"scalebits/(kernels|quantize)/(kernels\.h|isa_\w+\.inl|\w*avx\w*\.h)")

# Written by the build: in no folder of the repository.
GENERATED = ("scalebits_build_info.inl",)

# A product taken by libtorch calls the system's BLAS, of which some builds may not be called by two threads at once.
PRODUCTS = re.compile(r"\b(at|torch)::(add|b|badd|m)*m[mv]\b|\b(at|torch)::(matmul|linear|einsum|dot|bilinear|conv\w*)\b|"
                      r"[.>](matmul|mm|bmm|mv|addmm|dot)\(")
PRODUCT_FILE = "scalebits/model/gemm.cc"

# Words that belong to the build files alone: which file is linked decides, not a macro.
CMAKE_WORDS = ("SCALEBITS_CUDA",)
VAGUE_NAMES = {"util", "utils", "common", "helper", "helpers", "misc"}

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"\n]+)[>"]', re.MULTILINE)


def layer_of(path):
    """Index in LAYERS, or None for tests, benchmarks and tools, which may include anything."""
    parts = path.split("/")
    name = parts[1] if parts[0] == "scalebits" and len(parts) > 2 else parts[0]
    return LAYERS.index(name) if name in LAYERS and len(parts) > 1 else None


def check_include(report, root, path, line, quoted, target):
    layer, target_layer = layer_of(path), layer_of(target)
    if quoted and target not in GENERATED and not (root / target).is_file():
        report.add(path, line, f'"{target}" is not a file; paths in quotes are relative to the repository root')
    if layer is not None and target_layer is not None and target_layer > layer:
        report.add(path, line, f"layer {LAYERS[layer]} may not include {target}: it is to its right")
    if layer is not None and LAYERS[layer] in TORCH_FREE and target.startswith(TORCH):
        report.add(path, line, f"{target}: layer {LAYERS[layer]} is free of torch")
    for library, places in LIBRARIES.items():
        if target.startswith(library) and not path.startswith(places):
            report.add(path, line, f"{target} may be included only in {', '.join(places)}")
    if ISA_FILE.fullmatch(path) and not ISA_INCLUDES.fullmatch(target):
        report.add(path, line, f"{target}: an ISA file may include intrinsics, cstddef, cstdint and kernels.h only")


def check_first_include(report, root, path, includes):
    """A .cc that has a header of its own name includes it first, so that the header is known to compile alone."""
    own = re.sub(r"\.cc$", ".h", path)
    if not path.endswith(".cc") or not (root / own).is_file():
        return
    line, target = includes[0] if includes else (1, "nothing")
    if target != own:
        report.add(path, line, f'first include is {target}, expected "{own}"')


def check_products(report, path, code):
    if layer_of(path) is None or path == PRODUCT_FILE:
        return
    for match in PRODUCTS.finditer(code):
        report.add(path, code.count("\n", 0, match.start()) + 1, f"{match[0]}: products are taken in {PRODUCT_FILE}")


def check_file(report, root, path):
    data = (root / path).read_bytes()
    for number, line in enumerate(data.split(b"\n"), 1):
        if not line.isascii():
            report.add(path, number, "not ASCII; use an escape in a string literal")
    text = data.decode("utf-8", "replace")
    if text.split("\n")[0] != "// SPDX-License-Identifier: Apache-2.0":
        report.add(path, 1, "first line is not `// SPDX-License-Identifier: Apache-2.0`")
    code = blank_comments(text)
    if path.endswith((".h", ".cuh")) and not re.search(r"^#pragma once$", code, re.MULTILINE):
        report.add(path, 1, "no #pragma once")
    for number, line in enumerate(text.split("\n"), 1):
        for word in CMAKE_WORDS:
            if word in line:
                report.add(path, number, f"{word} belongs to CMake only")
    check_products(report, path, code)
    includes = []
    for match in INCLUDE.finditer(code):
        number = code.count("\n", 0, match.start()) + 1
        includes.append((number, match[2]))
        check_include(report, root, path, number, match[1] == '"', match[2])
    check_first_include(report, root, path, includes)


def check_script(report, root, path):
    lines = (root / path).read_text(errors="replace").split("\n")
    # A script begins with its interpreter, so the licence may come second.
    if "# SPDX-License-Identifier: Apache-2.0" not in lines[:2]:
        report.add(path, 1, "no `# SPDX-License-Identifier: Apache-2.0` in the first two lines")


def main():
    root = root_argument(__doc__).parse_args().root
    report = Report()
    paths = [path.as_posix() for path in tracked_kinds(root, CPP | {".py", ".sh"})]
    for path in paths:
        for part in path.replace(".", "/").split("/"):
            if part in VAGUE_NAMES:
                report.add(path, 1, f"`{part}` says nothing; name what the file is for")
        if path.endswith((".py", ".sh")):
            check_script(report, root, path)
        else:
            check_file(report, root, path)
    return report.finish("check_layers", len(paths))


if __name__ == "__main__":
    sys.exit(main())
