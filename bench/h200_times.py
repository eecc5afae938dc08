#!/usr/bin/env python3
"""Wall time and memory of a build, or load times of an engine, as JSON; standard library.

Usage: h200_times.py build|load OUT_JSON COMMAND...
"""
import json
import os
import pathlib
import re
import resource
import signal
import subprocess
import sys
import time

LOADS = 3


def run(command):
    start = time.monotonic()
    child = subprocess.Popen(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                             env=os.environ | {"LATHE_TRACE_STARTUP": "1"})
    signal.signal(signal.SIGTERM, lambda *_: (child.kill(), sys.exit(124)))
    stdout, stderr = child.communicate()
    seconds = time.monotonic() - start
    sys.stdout.write(stdout)
    sys.stderr.write(stderr)
    if child.returncode != 0:
        sys.exit(child.returncode)
    return seconds, stderr


def main():
    kind, out, command = sys.argv[1], pathlib.Path(sys.argv[2]), sys.argv[3:]
    if kind == "build":
        seconds, _ = run(command)
        result = {"seconds": seconds, "file_bytes": os.stat(command[command.index("-o") + 1]).st_size,
                  "peak_resident_bytes": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024}
    else:
        loads = []
        for _ in range(LOADS):
            _, trace = run(command)
            loads.append(float(re.search(r"([\d.]+) ms\s+engine loaded", trace)[1]) / 1e3)
        result = {"seconds": min(loads), "all_seconds": loads}
    out.write_text(json.dumps({"benchmark": kind, "command": " ".join(command)} | result, indent=1) + "\n")


if __name__ == "__main__":
    main()
