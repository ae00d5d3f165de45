# SPDX-License-Identifier: Apache-2.0
"""What the lint scripts share: which files are ours, and how a violation is reported."""
import argparse
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOP_FOLDERS = ("scalebits", "cli", "tests", "bench", "tools", "python", "docs", "cmake")
CPP = {".h", ".cc", ".cu", ".cuh", ".inl"}


def tracked_kinds(root, suffixes):
    """Paths below the top folders (and in the root itself) with one of the suffixes, relative to root, sorted."""
    found = [path for path in root.iterdir() if path.is_file()]
    for folder in TOP_FOLDERS:
        found += [path for path in (root / folder).rglob("*") if path.is_file()]
    return sorted(path.relative_to(root) for path in found if path.suffix in suffixes)


def blank_comments(text):
    """C++ text with comments replaced by spaces; line numbers and string literals stay."""
    # Strings come first in the pattern, so that a // inside one is not taken for a comment. A digit separator (1'000)
    # is not the start of a character literal: those are matched only where no digit or letter stands before.
    pattern = r'"(?:\\.|[^"\\\n])*"|(?<![0-9A-Za-z])\'(?:\\.|[^\'\\\n])+\'|//[^\n]*|/\*.*?\*/'

    def blank(match):
        return match[0] if match[0][0] in "\"'" else re.sub(r"[^\n]", " ", match[0])

    return re.sub(pattern, blank, text, flags=re.DOTALL)


class Report:
    """Collects `file:line: message` lines."""

    def __init__(self):
        self.lines = []

    def add(self, path, line, message):
        self.lines.append(f"{path}:{line}: {message}")

    def finish(self, name, checked):
        """Prints the violations and returns the exit status."""
        for line in self.lines:
            print(line)
        # A check that looked at nothing has proved nothing.
        if checked == 0:
            print(f"{name}: no files to check")
        print(f"{name}: {checked} checked, {len(self.lines)} violations", file=sys.stderr)
        return 1 if self.lines or checked == 0 else 0


def root_argument(description):
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=pathlib.Path, default=ROOT, help="repository to check; default: this one")
    return parser
