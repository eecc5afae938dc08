"""Images of `lathe package --pull`: nothing inside but lathe, which fetches from a hub when it starts. The hub is the
double of tests/hub, on this machine's loopback."""
import signal
import sys
import time

import pytest
from images import ROOT, Container, free_port, lathe, layout, one_sentence, stream, unpack

sys.path.insert(0, str(ROOT / "tests/hub"))
from hub_double import Hub, files_of  # noqa: E402

WEIGHTS, ENGINES = "acme/tales-16m", "acme/tales-engines"


@pytest.fixture(scope="module")
def image_that_pulls(tmp_path_factory):
    path = tmp_path_factory.mktemp("pull") / "image"
    lathe("package", "--pull", WEIGHTS, "-o", path, "-q")
    return path


@pytest.fixture
def hub(engine):
    with Hub() as double:
        double.cdn = double.cdn.replace("localhost", "127.0.0.1")  # no /etc/hosts inside
        double.add(WEIGHTS, files_of(ROOT / "models/tales-16m"))
        yield double


class Pulling(Container):
    """On this machine's network, with a volume for what it fetches."""

    def __init__(self, bundle, hub, cache, *environment):
        self.port = free_port()
        settings = ["LATHE_INSECURE_NO_AUTH=true", f"LATHE_PORT={self.port}", f"LATHE_MANAGEMENT_LISTEN=127.0.0.1:{free_port()}",
                    f"HF_ENDPOINT={hub if isinstance(hub, str) else hub.url}", *environment]
        if cache:
            cache.mkdir(exist_ok=True)
            cache.chmod(0o777)
        super().__init__(bundle, settings, network=True, volumes={"/cache": cache} if cache else {})

    def ends_with(self, *words, code=1):
        """It ends by itself, with one sentence."""
        assert self.process.wait(60) == code, self.text
        lines = self.text.splitlines()
        assert len([line for line in lines if line.startswith("lathe: ")]) == len(lines) == 1, self.text
        for word in words:
            assert word in lines[0], lines[0]


def half_written(cache):
    return [path.name for path in cache.rglob("*") if path.name.endswith((".incomplete", ".ranges")) or ".tmp-" in path.name]


@pytest.fixture
def pulling(image_that_pulls, tmp_path):
    return unpack(image_that_pulls, tmp_path / "bundle")


def test_has_no_model_inside(image_that_pulls):
    manifest, config = layout(image_that_pulls)
    assert len(manifest["layers"]) == 2 and config["config"]["Labels"]["lathe.pull"] == WEIGHTS
    assert config["config"]["Volumes"] == {"/cache": {}} and f"LATHE_MODEL={WEIGHTS}" in config["config"]["Env"]


def test_pulls_builds_and_answers(pulling, hub, tmp_path):
    cache = tmp_path / "cache"
    with Pulling(pulling, hub, cache) as server:
        server.wait_ready()
        first = stream(server.port, tokens=16)
        assert first[2] == "length" and len(first[1]) > 20
        assert server.stop() == 0
    assert "building an engine" in server.text and not half_written(cache)
    assert list((cache / "lathe").glob("*.lathe"))
    # Started again with the same volume: nothing is fetched, nothing is built, even where there is no hub any more.
    hub.log.clear()
    for address in (hub, "http://127.0.0.1:9"):
        with Pulling(pulling, address, cache) as server:
            server.wait_ready()
            assert stream(server.port, tokens=16)[1] == first[1]
            assert server.stop() == 0
        assert "building" not in server.text
    assert not hub.requests("GET", "/resolve/")


def test_pulls_the_engine_that_fits(engine, hub, tmp_path):
    hub.repos.clear()
    environment = {"HF_ENDPOINT": hub.url, "HF_TOKEN": "hf_write", "HOME": str(tmp_path), "PATH": "/usr/bin"}
    lathe("push", engine, ENGINES, "--private", env=environment)
    lathe("package", "--pull", ENGINES, "-o", tmp_path / "image", "-q")
    bundle = unpack(tmp_path / "image", tmp_path / "bundle")
    cache = tmp_path / "cache"
    with Pulling(bundle, hub, cache) as server:  # without a token
        server.ends_with("is private", "set HF_TOKEN")
    with Pulling(bundle, hub, cache, "HF_TOKEN=hf_wrong") as server:
        server.ends_with("refuses the token of HF_TOKEN")
    assert "hf_wrong" not in server.text and not list(cache.iterdir())
    with Pulling(bundle, hub, cache, "HF_TOKEN=hf_read") as server:
        server.wait_ready()
        assert stream(server.port, tokens=16)[2] == "length"
        assert server.stop() == 0
    assert "building" not in server.text and not half_written(cache)


def test_without_a_hub(pulling, tmp_path):
    cache = tmp_path / "cache"
    with Pulling(pulling, "http://127.0.0.1:9", cache) as server:
        server.ends_with("cannot connect to 127.0.0.1:9")
    assert not list(cache.iterdir())


def test_without_its_volume(pulling, hub):
    with Pulling(pulling, hub, None) as server:
        server.ends_with("/cache/huggingface", "Read-only file system")


def test_stops_while_it_pulls(pulling, hub, tmp_path):
    """SIGTERM to the first process of a container: the kernel ends that for nobody."""
    cache = tmp_path / "cache"
    hub.faults.rate = 1 << 20
    with Pulling(pulling, hub, cache) as server:
        end = time.monotonic() + 30
        while not list(cache.rglob("*.lathe.incomplete")):
            assert time.monotonic() < end and server.process.poll() is None, server.text
            time.sleep(0.05)
        begin = time.monotonic()
        assert server.stop(signal.SIGTERM, limit=30) == 128 + signal.SIGTERM
        assert time.monotonic() - begin < 2
    hub.faults.rate = None
    with Pulling(pulling, hub, cache) as server:
        server.wait_ready()
        assert stream(server.port, tokens=4)[2] == "length"
        assert server.stop() == 0
    assert not half_written(cache)


def test_names_that_are_none(tmp_path):
    for name in ("acme", "acme/../x", "acme/a--b", "/etc/passwd", "acme/x y"):
        one_sentence(lathe("package", "--pull", name, "-o", tmp_path / "x", "-q", check=False), "--pull")
    assert not list(tmp_path.iterdir())
