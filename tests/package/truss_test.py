"""The Truss: taken by truss' own reader and builder, and its model answers."""
import asyncio
import importlib.util
import json
import os
import pathlib
import subprocess
import sys

import pytest
import yaml
from images import lathe, run


@pytest.fixture(scope="module")
def truss(engine, tmp_path_factory):
    path = tmp_path_factory.mktemp("truss") / "tales"
    words = ["package", engine, "-o", path, "--format", "truss", "-q"]
    if package() is not None:
        words += ["--python-package", package()]
    lathe(*words)
    return path


def package():
    """The folder of the Python package, as make test-python installed it; None."""
    found = os.environ.get("LATHE_PYTHON_PACKAGE")
    return pathlib.Path(found) if found else None


def test_truss_takes_it(truss):
    from truss.base.truss_config import TrussConfig
    config = TrussConfig.from_yaml(truss / "config.yaml")
    assert config.model_name == "tales-16m" and not config.resources.use_gpu
    assert set(yaml.safe_load((truss / "config.yaml").read_text())) <= set(TrussConfig.model_fields)


def test_truss_builds_its_context(truss, tmp_path):
    tool = pathlib.Path(sys.executable).parent / "truss"
    done = run(tool, "--non-interactive", "image", "build-context", tmp_path / "context", truss, check=False,
               env=os.environ | {"HOME": str(tmp_path)})
    assert done.returncode == 0, done.stderr + done.stdout
    for name in ("Dockerfile", "model/model.py", "data/tales.lathe", "config.yaml"):
        assert (tmp_path / "context" / name).exists(), name


CLIENT = """
import asyncio, json, os, sys
truss = sys.argv[1]
sys.path[:0] = [truss + "/packages", truss]
from model.model import Model

async def main():
    model = Model(data_dir=truss + "/data", config={}, secrets={})
    model.load()
    whole = await model.predict({"prompt": "Once upon a time", "max_tokens": 12, "temperature": 0})
    pieces = [piece async for piece in await model.predict(
        {"prompt": "Once upon a time", "max_tokens": 12, "temperature": 0, "stream": True})]
    chat = await model.predict({"messages": [{"role": "user", "content": "Tell me a tale."}], "max_tokens": 8})
    several = await asyncio.gather(*[model.predict({"prompt": "The king", "max_tokens": 4, "seed": i}) for i in range(32)])
    print(json.dumps({"whole": whole, "pieces": pieces, "chat": chat, "several": len(several)}))

asyncio.run(main())
"""


def test_model_answers(truss):
    if package() is None:
        print("the Python package is not installed (make test-python): the model was not asked")
        return
    done = run(sys.executable, "-c", CLIENT, truss)
    answer = json.loads(done.stdout.splitlines()[-1])
    assert answer["whole"]["finish_reason"] == "length" and len(answer["whole"]["text"]) > 10
    assert "".join(answer["pieces"]) == answer["whole"]["text"] and len(answer["pieces"]) > 3
    assert answer["chat"]["message"]["role"] == "assistant" and answer["several"] == 32


@pytest.mark.parametrize("words", [["--cuda"], []])
def test_truss_that_pulls(tmp_path, words):
    from truss.base.truss_config import TrussConfig
    lathe("package", "--pull", "org/name", *words, "-o", tmp_path / "t", "--format", "truss", "-q")
    config = TrussConfig.from_yaml(tmp_path / "t/config.yaml")
    assert config.environment_variables["LATHE_MODEL"] == "org/name"
    assert config.resources.use_gpu == bool(words)
