#!/usr/bin/env python3
"""Runs the examples of README.md and docs/, so that what they show keeps working.

Every fenced block marked ```sh, ```bash or ```console is run in document order, all blocks of a document in
one temporary folder that has the repository's models/, bench/ and tests/ in it and `lathe` on its PATH. In a console block the
lines after "$ " are run and the rest is output for the reader. A block is left out only if its first line is
"# not run: REASON", for what needs a network, a GPU or a large model.

Usage: run_examples.py --lathe PROGRAM [FILE.md ...]
"""
import argparse
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```\s*$", re.M | re.S)
SHELLS = ("sh", "bash", "console")
NOT_RUN = re.compile(r"\A(?:\$ )?# not run: \S")
LIMIT_S = 120


def commands(language, body):
    """The shell text of a block."""
    if language != "console":
        return body
    lines, more = [], False
    for line in body.splitlines():
        if line.startswith("$ "):
            lines.append(line[2:])
        elif more:
            lines.append(line.removeprefix("> "))
        else:
            continue
        more = line.endswith("\\")
    return "\n".join(lines) + "\n"


def blocks(text):
    """(line number, shell text, is left out) of every shell block."""
    return [(text.count("\n", 0, found.start()) + 1, commands(found[1], found[2]), bool(NOT_RUN.match(found[2])))
            for found in FENCE.finditer(text) if found[1] in SHELLS]


def run_document(path, lathe):
    """Runs one document; (blocks run, list of faults)."""
    ran, faults = 0, []
    with tempfile.TemporaryDirectory(prefix="lathe-docs-") as folder:
        home = pathlib.Path(folder)
        (home / "bin").mkdir()
        (home / "bin/lathe").symlink_to(lathe)
        work = home / "work"
        work.mkdir()
        for name in ("models", "bench", "tests"):
            (work / name).symlink_to(ROOT / name)
        env = os.environ | {"PATH": f"{home}/bin:{os.environ['PATH']}", "XDG_CACHE_HOME": str(home / "cache"),
                            "HOME": folder}
        for line, script, left_out in blocks(path.read_text()):
            if left_out:
                continue
            start = time.monotonic()
            try:
                done = subprocess.run(["bash", "-euo", "pipefail", "-c", script], cwd=work, env=env, timeout=LIMIT_S,
                                      stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                      text=True, errors="replace")
                failure = f"exit code {done.returncode}" if done.returncode else None
                output = done.stdout
            except subprocess.TimeoutExpired as late:
                failure, output = f"no end after {LIMIT_S} s", (late.stdout or b"").decode(errors="replace")
            ran += 1
            print(f"{path.name}:{line}: {'FAILED' if failure else 'ok'} in {time.monotonic() - start:.1f} s")
            if failure:
                faults.append(f"{path}:{line}: {failure}\n{script}{output[-2000:]}")
    return ran, faults


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lathe", required=True, type=pathlib.Path)
    parser.add_argument("documents", nargs="*", type=pathlib.Path)
    args = parser.parse_args()
    documents = args.documents or [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    results = [run_document(document, args.lathe.resolve()) for document in documents]
    faults = [fault for _, found in results for fault in found]
    print("\n".join(faults), f"{sum(ran for ran, _ in results)} examples run, {len(faults)} failed", sep="\n")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
