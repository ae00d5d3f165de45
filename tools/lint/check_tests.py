#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every TEST in tests/<layer>/*_test.cc is a case that ctest runs with the program test_<layer>.

    tools/lint/check_tests.py build/dev     (after the test programs are built)

A file that the build does not know, a case inside #if 0 and a disabled case look like passing tests; this notices them.
"""
import json
import pathlib
import re
import subprocess
import sys

from source_files import Report, blank_comments, root_argument

TEST = re.compile(r"^[ \t]*(TYPED_TEST_P|TYPED_TEST|TEST_P|TEST_F|TEST)\s*\(\s*(\w+)\s*,\s*(\w+)\s*\)", re.MULTILINE)
# Not built with SCALEBITS_TORCH=OFF: tests/CMakeLists.txt.
TORCH_FREE = {"base", "format", "kernels", "quantize", "io"}


def registered(build):
    """{program name: its case names} as ctest knows them."""
    listing = subprocess.run(["ctest", "--test-dir", str(build), "--show-only=json-v1"], capture_output=True, text=True)
    if listing.returncode:
        sys.exit(f"check_tests: ctest failed in {build}: {listing.stderr.strip()}")
    result = {}
    for test in json.loads(listing.stdout)["tests"]:
        if "command" in test:
            result.setdefault(pathlib.PurePath(test["command"][0]).name, set()).add(test["name"])
    return result


def matches(kind, suite, name, cases):
    """Whether a listed case comes from this macro: Suite.Name, [Prefix/]Suite.Name/Parameter or Suite.Name<Type>."""
    if kind in ("TEST", "TEST_F"):
        return f"{suite}.{name}" in cases
    pattern = re.compile(rf"(\w+/)?{suite}(/[^.]+)?\.{name}(/.+|<.+>)?")
    return any(pattern.fullmatch(case) for case in cases)


def built_with_torch(build):
    cache = (build / "CMakeCache.txt").read_text() if (build / "CMakeCache.txt").exists() else ""
    match = re.search(r"^SCALEBITS_TORCH:BOOL=(.*)$", cache, re.MULTILINE)
    return match is None or match[1].upper() in ("ON", "TRUE", "YES", "1")


def check_file(report, root, path, cases):
    text = blank_comments((root / path).read_text(encoding="utf-8"))
    found = 0
    for match in TEST.finditer(text):
        found += 1
        line = text.count("\n", 0, match.start(1)) + 1
        if "DISABLED_" in match[2] + match[3]:
            report.add(path, line, f"{match[2]}.{match[3]} is disabled; a test that cannot run says GTEST_SKIP and why")
        elif not matches(*match.groups(), cases):
            report.add(path, line, f"{match[2]}.{match[3]} is not registered with ctest")
    if found == 0:
        report.add(path, 1, "no test case")
    return found


def main():
    parser = root_argument(__doc__)
    parser.add_argument("build", type=pathlib.Path, help="build directory")
    arguments = parser.parse_args()
    root, torch = arguments.root, built_with_torch(arguments.build)
    listed, report, cases, left_out = registered(arguments.build), Report(), 0, 0
    for file in sorted((root / "tests").rglob("*_test.cc")):
        path = file.relative_to(root)
        layer = path.parts[1]
        if not torch and layer not in TORCH_FREE:
            left_out += 1
            continue
        if len(path.parts) != 3:
            report.add(path.as_posix(), 1, "a test lies in tests/<layer>/ itself: no other folder is built")
            continue
        cases += check_file(report, root, path.as_posix(), listed.get(f"test_{layer}", set()))
    if left_out:
        print(f"check_tests: {left_out} files skipped: {arguments.build} is built without torch", file=sys.stderr)
    return report.finish("check_tests", cases)


if __name__ == "__main__":
    sys.exit(main())
