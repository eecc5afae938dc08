#!/usr/bin/env python3
"""The table of a run of cpu_vs_llamacpp.sh from its raw results. Usage: cpu_table.py bench/results/RUN"""
import json
import pathlib
import statistics
import sys

STREAMS = 16
ROWS = {"prompt": "prompt of 512", "decode": "decode, batch 1", "streams": f"decode, {STREAMS} streams"}


def lathe_rate(row, result):
    """Tokens a second of one lathe result."""
    metrics, config = result["metrics"], result["config"]
    if row == "prompt":
        return config["input_len"] / metrics["first_token_ms"]["median"] * 1e3
    return config["batch"] / metrics["per_token_ms"]["median"] * 1e3


def peer_rate(row, result):
    """Tokens a second of one llama.cpp result."""
    return result["speed_tg"] if row == "streams" else result[0]["avg_ts"]


def prompt_flops(config, n):
    """Multiplications and additions that a prompt of n tokens needs; the head once."""
    hidden, layers = config["hidden_size"], config["num_hidden_layers"]
    head_dim = config.get("head_dim") or hidden // config["num_attention_heads"]
    q, kv = config["num_attention_heads"] * head_dim, config["num_key_value_heads"] * head_dim
    weights = hidden * (2 * q + 2 * kv) + 3 * hidden * config["intermediate_size"]
    return layers * (2 * weights * n + 2 * q * n * (n + 1)) + 2 * hidden * config["vocab_size"]


def main(folder):
    load = {path.name: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}
    for model in sorted({name.split(".")[0] for name in load}):
        def values(kind, get, model=model):
            return [get(result) for name, result in load.items() if name.startswith(f"{model}.{kind}.")]

        machine = values("machine", lambda m: m)
        read = statistics.median(m["read_gbps"] for m in machine)
        peak = statistics.median(max(m["bf16_gflops"], m["f32_gflops"]) for m in machine)
        weight_bytes = values("decode.lathe", lambda r: r["model"]["weight_bytes"])[0]
        flops = prompt_flops(load[f"{model}.config.json"], 512) / 512
        print(f"\n{model} on {machine[0]['cpu']}, {machine[0]['threads']} threads: read {read:.1f} GB/s, "
              f"peak {peak:.0f} GFLOP/s (medians of {len(machine)})\n")
        print("| | lathe tok/s | llama.cpp tok/s | ratio | lathe, of the roof |\n|---|---|---|---|---|")
        for row, title in ROWS.items():
            ours = values(f"{row}.lathe", lambda r, row=row: lathe_rate(row, r))
            peers = values(f"{row}.peer", lambda r, row=row: peer_rate(row, r))
            a, b = statistics.median(ours), statistics.median(peers)
            roof = (f"{100 * a * flops / peak / 1e9:.0f} % of the peak" if row == "prompt" else
                    f"{100 * a * weight_bytes / read / 1e9:.0f} % of the bandwidth" if row == "decode" else "")
            print(f"| {title} | {a:.1f} ({min(ours):.1f}-{max(ours):.1f}) | {b:.1f} ({min(peers):.1f}-{max(peers):.1f})"
                  f" | {a / b:.2f} | {roof} |")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
