"""build: reports, progress, and its faults."""
import os

import lathe
import pytest
from conftest import MODEL


def test_report_and_progress(tmp_path):
    seen = []
    report = lathe.build(MODEL, tmp_path / "x.lathe", dtype="f32", tune=False, progress=lambda *now: seen.append(now))
    assert report.path == str(tmp_path / "x.lathe") and report.file_bytes == os.path.getsize(report.path)
    assert report.weight_bytes > 60e6 and report.seconds > 0 and "seconds" in report.info and report.warnings == []
    packing = [(done, total) for stage, done, total in seen if stage == "packing" and done]
    assert packing == sorted(packing) and packing[-1][0] <= packing[-1][1]
    with lathe.LLM(report.path) as llm:
        assert llm.info["dtype"] == "f32" and llm.generate("Once", max_tokens=3)[0].text


def test_default_name(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    assert lathe.build(MODEL, tune=False).path == "tales-16m.lathe" and (tmp_path / "tales-16m.lathe").exists()
    assert capfd.readouterr().err == ""  # no terminal, and too short for a line


def test_what_the_callback_raises_ends_it(tmp_path):
    def stop(stage, done, total):
        raise KeyError(stage)
    with pytest.raises(KeyError, match="reading"):
        lathe.build(MODEL, tmp_path / "x.lathe", progress=stop)
    assert list(tmp_path.iterdir()) == []


def test_faults(tmp_path):
    output = tmp_path / "x.lathe"
    for options, says in (({"dtype": "f16"}, 'dtype must be auto, bf16, fp16, f32 or fp8, but is "f16"'),
                          ({"target": "tpu"}, "tpu"), ({"numeric": "x"}, "numeric must be bf16-fma or bf16-dot"),
                          ({"kv_dtype": "x"}, "kv_dtype must be auto"), ({"fp8_scales": "x"}, "fp8_scales must be"),
                          ({"fp8_keep": "qkv"}, "fp8_keep says what keeps 16 bits"), ({"dtype": "fp8"}, "fp8"),
                          ({"tp": "two"}, "tp must be a whole number, but is 'two'"), ({"tp": 3}, "3")):
        with pytest.raises(lathe.Error, match=says):
            lathe.build(MODEL, output, tune=False, progress=False, **options)
    with pytest.raises(lathe.NotFoundError):
        lathe.build(tmp_path / "none", output, progress=False)
    with pytest.raises(lathe.InvalidArgumentError, match="is a directory"):
        lathe.build(MODEL, tmp_path, progress=False)
    assert not output.exists()
