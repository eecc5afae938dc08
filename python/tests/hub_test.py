"""Names of repositories where paths are expected, against the double of the hub that `lathe pull` is tested with."""
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import lathe
import pytest
from conftest import MODEL, ROOT, environment_of_hubs
from lathe_server import program

sys.path.insert(0, str(ROOT / "tests/hub"))
from hub_double import Hub, files_of  # noqa: E402

PROMPT = "Once upon a time"
NAME = "acme/tales-16m"


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """With the model in it, and a home without anything."""
    for name in environment_of_hubs():
        monkeypatch.delenv(name)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    with Hub() as made:
        made.add(NAME, files_of(MODEL))
        monkeypatch.setenv("HF_ENDPOINT", made.url)
        yield made


def fetched(hub):
    """Names of the files that were asked for since the last call."""
    names = [path.rsplit("/", 1)[1] for _, path, _ in hub.requests("GET", "/resolve/")]
    hub.log.clear()
    return names


def sentence(*command):
    """What the command line says in the same environment, without its name."""
    done = subprocess.run([program(), *command], capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.count("\n") == 1, done.stderr
    return done.stderr.removeprefix("lathe: ").rstrip("\n")


def test_llm(hub, engine_file, monkeypatch):
    hub.faults.rate = 50e6  # long enough for a look at how far it is
    seen = []
    with lathe.LLM(NAME, threads=1, progress=lambda *now: seen.append(now)) as llm:
        assert NAME in repr(llm) and llm.info["name"] == "tales-16m"
        text = llm.generate(PROMPT, temperature=0, max_tokens=8)[0].text
    assert seen[0][0] == f"fetching {NAME}" and "model.safetensors" in fetched(hub)
    again = []
    with lathe.LLM(NAME, threads=1, progress=lambda *now: again.append(now)) as llm:
        assert llm.generate(PROMPT, temperature=0, max_tokens=8)[0].text == text
    assert fetched(hub) == [] and {(stage, done == total) for stage, done, total in again} <= {(f"fetching {NAME}", True)}
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with lathe.LLM(NAME + "@main", threads=1) as llm:
        assert llm.generate(PROMPT, temperature=0, max_tokens=8)[0].text == text
    assert hub.log == []


def test_an_engine_is_taken_as_it_is(hub, engine_file, monkeypatch):
    """Nothing is built, and the tokenizer is the engine's."""
    monkeypatch.setenv("HF_TOKEN", "hf_write")
    subprocess.run([program(), "push", engine_file, "acme/engine"], check=True, capture_output=True)
    seen = []
    with lathe.LLM("acme/engine", threads=1, progress=lambda *now: seen.append(now)) as llm:
        assert llm.engine_path.startswith(os.environ["HF_HOME"]) and llm.generate(PROMPT, max_tokens=3)
    assert not {stage for stage, _, _ in seen} - {"fetching acme/engine", "loading"}
    assert lathe.Tokenizer("acme/engine").encode(PROMPT) == lathe.Tokenizer(engine_file).encode(PROMPT)


def test_build(hub, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    report = lathe.build(NAME, tune=False, progress=False)
    assert report.path == "tales-16m.lathe" and (tmp_path / report.path).stat().st_size == report.file_bytes
    assert "model.safetensors" in fetched(hub)
    assert lathe.build(NAME, tmp_path / "other.lathe", tune=False, progress=False).path == str(tmp_path / "other.lathe")
    assert fetched(hub) == []


def test_a_tokenizer_needs_no_weights(hub, monkeypatch):
    tokenizer = lathe.Tokenizer(NAME)
    names = fetched(hub)
    assert "tokenizer.json" in names and not [name for name in names if name.endswith(".safetensors")]
    assert tokenizer.encode(PROMPT) == lathe.Tokenizer(MODEL).encode(PROMPT)
    assert tokenizer.chat_template == lathe.Tokenizer(MODEL).chat_template
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert lathe.Tokenizer(NAME).encode(PROMPT) == tokenizer.encode(PROMPT)
    monkeypatch.delenv("HF_HUB_OFFLINE")
    hub.add("acme/none", {"config.json": b"{}", "model.safetensors": b"x"})
    with pytest.raises(lathe.NotFoundError, match="acme/none has neither a tokenizer .* nor engines"):
        lathe.Tokenizer("acme/none")


def test_serve(hub):
    with lathe.serve(NAME, port=0, threads=1, progress=False) as server:
        assert b"tales-16m" in urllib.request.urlopen(server.url + "/v1/models", timeout=60).read()


def test_without_the_hub_the_cache_is_taken(hub, monkeypatch):
    ids = lathe.Tokenizer(NAME).encode(PROMPT)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.warns(UserWarning, match=f"taking what the cache has of {NAME}") as told:
        assert lathe.Tokenizer(NAME).encode(PROMPT) == ids
    assert told[0].filename == __file__


def test_the_same_sentences_as_the_command_line(hub, tmp_path, monkeypatch):
    hub.add("acme/secret", files_of(MODEL), private=True)
    hub.add("acme/pickled", {"config.json": b"{}", "pytorch_model.bin": b"x"})
    hub.add("acme/gguf", {"model.gguf": b"x"})
    cases = [({}, "acme/missing"), ({}, "acme/secret"), ({"HF_TOKEN": "hf_wrong"}, "acme/secret"), ({}, NAME + "@v9"),
             ({}, "acme/pickled"), ({}, "acme/gguf"), ({"HF_HUB_OFFLINE": "1"}, NAME), ({"HF_ENDPOINT": "ftp://x"}, NAME)]
    for environment, name in cases:
        with monkeypatch.context() as patch:
            for variable, value in environment.items():
                patch.setenv(variable, value)
            for ours, theirs in ((lambda: lathe.LLM(name, progress=False), ("run", name, "x")),
                                 (lambda: lathe.build(name, tmp_path / "x.lathe", progress=False), ("build", name))):
                with pytest.raises(lathe.Error) as fault:
                    ours()
                assert str(fault.value) == sentence(*theirs)
    assert not (tmp_path / "x.lathe").exists()


def test_ctrl_c_while_the_hub_is_silent(hub):
    """It would be given up after a minute."""
    code = "import sys, lathe\ntry:\n    lathe.LLM(sys.argv[1])\nexcept KeyboardInterrupt:\n    print('interrupted')\n"
    with socket.create_server(("127.0.0.1", 0)) as silent:
        environment = os.environ | {"HF_ENDPOINT": f"http://127.0.0.1:{silent.getsockname()[1]}"}
        process = subprocess.Popen([sys.executable, "-c", code, NAME], env=environment, stdout=subprocess.PIPE, text=True)
        connection, _ = silent.accept()  # it asks
        with connection:
            process.send_signal(signal.SIGINT)
            sent = time.monotonic()
            assert process.communicate(timeout=300)[0] == "interrupted\n"
            assert time.monotonic() - sent < 20
