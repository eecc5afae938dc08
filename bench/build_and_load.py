#!/usr/bin/env python3
"""Times `lathe build` of a checkpoint against this disk's speed, its memory, and the engine's load; standard library.

Usage: build_and_load.py LATHE CHECKPOINT_DIR ENGINE_TO_WRITE
"""
import json
import os
import pathlib
import re
import resource
import struct
import subprocess
import sys
import time

CHUNK = 1 << 24


def disk_speed(folder, size=1 << 30):
    """Bytes a second of writing (flushed) and of reading back past the page cache."""
    path = folder / "disk-speed.tmp"
    block = os.urandom(CHUNK)
    start = time.monotonic()
    with path.open("wb") as file:
        for _ in range(size // CHUNK):
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
        wrote = time.monotonic() - start
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    start = time.monotonic()
    with path.open("rb", buffering=0) as file:
        while file.read(CHUNK):
            pass
    read = time.monotonic() - start
    path.unlink()
    return size / read, size / wrote


def largest_tensor(folder):
    """Bytes of the checkpoint's largest tensor."""
    largest = 0
    for path in folder.glob("*.safetensors"):
        with path.open("rb") as file:
            header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
        largest = max([largest, *(t["data_offsets"][1] - t["data_offsets"][0]
                                  for name, t in header.items() if name != "__metadata__")])
    return largest


def main():
    lathe, checkpoint, engine = sys.argv[1], pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3])
    read_speed, write_speed = disk_speed(engine.parent)
    source = sum(f.stat().st_size for f in checkpoint.glob("*.safetensors"))
    engine.unlink(missing_ok=True)
    start = time.monotonic()
    subprocess.run([lathe, "build", str(checkpoint), "-o", str(engine)], check=True)
    seconds = time.monotonic() - start
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    written = engine.stat().st_size
    allowed = source / read_speed + written / write_speed + 10
    limit = 3 * largest_tensor(checkpoint) + (1 << 30)
    print(f"disk: read {read_speed / 1e9:.2f} GB/s, write {write_speed / 1e9:.2f} GB/s")
    print(f"build: {seconds:.1f} s, allowed {allowed:.1f} s ({source / 1e9:.2f} GB read, {written / 1e9:.2f} GB written)")
    print(f"memory: {peak / 2**30:.2f} GiB resident at most, mapped files included; allowed {limit / 2**30:.2f} GiB")
    loads = []
    for _ in range(5):
        traced = subprocess.run([lathe, "run", str(engine), "a", "--max-tokens", "1", "--quiet"], check=True, text=True,
                                env=os.environ | {"LATHE_TRACE_STARTUP": "1"}, capture_output=True)
        loads.append(float(re.search(r"([\d.]+) ms\s+engine loaded", traced.stderr)[1]))
    print(f"load: {min(loads):.0f} ms warm (best of {len(loads)}, from main to a running engine), allowed 200 ms")


if __name__ == "__main__":
    main()
