"""docs/kubernetes.md: the blocks that need kubectl and no cluster work. docs/from-tensorrt-llm.md: what it names exists."""
import os
import re
import shutil
import subprocess

import pytest
from manifests import ROOT, kubectl

KUBERNETES, MIGRATION = ROOT / "docs/kubernetes.md", ROOT / "docs/from-tensorrt-llm.md"


def helps(lathe, words, cache={}):
    """Help of the longest command that `words` begin with, or None."""
    for length in (2, 1):
        command = tuple(words[:length])
        if command not in cache:
            done = subprocess.run([lathe, *command, "--help"], capture_output=True, text=True)
            cache[command] = done.stdout if done.returncode == 0 and done.stdout.count("Usage: lathe " + " ".join(command)) else None
        if cache[command]:
            return cache[command]
    return None


def named_commands(path):
    """[(line number, words)] of `lathe ...` in inline code."""
    text = path.read_text()
    return [(number, match[1].split()) for number, line in enumerate(text.splitlines(), 1)
            for match in re.finditer(r"`lathe ([^`]+)`", line)]


@pytest.mark.parametrize("path", [MIGRATION, KUBERNETES], ids=lambda path: path.name)
def test_commands_and_flags_exist(lathe, path):
    faults, checked = [], 0
    for number, words in named_commands(path):
        if words == ["pull"] and helps(lathe, words) is None:
            continue  # a command of the hub's, named where manifests use it
        text = helps(lathe, words)
        if text is None:
            faults.append(f"line {number}: no command lathe {' '.join(words[:2])}")
            continue
        for flag in (word for word in words if word.startswith("--")):
            checked += 1
            if not re.search(rf"(?<![\w-]){flag}(?![\w-])", text):
                faults.append(f"line {number}: lathe {words[0]} has no {flag}")
    assert not faults, "\n".join(faults)
    assert path != MIGRATION or checked > 60


def test_metrics_that_are_named_exist(server):
    text = server.get("/metrics")[1].decode()
    for name in set(re.findall(r"`(lathe_\w+)`", MIGRATION.read_text())):
        assert f"# TYPE {name} " in text, name


def test_blocks_that_need_kubectl(lathe, tmp_path):
    shutil.copytree(ROOT / "deploy", tmp_path / "deploy")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/kubectl").symlink_to(kubectl())
    environment = os.environ | {"PATH": f"{tmp_path}/bin:{os.environ['PATH']}"}
    blocks = re.findall(r"^```sh\n# not run: needs kubectl; tests/deploy runs it\n(.*?)^```", KUBERNETES.read_text(), re.M | re.S)
    assert len(blocks) == 1
    done = subprocess.run(["bash", "-euo", "pipefail", "-c", blocks[0]], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "namespace: chat\n" in done.stdout and "kind: HorizontalPodAutoscaler\n" in done.stdout
    assert "registry.example/team/lathe:0.1.0" in done.stdout
