#!/usr/bin/env python3
"""Milliseconds from exec of `lathe run ENGINE ""` to the first byte of text, over many runs; standard library only.

Usage: first_token.py LATHE ENGINE [RUNS]
"""
import os
import statistics
import subprocess
import sys
import time

lathe, engine, runs = sys.argv[1], sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else 31
times = []
for _ in range(runs + 1):  # the first one warms the page cache
    start = time.perf_counter()
    process = subprocess.Popen([lathe, "run", engine, "", "--max-tokens", "8", "--seed", "1"], stdout=subprocess.PIPE,
                               stderr=subprocess.DEVNULL)
    if not os.read(process.stdout.fileno(), 1):
        sys.exit("first_token: no text came")
    times.append((time.perf_counter() - start) * 1e3)
    process.stdout.read()
    if process.wait() != 0:
        sys.exit(f"first_token: exit code {process.returncode}")
times = sorted(times[1:])
print(f"first token after {statistics.median(times):.1f} ms (median of {runs}; {times[0]:.1f} to {times[-1]:.1f})")
