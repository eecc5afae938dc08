"""Names of repositories where commands expect the path of a model or of an engine."""
import json
import os

import pytest
from lathe_server import Server
from push_test import WRITE, engine  # noqa: F401 (a fixture)

TALES, ENGINES = "acme/tales-16m", "acme/engines"


@pytest.fixture
def hub(place, engine, tales):  # noqa: F811
    """Two repositories: of weights, and of one engine that any CPU can run."""
    place.hub.add(TALES, {path.name: path for path in tales.iterdir()})
    place.lathe("push", engine, ENGINES, **WRITE)
    return place


def test_build(hub, tmp_path):
    out = tmp_path / "built.lathe"
    hub.lathe("build", TALES, "-o", out, "--target", "cpu:portable", "--no-tune", "--quiet")
    assert "tales-16m" in hub.lathe("inspect", out).stdout


def test_inspect(hub):
    assert "cpu:portable" in hub.lathe("inspect", ENGINES).stdout
    assert "has no engines" in hub.refused("inspect", TALES)


def test_plan(hub, engine):  # noqa: F811
    planned = hub.lathe("plan", ENGINES, "--json", "--context", "512")
    assert json.loads(planned.stdout) == json.loads(hub.lathe("plan", engine, "--json", "--context", "512").stdout)
    assert "has no engines; build one of its weights" in hub.refused("plan", TALES)


def test_convert(hub, tales, tmp_path):
    hub.lathe("convert", TALES, "-o", tmp_path / "ours", "--tp", "2")
    hub.lathe("convert", tales, "-o", tmp_path / "theirs", "--tp", "2")
    names = sorted(path.name for path in (tmp_path / "ours").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "theirs").iterdir()) and names
    for name in names:
        if name.endswith(".safetensors"):
            assert (tmp_path / "ours" / name).read_bytes() == (tmp_path / "theirs" / name).read_bytes()
    hub.refused("convert", "acme/missing", "-o", tmp_path / "missing")
    assert not (tmp_path / "missing").exists()


def test_package(hub, engine, tmp_path):  # noqa: F811
    hub.lathe("package", ENGINES, "-o", tmp_path / "context", "--format", "dockerfile", "--quiet")
    (inside,) = (tmp_path / "context/rootfs/models").iterdir()
    assert inside.name == "tales-16m-bf16-cpu-portable.lathe" and inside.read_bytes() == engine.read_bytes()
    assert "has no engines" in hub.refused("package", TALES, "-o", tmp_path / "x")
    assert "--pull: expected a repository" in hub.refused("package", "--pull", "acme/../x", "-o", tmp_path / "x")
    assert "not both" in hub.refused("package", ENGINES, "--pull", TALES, "-o", tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_benchmarks(hub):
    few = ("--input-len", "8", "--output-len", "4")
    assert "tales-16m" in hub.lathe("bench", "latency", TALES, *few, "--iterations", "1", "--warmup", "0").stdout
    assert "tales-16m" in hub.lathe("bench", "throughput", ENGINES, *few, "--requests", "2").stdout


def test_bench_compare(hub, tmp_path):
    """Beside a server: an engine, where one fits. Beside transformers: the weights, which that needs."""
    few = ("--inputs", "8", "--batches", "1", "--no-fill", "--output-len", "4", "--rounds", "1", "--repeats", "1", "-o")
    with Server() as server:
        hub.lathe("bench", "compare", ENGINES, "--with", f"http://127.0.0.1:{server.port}", *few, tmp_path / "a")
    result = json.loads((tmp_path / "a/result.json").read_text())
    assert result["model"] == "engines" and f"lathe bench compare {ENGINES} --with" in result["command"]
    place_of_engines = hub.repo_cache(ENGINES)
    assert list(place_of_engines.rglob("*.lathe")) and not hub.repo_cache(TALES).exists()
    hub.refused("bench", "compare", ENGINES, "--with", "transformers", "--python", "/nowhere/python", *few, tmp_path / "b")
    assert not (tmp_path / "b").exists()
    hub.lathe("bench", "compare", TALES, "--with", "transformers", "--python", "/nowhere/python", *few, tmp_path / "c", check=False)
    assert list(hub.repo_cache(TALES).rglob("model.safetensors"))


def test_what_looks_like_a_path_is_one(hub, tmp_path):
    hub.hub.log.clear()
    os.makedirs(tmp_path / "models")
    for path in (tmp_path / "no/model", "./acme/tales-16m", "models", "acme/x.lathe"):
        for command in (("run", path, "x"), ("plan", path), ("convert", path, "-o", tmp_path / "out"), ("package", path, "-o", tmp_path / "out")):
            hub.refused(*command)
    assert not hub.hub.log
