#!/usr/bin/env python3
# Proves what must hold of every committed text: how a file opens, that a program can be started, what none names, and that
# each fixture, case and corpus is read by a test. Called by tests/check/texts_test.sh, which also plants a violation of
# each rule; by hand:
#   tests/check/texts.py [--root DIR]
# Prints "file:line: rule: what" and ends with 1 when a rule is broken. Changes nothing.
import argparse
import os
import re
import subprocess
import sys

# How each kind of source opens; a first line "#!…" is passed over.
OPENINGS = {
    ".c": r"/\*|//", ".h": r"/\*|//", ".lua": r"--", ".py": r'#|"""', ".sh": r"#", ".mjs": r"//", ".case": r"#", ".cmake": r"#",
}
PROGRAMS = r"(^|/)(bootstrap|CMakeLists\.txt|\.ci/run|tests/(run|bare)|tests/check/format|bench/run)$"
# What no text names: folders of one machine, hosts of package registries, notes to oneself.
FORBIDDEN = {
    "machine-path": r"(?<![\w.$}/])/(work|tmp/w|root|Users|home/[a-z]\w*)/",
    "registry": r"registry\.npmjs|deb\.debian\.org|security\.debian\.org|snapshot\.debian|nodesource\.com|pypi\.org|files\.pythonhosted"
                r"|proxy\.golang\.org|crates\.io|luarocks\.org/",
    "note": r"\bTO(?:DO)\b|\bFIX(?:ME)\b|\bXX(?:X)\b",
}
FREE = r"^tests/(fuzz/corpus|fixtures)/"  # bytes for a parser, not prose
READ_BY_NAME = ("tests/fixtures",)    # a test says what each must be read as
READ_BY_FOLDER = ("tests/cases",)     # a test plays the whole folder

found = []


def report(rule, path, line, what):
    found.append(f"{path}:{line}: {rule}: {what}")


def files_of(root):
    """What is committed or about to be; without git (a copy) everything that is not built."""
    try:
        out = subprocess.run(["git", "-C", root, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
                             check=True, capture_output=True).stdout.decode()
        names = [n for n in out.split("\0") if n]
    except (OSError, subprocess.CalledProcessError):
        names = []
        for folder, folders, inside in os.walk(root):
            folders[:] = [f for f in folders if not re.match(r"build|node_modules$|\.git$", f)]
            names += [os.path.relpath(os.path.join(folder, n), root) for n in inside]
    return sorted(n for n in set(names) if os.path.isfile(os.path.join(root, n)))


def check_opening(name, text):
    want = OPENINGS.get(os.path.splitext(name)[1], r"#" if re.search(PROGRAMS, name) else None)
    if want is None or re.match(FREE, name):
        return
    first = re.sub(r"\A#![^\n]*\n", "", text)
    if not re.match(want, first):
        report("opening", name, 1, "does not open with a comment: what it is for, who calls it, what it must never do")


def check_mode(root, name, text):
    if text.startswith("#!") and not os.access(os.path.join(root, name), os.X_OK):
        report("mode", name, 1, "opens with #! and cannot be started: chmod +x")


def check_words(name, text):
    if re.match(FREE, name):
        return
    for rule, pattern in FORBIDDEN.items():
        for m in re.finditer(pattern, text):
            if m.group(0).startswith("/home/") and name.startswith("tests/"):
                continue  # what $HOME might be
            report(rule, name, text.count("\n", 0, m.start()) + 1, m.group(0))


def check_orphans(names, texts):
    tests = {n: t for n, t in texts.items() if re.match(r"tests/.*\.(c|lua|sh|mjs|py)$", n) and not n.startswith("tests/check/")}
    for name in names:
        base = os.path.basename(name)
        stem, suffix = os.path.splitext(base)
        if base == "README.md" or base.startswith("."):
            continue
        folder = os.path.dirname(name)
        if name.startswith(READ_BY_NAME):
            used = any(re.search(r'["/\']' + re.escape(stem) + r'["\'.]', t) for t in tests.values())
        elif name.startswith(READ_BY_FOLDER):
            used = any(folder in t and suffix in t for t in tests.values())
        elif name.startswith("tests/fuzz/corpus/"):
            used = f"tests/fuzz/fuzz_{name.split('/')[3]}.c" in texts
        else:
            continue
        if not used:
            report("orphan", name, 1, "no test reads it")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--root", default=os.path.join(os.path.dirname(os.path.abspath(__file__)), "../.."))
    root = parser.parse_args().root
    names = files_of(root)
    texts = {}
    for name in names:
        with open(os.path.join(root, name), "rb") as f:
            raw = f.read()
        if b"\0" not in raw:
            texts[name] = raw.decode("utf-8", "replace")
    for name, text in texts.items():
        check_opening(name, text)
        check_mode(root, name, text)
        check_words(name, text)
    check_orphans(names, texts)
    print("\n".join(found) if found else f"texts: {len(texts)} files are as they should be")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
