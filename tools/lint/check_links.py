#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every relative link in a Markdown file leads to a file of the repository, and its #anchor to a heading."""
import pathlib
import re
import sys
import urllib.parse

from source_files import Report, root_argument, tracked_kinds

# [text](target "title"), ![image](target) and [label]: target
INLINE = re.compile(r"\[[^\]\n]*\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)")
DEFINITION = re.compile(r"^ {0,3}\[[^\]\n]+\]:\s*<?(\S+?)>?\s*$", re.MULTILINE)
CODE = re.compile(r"^(```|~~~).*?^\1|`[^`\n]*`", re.MULTILINE | re.DOTALL)


def blank_code(text):
    return CODE.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), text)


def anchors(text):
    """Anchors of the headings, as GitHub makes them: lower case, punctuation dropped, spaces to hyphens."""
    result = set()
    for title in re.findall(r"^#{1,6} +(.*?) *#*$", text, re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)|[`*]", lambda match: match[1] or "", title)
        slug = re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")
        number, unique = 0, slug
        while unique in result:
            number += 1
            unique = f"{slug}-{number}"
        result.add(unique)
    return result | set(re.findall(r"<a (?:id|name)=\"([^\"]+)\"", text))


def check_link(report, root, path, line, target):
    if re.match(r"[a-zA-Z][a-zA-Z0-9+.-]*:", target):
        return  # a URL: never fetched
    name, _, anchor = target.partition("#")
    name = urllib.parse.unquote(name)
    base = root if name.startswith("/") else (root / path).parent
    file = (base / name.lstrip("/")).resolve() if name else (root / path)
    if not file.is_relative_to(root.resolve()) and name:
        report.add(path, line, f"{target}: leads out of the repository")
    elif not file.exists():
        report.add(path, line, f"{target}: no such file")
    elif anchor and file.suffix == ".md" and anchor.lower() not in anchors(file.read_text(encoding="utf-8")):
        report.add(path, line, f"{target}: no such heading")


def main():
    root = root_argument(__doc__).parse_args().root
    report, links = Report(), 0
    paths = tracked_kinds(root, {".md"})
    paths += sorted(path.relative_to(root) for path in (root / "models").rglob("*.md"))
    for path in paths:
        text = blank_code((root / path).read_text(encoding="utf-8"))
        for pattern in (INLINE, DEFINITION):
            for match in pattern.finditer(text):
                links += 1
                check_link(report, root, pathlib.PurePath(path).as_posix(), text.count("\n", 0, match.start(1)) + 1,
                           match[1])
    print(f"check_links: {links} links", file=sys.stderr)
    return report.finish("check_links", len(paths))


if __name__ == "__main__":
    sys.exit(main())
