"""One engine of models/tales-16m for all tests, in a cache of their own."""
import os
import pathlib
import signal
import sys
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
MODEL = str(ROOT / "models/tales-16m")
sys.path.insert(0, str(ROOT / "tests/clients"))
# A shell lets what it starts with & ignore Ctrl-C, and so would every process of these tests.
signal.signal(signal.SIGINT, signal.default_int_handler)


def eventually(condition, seconds=120):
    """Waits for it; generously, for other work may be on the machine."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def environment_of_hubs():
    """Names of the variables here that say where a hub is, who we are there and how it is reached."""
    return [name for name in os.environ if name.startswith(("HF_", "HUGGING", "TRANSFORMERS_")) or name.upper().endswith("_PROXY")]


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cache")
    os.environ["XDG_CACHE_HOME"] = str(folder)
    return folder


@pytest.fixture(scope="session")
def engine_file(tmp_path_factory):
    """Built without tuning: quick, and the same kernels on every run."""
    import lathe
    path = tmp_path_factory.mktemp("engine") / "tales.lathe"
    return lathe.build(MODEL, path, tune=False, progress=False).path


@pytest.fixture(scope="session")
def llm(engine_file):
    import lathe
    with lathe.LLM(engine_file, threads=1) as opened:
        yield opened


@pytest.fixture(scope="session")
def tools_llm(engine_file):
    """With a template that knows tools and reasoning."""
    import lathe
    with lathe.LLM(engine_file, threads=1, chat_template=ROOT / "tests/clients/tools.jinja") as opened:
        yield opened


@pytest.fixture
def idle(llm):
    """Afterwards nothing runs and no page is used: whatever the test did has been cleaned up."""
    yield llm

    def at_rest():
        stats = llm.stats()
        return not (stats["running"] or stats["waiting"] or stats["pages_used"])
    eventually(at_rest)
