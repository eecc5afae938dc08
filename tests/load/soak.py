#!/usr/bin/env python3
"""Memory over 100,000 requests: resident bytes within 1 % of what they were after the first tenth."""
import threading
import time

from loadlib import Server, Verdict, bench, scaled

REQUESTS = scaled(100000, 2000)


def main():
    verdict = Verdict("soak")
    # A budget that is full long before the first tenth is over: pages are touched for the first time one by one.
    with Server("--kv-bytes", "32M", "--log-level", "warn") as server:
        warm = bench(server, "--concurrency", "64", "--requests", str(REQUESTS // 10), "--dataset", "random:24/4", "--ignore-eos")
        after_warm = server.resident_bytes()
        samples, stop = [], threading.Event()

        def watch():
            while not stop.wait(1):
                samples.append(server.resident_bytes())
        watcher = threading.Thread(target=watch)
        watcher.start()
        begin = time.monotonic()
        rest = bench(server, "--concurrency", "64", "--requests", str(REQUESTS - REQUESTS // 10), "--dataset", "random:24/4",
                     "--ignore-eos", "--seed", "1")
        seconds = time.monotonic() - begin
        stop.set()
        watcher.join()
        idle = server.wait_idle()
        at_end = server.resident_bytes()
        failed = warm["runs"][0]["failed"] + rest["runs"][0]["failed"]
        growth = at_end / after_warm - 1
        verdict.set(requests=REQUESTS, failed=failed, requests_per_second=rest["runs"][0]["requests_per_second"], seconds=seconds,
                    resident_mb_after_a_tenth=after_warm / 1e6, resident_mb_at_end=at_end / 1e6,
                    peak_mb=max(samples, default=at_end) / 1e6, growth_percent=100 * growth)
        verdict.check(failed == 0, f"{failed} requests failed")
        verdict.check(abs(growth) <= 0.01, f"memory changed by {100 * growth:.2f} %")
        verdict.check(idle is not None, "KV pages are left over")
    verdict.finish()


if __name__ == "__main__":
    main()
