#!/usr/bin/env python3
"""Runs the examples of README.md and docs/, so that what they show keeps working.

Every fenced block marked ```sh, ```bash or ```console is run in document order, all blocks of a document in
one temporary folder that has the repository's models/, bench/ and tests/ in it and `lathe` on its PATH. In a console block the
lines after "$ " are run and the rest is output for the reader. A block is left out only if its first line is
"# not run: REASON", for what needs a network, a GPU or a large model. A block whose first line is
"# while running: lathe serve ..." is run while that server is; it stays for the blocks after it that say the same.
A document with a block whose first line is "# with a hub" has an empty hub of its own, and a token for it.
What a block marked ```console checked shows must come, line by line: "…" stands for anything, and numbers may differ.
Examples ask 127.0.0.1:8000 or localhost:8000, which stand for the free port that the server really has.

Usage: run_examples.py --lathe PROGRAM [FILE.md ...]
"""
import argparse
import contextlib
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/hub"))
from hub_double import Hub  # noqa: E402

FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```\s*$", re.M | re.S)
SHELLS = ("sh", "bash", "console")
WHILE_RUNNING = re.compile(r"\A(?:\$ )?# while running: (lathe serve [^\n]+)$", re.M)
ADDRESS = re.compile(r"\b(?:127\.0\.0\.1|localhost):8000\b")
WITH_A_HUB = re.compile(r"^(?:\$ )?# with a hub$", re.M)
NUMBER = re.compile(r"\b[0-9a-f]{7,64}\b|\d[\d,.]*")
UNIT = re.compile(r"\b(us|ms|s|B|kB|MB|GB|KiB|MiB|GiB)\b")
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


def shown(body):
    """The lines of output that a console block shows."""
    out, more = [], False
    for line in body.splitlines():
        is_command = more or line.startswith(("$ ", "# "))
        more = is_command and line.endswith("\\")
        if not is_command and line.strip():
            out.append(line)
    return out


def missing(expected, output):
    """The first line of `expected` that does not come in `output`, in order; None when all do."""
    def plain(text):
        return UNIT.sub("~", NUMBER.sub("#", " ".join(text.split())))

    lines = iter([plain(line) for line in output.splitlines()])
    for want in expected:
        pattern = re.compile(".*".join(re.escape(part) for part in plain(want).split("…")))
        if not any(pattern.fullmatch(line) for line in lines):
            return want
    return None


class Block:
    """One shell block: where it is, what to run, whether it is left out, the server to run meanwhile, lines to check."""

    def __init__(self, text, match):
        self.line = text.count("\n", 0, match.start()) + 1
        language, self.checked = match[1], match[0].splitlines()[0].endswith(" checked")
        self.script, self.left_out = commands(language, match[2]), bool(NOT_RUN.match(match[2]))
        server = WHILE_RUNNING.match(match[2])
        self.server = server[1] if server else None
        self.expected = shown(match[2]) if self.checked else []


def blocks(text):
    """Every shell block."""
    return [Block(text, block) for block in FENCE.finditer(text) if block[1] in SHELLS]


class RunningServer:
    """The server that blocks run against: at most one, started when a block asks for it."""

    def __init__(self, cwd, env):
        self.cwd, self.env = cwd, env
        self.command, self.process, self.log, self.address = None, None, cwd.parent / "server.log", None

    def ensure(self, command):
        """Runs `command`, on a free port; None, or what went wrong."""
        if command == self.command and self.process.poll() is None:
            return None
        self.stop()
        self.command = command
        with self.log.open("w") as log:
            self.process = subprocess.Popen(["bash", "-c", f"exec {command} --port 0"], cwd=self.cwd, env=self.env,
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
        end = time.monotonic() + LIMIT_S
        while time.monotonic() < end and self.process.poll() is None:
            told = re.search(r"https?://(127\.0\.0\.1:\d+)", self.log.read_text(errors="replace"))
            if told:
                self.address = told[1]
                return None
            time.sleep(0.02)
        return f"no server from '{command}': {self.log.read_text(errors='replace')[-2000:]}"

    def stop(self):
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(LIMIT_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.process = self.command = None


def run_block(block, script, work, env):
    """What went wrong, or None; and the output."""
    try:
        done = subprocess.run(["bash", "-euo", "pipefail", "-c", script], cwd=work, env=env, timeout=LIMIT_S,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              errors="replace")
    except subprocess.TimeoutExpired as late:
        return f"no end after {LIMIT_S} s", (late.stdout or b"").decode(errors="replace")
    if done.returncode:
        return f"exit code {done.returncode}", done.stdout
    line = missing(block.expected, done.stdout)
    return (f"this line did not come: {line}" if line else None), done.stdout


def run_document(path, lathe):
    """Runs one document; (blocks run, list of faults)."""
    ran, faults, text = 0, [], path.read_text()
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="lathe-docs-"))
        home = pathlib.Path(folder)
        (home / "bin").mkdir()
        (home / "bin/lathe").symlink_to(lathe)
        work = home / "work"
        work.mkdir()
        for name in ("models", "bench", "tests"):
            (work / name).symlink_to(ROOT / name)
        env = os.environ | {"PATH": f"{home}/bin:{os.environ['PATH']}", "XDG_CACHE_HOME": str(home / "cache"),
                            "HOME": folder}
        if WITH_A_HUB.search(text):
            env |= {"HF_ENDPOINT": stack.enter_context(Hub()).url, "HF_TOKEN": "hf_write"}
        server = RunningServer(work, env)
        for block in blocks(text):
            if block.left_out:
                continue
            start, script = time.monotonic(), block.script
            if block.server:
                failure = server.ensure(block.server)
                if failure:
                    faults.append(f"{path}:{block.line}: {failure}")
                    continue
                script = ADDRESS.sub(server.address, script)
            failure, output = run_block(block, script, work, env)
            ran += 1
            print(f"{path.name}:{block.line}: {'FAILED' if failure else 'ok'} in {time.monotonic() - start:.1f} s")
            if failure:
                faults.append(f"{path}:{block.line}: {failure}\n{script}{output[-2000:]}")
        server.stop()
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
