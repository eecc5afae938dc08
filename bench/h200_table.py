#!/usr/bin/env python3
"""The tables of a run of h200.sh from its raw results, as Markdown; standard library.

Usage: h200_table.py RESULTS ... [--merge FILE]      (--merge: all raw results in one JSON file as well)

RESULTS: folders of raw results, or files that --merge wrote; of rows that several have, the last one that did not fail counts.
"""
import json
import pathlib
import sys

# Output tokens a second that TensorRT-LLM is published with (Llama-3.1-8B): the best with fp8 on an H200, and fp16 on an
# H100. The targets are 85 % of the one and 110 % of the other.
PUBLISHED = {
    "128/128": (29526, 15572), "128/2048": (26221, 9151), "128/4096": (18027, 5369), "500/2000": (21463, 7498),
    "1000/1000": (17744, 7055), "2048/128": (3794, 1904), "2048/2048": (12194, 4160), "5000/500": (3988, 1708),
    "20000/2000": (1804, 563),
}
FULL_REQUESTS = {"128/128": 30000, "128/4096": 1500, "2048/2048": 1500, "5000/500": 1500, "20000/2000": 1000}
ONE_STREAM = {"bf16": 250, "fp8": 430}  # tokens a second asked of one stream


class Results:
    """Raw results by the name of their file."""

    def __init__(self, sources):
        self.rows = {}
        for source in sources:
            if source.is_dir():
                for path in sorted(source.glob("*.json")):
                    self.add(path.stem, path)
            else:
                for name, result in json.loads(source.read_text()).items():
                    self.keep(name, result)

    def add(self, name, path):
        try:
            self.keep(name, json.loads(path.read_text()))
        except ValueError as error:
            self.keep(name, {"error": str(error)})

    def keep(self, name, result):
        failed = isinstance(result, dict) and "error" in result
        if not failed or name not in self.rows:
            self.rows[name] = result

    def of(self, section, parts):
        """(fields of the name after the section, the last `parts` of them one by one; result)."""
        for name, result in self.rows.items():
            if name.startswith(section + "."):
                yield name[len(section) + 1:].rsplit(".", parts), result


def table(title, head, rows):
    if rows:
        print(f"\n## {title}\n\n| " + " | ".join(head) + " |\n|" + "---|" * len(head))
        for row in rows:
            print("| " + " | ".join(str(cell) for cell in row) + " |")


def median(result, metric):
    return result["metrics"].get(metric, {}).get("median")


def text(value, form="{:,.1f}"):
    return "" if value is None else form.format(value)


def ratio(a, b):
    return text(a / b if a and b else None, "{:.2f}")


def fault(result):
    return "failed: " + str(result["error"])[:120]


def build_and_load(results):
    loads = {tuple(name): result for name, result in results.of("load", 1)}
    rows = []
    for name, result in results.of("build", 1):
        load = loads.get(tuple(name), {})
        if "error" in result:
            rows.append([*name, fault(result), "", "", ""])
            continue
        rows.append([*name, text(result["seconds"]), text(load.get("seconds"), "{:.2f}"), text(result["file_bytes"] / 1e9, "{:.2f}"),
                     text(result["peak_resident_bytes"] / 2**30, "{:.2f}")])
    table("Build (asked 45 s) and load (asked 6 s)", ["model", "weights", "build, s", "load, s", "engine, GB", "memory, GiB"], rows)


def right(results):
    reference = results.rows.get("right.cpu", {}).get("nats_per_token")
    rows = []
    for (kind,), result in results.of("right", 0):
        nats = result.get("nats_per_token")
        rows.append([kind, text(nats, "{:.5f}") if nats else fault(result),
                     text(result.get("perplexity"), "{:.3f}"), text(nats - reference if nats and reference else None, "{:+.5f}")])
    table("Perplexity of tales-16m", ["engine", "nats/token", "perplexity", "from the CPU, nats"], rows)


def one_stream(results, roof):
    rows = []
    for (model, kind, _, context, out), result in results.of("latency", 4):
        if "error" in result:
            rows.append([model, kind, context, fault(result), "", "", ""])
            continue
        step = median(result, "per_token_ms")
        rows.append([model, kind, context, text(1e3 / step), ONE_STREAM.get(kind, ""), text(step, "{:.3f}"),
                     text(100 * median(result, "gbps") / roof if roof else None, "{:.0f} %")])
    title = "One stream" + (f" (the device reads {roof:,.0f} GB/s)" if roof else "")
    table(title, ["model", "weights", "context", "tok/s", "asked at 128", "ms a token", "of reading"], rows)


def first_token(results):
    rows = [[model, kind, tokens, fault(result) if "error" in result else text(median(result, "first_token_ms"), "{:.2f}")]
            for (model, kind, _, tokens, _), result in results.of("first", 4)]
    table("First token (asked 40 ms in bf16)", ["model", "weights", "prompt", "ms, median"], rows)


def batches(results):
    peers = {tuple(name): result for name, result in results.of("peer", 2)}
    rows = []
    ordered = sorted(results.of("batch", 4), key=lambda item: [int(part) if part.isdigit() else part for part in item[0]])
    for (model, kind, batch, tokens, out), result in ordered:
        if "error" in result:
            rows.append([model, kind, batch, tokens, fault(result)] + [""] * 5)
            continue
        rate, step = median(result, "tokens_per_second"), median(result, "per_token_ms")
        plain, static = (peers.get((mode, batch, tokens), {}) for mode in ("plain", "static"))
        rows.append([model, kind, batch, tokens, text(median(result, "first_token_ms")), text(step, "{:.2f}"), text(rate),
                     text(plain.get("tokens_per_second")), ratio(rate, plain.get("tokens_per_second")),
                     ratio(static.get("per_token_ms"), step)])
    table("Batches, 128 tokens out; x transformers by tokens a second of the whole request (asked 14 at batch 1, 5 at 256), "
          "x compiled with a static cache by milliseconds a token (asked 1.35)",
          ["model", "weights", "batch", "in", "first token, ms", "ms a token", "tok/s", "transformers tok/s", "x plain", "x compiled"],
          rows)
    rows = [[mode, batch, tokens] + ([fault(result), "", ""] if "error" in result else
                                    [text(result["first_token_ms"]), text(result["per_token_ms"], "{:.2f}"),
                                     text(result["tokens_per_second"])])
            for (mode, batch, tokens), result in results.of("peer", 2)]
    table("transformers in the same run", ["mode", "batch", "in", "first token, ms", "ms a token", "tok/s"], rows)


def throughput(results):
    rows = []
    order = list(PUBLISHED)
    found = [(name, f"{name[2]}/{name[3]}", result) for name, result in results.of("throughput", 3)]
    for (model, kind, *_), shape, result in sorted(found, key=lambda item: (item[0][:2], order.index(item[1]) if item[1] in order else 99)):
        published = PUBLISHED.get(shape, (None, None))[0 if kind == "fp8" else 1]
        if "error" in result:
            rows.append([model, kind, shape, fault(result)] + [""] * 6)
            continue
        rate = result["output_tokens_per_second"]
        requests = result["config"]["requests"]
        rows.append([model, kind, shape, text(rate), text(published, "{:,}"), ratio(rate, published),
                     f"{requests:,} of {FULL_REQUESTS.get(shape, 3000):,}", text(result["seconds"]),
                     text(result["sequences_per_step"], "{:.0f}"), result["preemptions"]])
    table("Throughput, offline (asked: 0.85 x the best published on an H200 in fp8, 1.10 x the H100's fp16 in bf16)",
          ["model", "weights", "in/out", "output tok/s", "published", "x published", "requests", "seconds", "sequences a step",
           "preemptions"], rows)


def host_and_server(results):
    served = {tuple(name): result for name, result in results.of("serve", 1)}
    rows = []
    for name, result in results.of("host", 1):
        if "error" in result:
            rows.append([*name, fault(result)] + [""] * 5)
            continue
        rate = result["output_tokens_per_second"]
        server = (served.get(tuple(name), {}).get("runs") or [{}])[0].get("output_tokens_per_second")
        rows.append([*name, text(rate), text(result["executor_percent"]), text(result["host_percent"]),
                     text(result.get("device_idle_percent"), "{:.2f}"), text(server), ratio(server, rate)])
    table("256 streams (asked: the GPU idle for less than 3 %, through HTTP 0.95 x offline)",
          ["model", "weights", "offline tok/s", "in the executor, %", "scheduling and text, %", "GPU idle, %", "through HTTP tok/s", "x offline"], rows)


def kernels(results):
    gemm = results.rows.get("kernels.gemm", {})
    rows = [[r["type"], r["m"], text(r["us"] / 1e3, "{:.3f}"), text(r["overlap_us"] / 1e3, "{:.3f}"), text(1e6 / r["overlap_us"] * r["m"], "{:,.0f}")]
            for r in gemm.get("step", [])]
    table("Matrix products of a decode step, alone", ["weights", "M", "one after another, ms", "overlapped, ms", "tok/s at most"], rows)
    rows = [[r["shape"], r["type"], r["m"], text(r["own_us"]), text(r["library_us"]), ratio(r["library_us"], r["own_us"]),
             text(r["best_gbps"], "{:,.0f}"), text(100 * r["of_read_roof"], "{:.0f} %"), text(r["best_tflops"], "{:,.0f}")]
            for part in gemm.values() if isinstance(part, list) for r in part if "own_us" in r]
    table("Matrix products", ["shape", "type", "M", "own us", "cuBLASLt us", "x cuBLASLt", "GB/s", "of reading", "TFLOP/s"], rows)


def memory(results):
    rows = [[one["what"], "yes" if one["holds"] else "no", one["seen"]] for one in results.rows.get("memory", [])]
    table("Memory as `lathe plan` has it (asked: within 5 %), idle time", ["what", "holds", "seen"], rows)


def main():
    arguments, target = sys.argv[1:], None
    if "--merge" in arguments:
        at = arguments.index("--merge")
        target = pathlib.Path(arguments[at + 1])
        del arguments[at:at + 2]
    if not arguments:
        sys.exit(__doc__)
    results = Results([pathlib.Path(argument) for argument in arguments])
    if target:
        results.rows.pop(target.stem, None)
        target.write_text(json.dumps(results.rows, indent=1) + "\n")
    roof = results.rows.get("roof", {}).get("read_gbps")
    build_and_load(results)
    right(results)
    one_stream(results, roof)
    first_token(results)
    batches(results)
    throughput(results)
    host_and_server(results)
    memory(results)
    kernels(results)


if __name__ == "__main__":
    main()
