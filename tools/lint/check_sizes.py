#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""No source file over 350 lines; a warning above 250."""
import sys

from source_files import CPP, Report, root_argument, tracked_kinds

LIMIT, WARNING = 350, 250

# path -> its own limit, with the reason in a comment. An entry that is no longer needed is a violation too.
ALLOWED = {
}


def main():
    root = root_argument(__doc__).parse_args().root
    report = Report()
    paths = [path.as_posix() for path in tracked_kinds(root, CPP)]
    for path in paths:
        with open(root / path, "rb") as file:
            lines = sum(1 for _ in file)
        limit = ALLOWED.get(path, LIMIT)
        if lines > limit:
            report.add(path, limit + 1, f"{lines} lines, at most {limit}. Is it still one idea?")
        elif path in ALLOWED and lines <= LIMIT:
            report.add(path, 1, f"{lines} lines: its entry in check_sizes.py is no longer needed")
        elif lines > WARNING and path not in ALLOWED:
            print(f"{path}:{WARNING + 1}: warning: {lines} lines, better at most {WARNING}")
    for path in sorted(set(ALLOWED) - set(paths)):
        report.add(path, 1, "in the list of check_sizes.py, but there is no such file")
    return report.finish("check_sizes", len(paths))


if __name__ == "__main__":
    sys.exit(main())
