"""What the tests of the hub share. $LATHE: the program."""
import os
import pathlib
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "clients")]
from hub_double import Hub  # noqa: E402
from lathe_server import ROOT, program  # noqa: E402


class Place:
    """A hub, a home of its own, and lathe and huggingface_hub in it."""

    def __init__(self, hub, home):
        self.hub, self.home, self.cache = hub, home, home / "hf/hub"
        ours = ("HF_", "HUGGING", "LATHE_", "XDG_", "TRANSFORMERS")
        kept = {name: value for name, value in os.environ.items()
                if not name.upper().startswith(ours) and "PROXY" not in name.upper()}
        self.env = kept | {"HOME": str(home), "HF_HOME": str(home / "hf"), "HF_ENDPOINT": hub.url,
                           "XDG_CACHE_HOME": str(home / "cache"), "HF_HUB_DISABLE_XET": "1",
                           "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}

    def lathe(self, *args, check=True, **env):
        done = subprocess.run([str(program()), *map(str, args)], env=self.env | env, capture_output=True, text=True, timeout=120)
        assert not check or done.returncode == 0, done.stderr
        return done

    def start(self, *args, **env):
        return subprocess.Popen([str(program()), *map(str, args)], env=self.env | env, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True)

    def pull(self, *args, **env):
        """The path that `lathe pull` names."""
        return pathlib.Path(self.lathe("pull", "-q", *args, **env).stdout.strip())

    def refused(self, *args, **env):
        """The one sentence of a command that must fail."""
        done = self.lathe(*args, check=False, **env)
        assert done.returncode == 1, (done.returncode, done.stdout, done.stderr)
        assert done.stderr.startswith("lathe: ") and done.stderr.count("\n") == 1, done.stderr
        return done.stderr

    def python(self, code, **env):
        """Runs `code` where huggingface_hub is, after `from huggingface_hub import *`; what it prints."""
        done = subprocess.run([sys.executable, "-c", "from huggingface_hub import *\n" + code], env=self.env | env,
                              capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def repo_cache(self, repo_id):
        return self.cache / ("models--" + repo_id.replace("/", "--"))

    def left_over(self, repo_id):
        """Names of what is half-written."""
        return [path.name for path in self.repo_cache(repo_id).rglob("*")
                if path.name.endswith((".incomplete", ".ranges")) or ".tmp-" in path.name]


@pytest.fixture
def place(tmp_path):
    with Hub() as hub:
        yield Place(hub, tmp_path)


@pytest.fixture(scope="session")
def tales():
    return ROOT / "models/tales-16m"
