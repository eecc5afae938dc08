"""What a hub, a server that it names, or whoever may write to the cache could do to whoever pulls."""
import json
import os
import signal
import time

import pytest
from hub_double import Hub
from pull_test import MB, blob, contents, model, without

ENTRY = {"file": "m.lathe", "target": "cpu:portable", "machine": "", "model": "m", "model_hash": "", "dtype": "bf16", "builder": "0.1.0",
         "format": 3, "tp": 1, "pp": 1, "size": 1000, "sha256": "0" * 64}


@pytest.fixture
def elsewhere():
    with Hub() as hub:
        yield hub


def test_the_token_goes_to_no_other_server(place, elsewhere):
    files = model()
    for hub in (place.hub, elsewhere):
        hub.add("acme/tiny", files)
    for fault in ("api_at", "next_at"):
        setattr(place.hub.faults, fault, elsewhere.url)
        place.lathe("pull", "acme/tiny", check=False, HF_TOKEN="hf_read")
        setattr(place.hub.faults, fault, None)
    assert len(elsewhere.log) >= 2 and all("Authorization" not in headers for _, _, headers in elsewhere.log)
    assert all(headers["Authorization"] == "Bearer hf_read" for _, path, headers in place.hub.log if path.startswith("/api/"))


def test_lists_that_never_end(place):
    place.hub.add("acme/endless", model())
    place.hub.faults.next_at = place.hub.url
    assert "more than 100000 files" in place.refused("pull", "acme/endless")
    place.hub.faults.next_at = None
    for size, said in ((25, "more than 64 MiB"), (6, "at most 16777216")):  # what it is parsed into is larger than its text
        place.hub.faults.list = b"[" + b"{}," * (size << 20) + b"{}]"
        assert said in place.refused("pull", "acme/endless")
    file = {"type": "file", "size": 1 << 50, "oid": "0" * 40}
    place.hub.faults.list = [file | {"path": f"model-{i}.safetensors"} for i in range(16384)]  # 2^64 in all
    assert "nothing was fetched" in place.refused("pull", "acme/endless", "--include", "*")
    assert not place.hub.requests("GET", "/resolve/")


def test_lists_of_engines(place):
    """lathe.json is the hub's word, too."""
    for text, said in ((b"[]", "no list 'engines'"), (json.dumps({"engines": [ENTRY | {"file": "../m.lathe"}]}).encode(), "leaves its folder"),
                       (b'{"engines": [' + b" " * (5 << 20) + b"]}", "4 MiB are the most")):
        place.hub.add("acme/engines", {"lathe.json": text, "m.lathe": blob(1000)})
        assert said in place.refused("pull", "acme/engines")
    assert len(place.hub.requests("GET", "/resolve/")) == 2  # the large one was not even fetched


def test_words_that_would_steer_a_terminal(place):
    place.hub.faults.words = "gone \x9b2J \xff"
    assert "gone \\x9b2J \\xff" in place.refused("pull", "acme/missing")


def test_terms_are_at_the_repository_s_address(place):
    place.hub.add("acme/gated", model(), gated="manual")
    assert f"accept its terms at {place.hub.url}/acme/gated with" in place.refused("pull", "acme/gated")


@pytest.mark.parametrize("name", ["{sha}.lathe.incomplete", "{sha}.lathe.ranges.new", "{sha}.incomplete", "{sha}.lathe.ranges"])
def test_links_among_the_blobs(place, name):
    """Whoever may write to the cache may not have us write to a third file."""
    files = model(9_000_000)
    place.hub.add("acme/linked", files)
    sha = place.hub.repos["acme/linked"].tree("main")[1]["model.safetensors"].sha256
    victim = place.home / "victim"
    victim.write_bytes(b"mine")
    blobs = place.repo_cache("acme/linked") / "blobs"
    blobs.mkdir(parents=True)
    (blobs / name.format(sha=sha)).symlink_to(victim)
    assert contents(place.pull("acme/linked")) == without(files, "README.md")
    assert victim.read_bytes() == b"mine"


def test_a_snapshot_that_is_a_link(place):
    commit = place.hub.add("acme/linked", model())
    target = place.home / "elsewhere"
    target.mkdir()
    snapshots = place.repo_cache("acme/linked") / "snapshots"
    snapshots.mkdir(parents=True)
    (snapshots / commit).symlink_to(target)
    assert "must be a folder, but is a file or a link; remove it" in place.refused("pull", "acme/linked")
    assert not list(target.iterdir())
    (snapshots / commit).unlink()
    locks = place.cache / ".locks/models--acme--linked"
    locks.mkdir(parents=True)
    config = place.hub.repos["acme/linked"].tree("main")[1]["config.json"].git
    (locks / f"{config}.lock").symlink_to(place.home / "made")
    assert f"{config}.lock" in place.refused("pull", "acme/linked")
    assert not (place.home / "made").exists()


def test_other_things_where_files_should_be(place):
    """Nothing waits for a pipe that nobody writes to, and what is no file is named."""
    commit = place.hub.add("acme/odd", model())
    sha = place.hub.repos["acme/odd"].tree("main")[1]["model.safetensors"].sha256
    root = place.repo_cache("acme/odd")
    for name in ("refs/main", f"blobs/{sha}", f"blobs/{sha}.lathe.incomplete"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        os.mkfifo(root / name)
    assert "refs/main' exists and is not a regular file" in place.refused("pull", "acme/odd")
    (root / "refs/main").unlink()
    place.pull("acme/odd")
    assert (root / "refs/main").read_text() == commit and (root / f"blobs/{sha}").is_file()
    place.hub.add("acme/folders", model())
    (place.repo_cache("acme/folders") / f"blobs/{sha}").mkdir(parents=True)
    assert f"blobs/{sha}': Is a directory" in place.refused("pull", "acme/folders")
    assert not place.left_over("acme/folders") and not (place.repo_cache("acme/folders") / "refs").exists()
    assert "set HF_HUB_CACHE" in place.refused("pull", "acme/odd", HF_HUB_CACHE=str(root / "refs/main/hub"))


def test_one_of_two_is_killed(place):
    """Whoever waits takes over what the other had fetched."""
    files = model(24 * MB)
    place.hub.add("acme/two", files)
    place.hub.faults.rate = 4 * MB
    first = place.start("pull", "-q", "acme/two", "--connections", "2")
    blobs = place.repo_cache("acme/two") / "blobs"
    while not any(path.stat().st_blocks * 512 > MB for path in blobs.glob("*.lathe.incomplete")):
        assert first.poll() is None
        time.sleep(0.02)
    second = place.start("pull", "-q", "acme/two", "--connections", "2")
    time.sleep(0.5)
    assert second.poll() is None and len(place.hub.requests("GET", "/file/")) <= 2
    first.send_signal(signal.SIGKILL)
    first.communicate()
    place.hub.faults.rate = None
    out, err = second.communicate(timeout=60)
    assert second.returncode == 0, err
    snapshot = place.repo_cache("acme/two") / "snapshots" / out.strip().split("/")[-1]
    assert contents(snapshot) == without(files, "README.md") and not place.left_over("acme/two")


def test_a_hub_that_goes_away(place):
    files = model(12 * MB)
    place.hub.add("acme/gone", files)
    place.hub.faults.rate = 4 * MB
    process = place.start("pull", "-q", "acme/gone")
    while not place.hub.requests("GET", "/file/"):
        assert process.poll() is None
        time.sleep(0.02)
    place.hub.faults.rate, place.hub.faults.statuses = None, [(503, {})] * 1000
    place.hub.faults.cut_after = 0
    _, err = process.communicate(timeout=90)
    assert process.returncode == 1 and err.startswith("lathe: ") and err.count("\n") == 1, err
    assert not (place.repo_cache("acme/gone") / "refs").exists()
    place.hub.faults.statuses, place.hub.faults.cut_after = [], None
    assert contents(place.pull("acme/gone")) == without(files, "README.md")


def test_the_cache_serves_at_once_when_the_hub_does_not(place):
    """Whoever starts a server without a network does not wait for one."""
    place.hub.add("acme/tiny", model())
    path = place.pull("acme/tiny")
    start = time.monotonic()
    done = place.lathe("pull", "-q", "acme/tiny", HF_ENDPOINT="http://127.0.0.1:9")
    assert done.stdout.strip() == str(path) and "taking what the cache has" in done.stderr
    assert time.monotonic() - start < 3


def test_engines_out_of_the_cache(place):
    """A repository with one engine and no list of them, and one with weights alone, without a hub."""
    place.hub.add("acme/lone", {"m.lathe": blob(1000)})
    path = place.pull("acme/lone")
    assert path.name == "m.lathe" and place.pull("acme/lone", HF_HUB_OFFLINE="1") == path
    place.hub.add("acme/weights", model())
    place.pull("acme/weights")
    assert "the cache has no engine of acme/weights" in place.refused("inspect", "acme/weights", HF_HUB_OFFLINE="1")
    assert "cannot connect" in place.refused("plan", "acme/weights", HF_ENDPOINT="http://127.0.0.1:9")


