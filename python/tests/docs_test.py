"""The examples of docs/python.md, in one interpreter, in their order."""
import os
import re

from conftest import ROOT

DOCUMENT = ROOT / "docs/python.md"


def test_examples_run(tmp_path, monkeypatch, capsys):
    (tmp_path / "models").symlink_to(ROOT / "models")
    monkeypatch.chdir(tmp_path)
    text = DOCUMENT.read_text()
    examples = list(re.finditer(r"^```python\n(.*?)^```$", text, re.M | re.S))
    assert len(examples) >= 9 and os.path.exists("models/tales-16m")
    names = {}
    for example in examples:
        line = text.count("\n", 0, example.start()) + 1
        exec(compile("\n" * line + example[1], str(DOCUMENT), "exec"), names)
    shown = capsys.readouterr().out
    assert "temperature must be in [0, 100], but is -1" in shown and len(names["stories"]) == 3
