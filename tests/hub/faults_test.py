"""`lathe pull` when things go wrong: a hub and a CDN with faults, kills, several processes, full disks."""
import os
import random
import signal
import subprocess
import time

import pytest
from pull_test import MB, blob, contents, model, without


@pytest.mark.parametrize("size", [200_000, 40 * MB])
def test_cut_at_every_tenth(place, size):
    files = model(size)
    place.hub.add("acme/cut", files)
    place.hub.faults.cut_after = size // 10
    assert contents(place.pull("acme/cut", "--connections", 2)) == without(files, "README.md")
    assert len(place.hub.requests("GET", "/file/")) >= 9


def test_statuses(place):
    files = model()
    place.hub.add("acme/busy", files)
    place.hub.faults.statuses = [(429, {"Retry-After": "1"}), (500, {}), (502, {}), (503, {}), (504, {})]
    place.hub.faults.api_statuses = [(503, {}), (429, {"Retry-After": "1"})]
    start = time.monotonic()
    assert contents(place.pull("acme/busy")) == without(files, "README.md")
    assert time.monotonic() - start >= 2


def test_asked_to_come_back_much_later(place):
    place.hub.add("acme/busy", model())
    place.hub.faults.statuses = [(429, {"Retry-After": "3600"})] * 20
    assert "come back in 3600 s" in place.refused("pull", "acme/busy")


def test_wrong_hash_once_and_always(place):
    files = model()
    place.hub.add("acme/flip", files)
    place.hub.faults.wrong_hash = 1
    assert contents(place.pull("acme/flip")) == without(files, "README.md")
    other = {"model.safetensors": blob(300_000, 3), "config.json": b"[]"}
    place.hub.add("acme/flipped", other)
    place.hub.faults.wrong_hash = 1000
    assert "hub's list says" in place.refused("pull", "acme/flipped")
    assert not list((place.repo_cache("acme/flipped") / "blobs").iterdir())


def test_addresses_that_run_out(place):
    files = model(40 * MB)
    place.hub.add("acme/signed", files)
    place.hub.faults.redirect_life = 2
    assert contents(place.pull("acme/signed")) == without(files, "README.md")


def test_truncated_on_the_hub(place):
    place.hub.add("acme/short", model())
    place.hub.faults.truncate = 1000
    refused = place.refused("pull", "acme/short")
    assert "300000 bytes by the hub's list, but the server has 1000" in refused
    place.hub.add("acme/shorter", model(40 * MB))
    assert "damaged" in place.refused("pull", "acme/shorter")


def test_pointers_instead_of_files(place):
    place.hub.add("acme/pointer", model())
    place.hub.faults.pointers = True
    assert "300000 bytes by the hub's list" in place.refused("pull", "acme/pointer")
    place.hub.faults.pointers = False
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 5000000\n"
    place.hub.add("acme/committed", model())
    file = place.hub.file("a.json", pointer)  # committed as if it were text
    place.hub.update(place.hub.repos["acme/committed"], "main", {"model.safetensors": file})
    assert "is a pointer of git-lfs" in place.refused("pull", "acme/committed")


def test_a_server_without_ranges(place):
    files = model(30 * MB)
    place.hub.add("acme/whole", files)
    place.hub.faults.no_ranges = True
    assert contents(place.pull("acme/whole")) == without(files, "README.md")


def test_a_server_that_compresses_all_the_same(place):
    place.hub.add("acme/gzip", model())
    place.hub.faults.gzip_says = True
    assert "told not to" in place.refused("pull", "acme/gzip")


def test_slow_and_silent(place):
    files = model(600_000)
    place.hub.add("acme/slow", files)
    place.hub.faults.rate = 200_000
    assert contents(place.pull("acme/slow", HF_HUB_DOWNLOAD_TIMEOUT="1")) == without(files, "README.md")
    place.hub.add("acme/silent", model() | {"model.safetensors": blob(500_000)})
    place.hub.faults.silent = True
    assert "no byte for 1 s" in place.refused("pull", "-q", "acme/silent", HF_HUB_DOWNLOAD_TIMEOUT="1")


def test_several_processes_fetch_once(place):
    files = model(3_000_000)
    place.hub.add("acme/both", files)
    place.hub.faults.rate = 3_000_000
    all_three = [place.start("pull", "-q", "acme/both") for _ in range(3)]
    outs = [process.communicate(timeout=60) for process in all_three]
    assert [process.returncode for process in all_three] == [0, 0, 0], outs
    snapshot = place.repo_cache("acme/both") / "snapshots" / outs[0][0].strip().split("/")[-1]
    assert contents(snapshot) == without(files, "README.md")
    assert len(place.hub.requests("GET", "/file/")) == 1


def test_fifty_kills(place):
    """Killed at random: never a wrong byte under its name, and what had come is not lost."""
    kills = 0
    rng = random.Random(7)
    rounds, wanted = 0, int(os.environ.get("KILLS", "50"))
    while kills < wanted:
        rounds += 1
        repo = f"acme/kill{rounds}"
        files = model(48 * MB) | {"model.safetensors": blob(48 * MB, rounds)}
        place.hub.add(repo, files)
        place.hub.faults.rate = 3 * MB
        snapshots = place.repo_cache(repo) / "snapshots"
        ended = False
        while kills < wanted and not ended:
            process = place.start("pull", "-q", repo)
            try:
                process.communicate(timeout=rng.uniform(0.02, 0.6))
                ended = True
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.communicate()
                kills += 1
            for link in snapshots.rglob("*"):
                if link.is_file():
                    assert link.read_bytes() == files[link.name]
        place.hub.faults.rate = None
        assert contents(place.pull(repo)) == without(files, "README.md")
        assert not place.left_over(repo)
    print(f"{kills} kills in {rounds} downloads of 48 MiB")


def test_resumes(place):
    size = 24 * MB
    files = model(size)
    place.hub.add("acme/resume", files)
    place.hub.faults.rate = 4 * MB
    process = place.start("pull", "-q", "acme/resume", "--connections", "3")
    blobs = place.repo_cache("acme/resume") / "blobs"

    def recorded():
        text = "".join(path.read_text() for path in blobs.glob("*.ranges"))
        return {tuple(map(int, line.split())) for line in text.splitlines()[1:]}

    end = time.monotonic() + 30
    while not recorded() and time.monotonic() < end:
        time.sleep(0.05)
    process.kill()
    process.communicate()
    kept = recorded()
    assert kept, "nothing was recorded"
    place.hub.faults.rate = None
    place.hub.log.clear()
    assert contents(place.pull("acme/resume")) == without(files, "README.md")
    asked = 0
    for _, _, headers in place.hub.requests("GET", "/file/"):
        first, last = map(int, headers["Range"].removeprefix("bytes=").split("-"))
        asked += last + 1 - first
    assert asked == size - sum(end - begin for begin, end in kept)


@pytest.mark.parametrize("of_this", [True, False])
def test_takes_over_a_prefix(place, of_this):
    """What an older huggingface_hub left under ETAG.incomplete: a file's first bytes, or, where it was damaged, others."""
    files = model(9_000_000)
    place.hub.add("acme/prefix", files)
    sha = place.hub.repos["acme/prefix"].tree("main")[1]["model.safetensors"].sha256
    blobs = place.repo_cache("acme/prefix") / "blobs"
    blobs.mkdir(parents=True)
    (blobs / f"{sha}.incomplete").write_bytes(files["model.safetensors"][:5_000_000] if of_this else b"x" * 5_000_000)
    assert contents(place.pull("acme/prefix")) == without(files, "README.md")
    ranges = [headers["Range"] for _, path, headers in place.hub.requests("GET", "/file/")]
    assert ranges[0] == "bytes=5000000-8999999" and (len(ranges) == 1) == of_this


@pytest.fixture
def small_disk(place):
    """A disk of 8 MiB, which needs root."""
    disk = place.home / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "none", str(disk)], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("no right to mount a small disk")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_no_room_on_the_disk(place, small_disk):
    place.hub.add("acme/big", model(20 * MB))
    refused = place.refused("pull", "acme/big", HF_HUB_CACHE=str(small_disk))
    assert "needs 21.0 MB more" in refused and "8.39 MB free" in refused
    assert not place.hub.requests("GET", "/file/") and not list(small_disk.rglob("blobs"))


def test_a_disk_that_fills_meanwhile(place, small_disk):
    place.hub.add("acme/fits", model(6 * MB))
    place.hub.faults.rate = 3 * MB
    process = place.start("pull", "acme/fits", HF_HUB_CACHE=str(small_disk))
    while not list(small_disk.rglob("*.lathe.incomplete")):
        assert process.poll() is None
    filler = small_disk / "filler"
    try:
        filler.write_bytes(bytes(6 * MB))
    except OSError:
        pass
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1 and "is full" in err, err
    assert not (small_disk / "models--acme--fits/refs").exists()
    place.hub.faults.rate = None
    filler.unlink(missing_ok=True)
    path = place.pull("acme/fits", HF_HUB_CACHE=str(small_disk))
    assert (path / "model.safetensors").read_bytes() == blob(6 * MB)


def test_a_cache_that_cannot_be_written(place):
    place.hub.add("acme/tiny", model())
    blocked = place.home / "file"
    blocked.write_text("no folder")
    assert "cannot" in place.refused("pull", "acme/tiny", HF_HUB_CACHE=str(blocked / "hub"))
