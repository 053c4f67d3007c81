# Takes the Lua blocks out of a page of docs, as files: docs.py PAGE FOLDER. Called by docs_test.sh.
#
# A block that follows a paragraph that ends with `name`: is that file; every other Lua block becomes NNNN.lua, by its
# line in the page. What a script prints stands in it behind "-->": docs.py --compare SCRIPT OUTPUT looks for those lines
# in the output, in their order; one that ends with … is a beginning.
import os
import re
import sys


def blocks(text):
    """(line, language, name or None, body) of each fenced block."""
    lines = text.split("\n")
    before, at = "", 0
    while at < len(lines):
        fence = re.match(r"```(\w*)$", lines[at])
        if not fence:
            before = lines[at] or before
            at += 1
            continue
        end = lines.index("```", at + 1)
        name = re.search(r"`([\w./]+\.\w+)`:$", before)
        yield at + 2, fence[1], name and name[1], "\n".join(lines[at + 1 : end]) + "\n"
        before, at = "", end + 1


def extract(page, folder):
    with open(page, encoding="utf-8") as f:
        text = f.read()
    for line, language, name, body in blocks(text):
        if not name and language != "lua":
            continue
        path = os.path.join(folder, name or f"{line:04}.lua")
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as f:
            f.write(body)


def compare(script, output):
    with open(script, encoding="utf-8") as f:
        wanted = re.findall(r"--> (.*)$", f.read(), re.M)
    with open(output, encoding="utf-8") as f:
        printed = f.read().split("\n")
    at = 0
    for line in wanted:
        fits = line[:-1] if line.endswith("…") else None
        while at < len(printed) and not (printed[at].startswith(fits) if fits is not None else printed[at] == line):
            at += 1
        if at == len(printed):
            sys.exit(f"not printed: {line}")
        at += 1


if sys.argv[1] == "--compare":
    compare(*sys.argv[2:])
else:
    extract(*sys.argv[1:])
