#!/bin/bash
# `lathe serve` against llama.cpp's server on this machine's CPU: the same model, the same threads, the same load from the
# same load generator (lathe bench serving), in turn (A B A B ...). Medians and their ratio are printed.
#
#   LLAMA_CPP=DIR PYTHON=PATH bench/serving_vs_llamacpp.sh
#
# LLAMA_CPP  a llama.cpp built for this machine: build/bin/llama-server below it
# PYTHON     a Python with numpy and gguf (default python3), used once to write the GGUF file
# LATHE      the program to measure (default build/app/bin/lathe)
# WORK       where the GGUF file goes (default build/bench)
# STREAMS (default 64), REQUESTS (default 4 for each), INPUT and OUTPUT tokens (default 128 and 128), ROUNDS (default 3),
# THREADS (default all)
set -euo pipefail
cd "$(dirname "$0")/.."

LATHE=${LATHE:-build/app/bin/lathe} PYTHON=${PYTHON:-python3} WORK=${WORK:-build/bench} ROUNDS=${ROUNDS:-3}
STREAMS=${STREAMS:-64} INPUT=${INPUT:-128} OUTPUT=${OUTPUT:-128} THREADS=${THREADS:-$(nproc)}
REQUESTS=${REQUESTS:-$((4 * STREAMS))}
peer=${LLAMA_CPP:?set LLAMA_CPP to the folder of a built llama.cpp}/build/bin/llama-server
for program in "$LATHE" "$peer"; do
  [ -x "$program" ] || { echo "bench: $program is missing; build it first" >&2; exit 1; }
done
model=models/tales-16m gguf=$WORK/tales-16m.gguf
out=bench/results/serving-$(date -u +%Y%m%dT%H%M%SZ)
mkdir -p "$WORK" "$out"
[ -e "$gguf" ] || "$PYTHON" bench/make_gguf.py "$model" -o "$gguf"

server=
trap '[ -z "$server" ] || kill "$server" 2> /dev/null || true' EXIT
load() {  # NAME ROUND URL
  "$LATHE" bench serving "$3" --concurrency "$STREAMS" --requests "$REQUESTS" --dataset "random:$INPUT/$OUTPUT" --ignore-eos \
    --vocab 1000 --seed "$2" --warmup "$STREAMS" --json "$out/$1.$2.json" > "$out/$1.$2.txt"
}
wait_for() {  # URL
  for _ in $(seq 600); do
    kill -0 "$server" 2> /dev/null || { echo "bench: the server ended" >&2; exit 1; }
    curl -sf "$1" > /dev/null && return
    sleep 0.1
  done
  echo "bench: $1 never answered" >&2
  exit 1
}
stop() { kill "$server"; wait "$server" 2> /dev/null || true; server=; }

for round in $(seq "$ROUNDS"); do
  echo "round $round of $ROUNDS"
  # Both keep their prefix cache on, as they come; prompts are random, so it finds nothing.
  "$LATHE" serve "$model" --port 18471 --threads "$THREADS" --max-sequences "$STREAMS" --kv-bytes 1G --log-level warn \
    2> "$out/lathe.$round.log" & server=$!
  wait_for http://127.0.0.1:18471/readyz
  load lathe "$round" http://127.0.0.1:18471
  stop
  # -c is shared by the slots: each has room for its prompt and answer, as lathe's sequences have.
  "$peer" -m "$gguf" -t "$THREADS" -tb "$THREADS" -np "$STREAMS" -c $(((INPUT + OUTPUT + 64) * STREAMS)) -b 2048 -ub 512 \
    --port 18472 > "$out/peer.$round.log" 2>&1 & server=$!
  wait_for http://127.0.0.1:18472/health
  load peer "$round" http://127.0.0.1:18472
  stop
done

python3 - "$out" "$ROUNDS" << 'END'
import json, pathlib, statistics, sys
out, rounds = pathlib.Path(sys.argv[1]), int(sys.argv[2])
def runs(name):
    return [json.loads((out / f"{name}.{r}.json").read_text())["runs"][0] for r in range(1, rounds + 1)]
def median(name, value):
    return statistics.median(value(run) for run in runs(name))
rows = [("output tokens/s", lambda r: r["output_tokens_per_second"]), ("requests/s", lambda r: r["requests_per_second"]),
        ("first token p50, ms", lambda r: r["ttft_ms"]["p50"]), ("first token p99, ms", lambda r: r["ttft_ms"]["p99"]),
        ("between tokens p50, ms", lambda r: r["itl_ms"]["p50"]), ("between tokens p99, ms", lambda r: r["itl_ms"]["p99"]),
        ("failed requests", lambda r: r["failed"])]
print(f"| {rounds} rounds, medians | lathe | llama.cpp |\n|---|---|---|")
for name, value in rows:
    print(f"| {name} | {median('lathe', value):,.1f} | {median('peer', value):,.1f} |")
ratio = median("lathe", rows[0][1]) / median("peer", rows[0][1])
print(f"\nlathe's throughput is {ratio:.2f} x the peer's; raw results in {out}")
END
