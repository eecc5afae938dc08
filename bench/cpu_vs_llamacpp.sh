#!/bin/bash
# lathe against llama.cpp on this machine's CPU: prompt of 512, decode at batch 1, decode of 16 streams at once, on
# the 1.1 B Llama shape of bench/configs/llama-1b.json and on models/tales-16m. Both run in turn (A B A B ...), and
# the machine's roofs are measured in between, so that a slow minute hits all alike. bench/README.md says more.
#
#   LLAMA_CPP=DIR PYTHON=PATH bench/cpu_vs_llamacpp.sh
#
# LLAMA_CPP  a llama.cpp built for this machine: build/bin/llama-bench and build/bin/llama-batched-bench below it
# PYTHON     a Python with numpy and gguf (default python3)
# LATHE      the program to measure (default build/app/bin/lathe)
# WORK       where models and engines go, 7 GB (default build/bench)
# ROUNDS     of each measurement (default 5); THREADS (default all); MODELS (default "llama-1b tales-16m")
set -euo pipefail
cd "$(dirname "$0")/.."

LATHE=${LATHE:-build/app/bin/lathe} PYTHON=${PYTHON:-python3} WORK=${WORK:-build/bench} ROUNDS=${ROUNDS:-5}
THREADS=${THREADS:-$(nproc)} MODELS=${MODELS:-llama-1b tales-16m}
peer="${LLAMA_CPP:?set LLAMA_CPP to the folder of a built llama.cpp}/build/bin"
for program in "$LATHE" "$peer/llama-bench" "$peer/llama-batched-bench"; do
  [ -x "$program" ] || { echo "bench: $program is missing; build it first" >&2; exit 1; }
done
"$PYTHON" -c 'import gguf, numpy' || { echo "bench: $PYTHON needs the packages numpy and gguf" >&2; exit 1; }

out=bench/results/$(date -u +%Y%m%dT%H%M%SZ)
mkdir -p "$WORK" "$out"

prepare() {  # MODEL -> checkpoint folder, GGUF file and engine in $WORK
  local model=$1 folder=models/$1
  if [ ! -d "$folder" ]; then
    folder=$WORK/$model
    [ -d "$folder" ] || "$LATHE" synth --config "bench/configs/$model.json" -o "$folder"
  fi
  cp "$folder/config.json" "$out/$model.config.json"
  [ -e "$WORK/$model.gguf" ] || "$PYTHON" bench/make_gguf.py "$folder" -o "$WORK/$model.gguf"
  "$LATHE" build "$folder" -o "$WORK/$model.lathe"
}

lathe_latency() {  # MODEL NAME ROUND INPUT OUTPUT BATCH ITERATIONS
  "$LATHE" bench latency "$WORK/$1.lathe" --threads "$THREADS" --input-len "$4" --output-len "$5" --batch "$6" \
    --iterations "$7" --warmup 1 --json "$out/$1.$2.lathe.$3.json" > /dev/null
}
peer_bench() {  # MODEL NAME ROUND ARGUMENTS...
  "$peer/llama-bench" -m "$WORK/$1.gguf" -t "$THREADS" -o json -r 1 "${@:4}" > "$out/$1.$2.peer.$3.json" 2> /dev/null
}
peer_batched() {  # MODEL NAME ROUND INPUT OUTPUT BATCH
  "$peer/llama-batched-bench" -m "$WORK/$1.gguf" -t "$THREADS" -tb "$THREADS" -c $((($4 + $5) * $6 + 64)) -b 2048 \
    -ub 512 -npp "$4" -ntg "$5" -npl "$6" --output-format jsonl 2> /dev/null | grep '^{' > "$out/$1.$2.peer.$3.json"
}

for model in $MODELS; do
  prepare "$model"
  # A small model needs more tokens to be measured well; its context is 2048.
  case $model in tales*) decode=512 streams=128 times=5 ;; *) decode=96 streams=48 times=1 ;; esac
  for round in $(seq "$ROUNDS"); do
    echo "$model: round $round of $ROUNDS"
    "$LATHE" machine --threads "$THREADS" --json > "$out/$model.machine.$round.json"
    lathe_latency "$model" prompt "$round" 512 1 1 "$times"
    peer_bench "$model" prompt "$round" -p 512 -n 0
    lathe_latency "$model" decode "$round" 1 "$decode" 1 1
    peer_bench "$model" decode "$round" -p 0 -n "$decode"
    lathe_latency "$model" streams "$round" 16 "$streams" 16 1
    peer_batched "$model" streams "$round" 16 "$streams" 16
  done
done
python3 bench/cpu_table.py "$out"
