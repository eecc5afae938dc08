#!/bin/bash
# Every number that lathe shows on one H200, each from a command of its own: docs/benchmarks-cuda.md says what they mean.
#
#   bench/h200.sh [--only SECTION,...] [--out DIR] [--summary DIR] [--budget SECONDS]
#
# --out: one JSON file and one log for each row (default bench/results/h200-TIME); --summary: all rows in one file and
# the tables, written anew after every section (default the same).
#
# Sections, in their order (a fault or the time limit of one does not end the others):
#   info        program, device, disk, memory
#   build       checkpoints with random weights in the models' exact shapes, every engine from a warm page cache, its load
#   right       perplexity of models/tales-16m: CPU, this target, and its fp8
#   roof        what the device reads at most, in this run
#   latency     one stream, 128 and 8,192 tokens of context
#   first       first token of a prompt of 2,048: one prompt after another, and after a second of rest each
#   batch       32, 512 and 2,048 tokens in, 128 out, at batch 1, 8, 32 and 256
#   throughput  offline, everything queued at once: the nine published rows
#   host        256 streams offline: what the device waits for the host
#   serve       256 streams through the HTTP server
#   peers       transformers, compiled with a static cache and plain
#   compare     `lathe bench compare`: the report of docs/reports, transformers plain and compiled; KEEP=1 in `build` keeps its weights
#   memory      what `lathe plan` says of the engines' memory against what they take; the device's idle time
#   kernels     matrix products and attention alone (minutes)
#   table       the tables, from all results in --out
#
# Where a machine is had for minutes at a time, one run does not take it all. Seconds on one H200, 16 cores (measured
# 2026-11, *: computed from the published rates, FACTOR=0):
#
#   info 1   synth 11 and build 25 a kind and model (--no-tune 12)   roof 4   kernels 300   memory 15 an engine
#   one engine:     latency 13   first 4   host 12   serve 14   load 1.5 for each row
#   batch:          4 inputs at batch 1: 3; batch 256: 32 in 10, 512 in 20*, 2048 in 50*
#   throughput      128/128 128/2048 128/4096 500/2000 1000/1000 2048/128 2048/2048 5000/500 20000/2000    all
#     fp8               20      74*     109*      77*        56        34        84*       47*      102*   605
#     bf16              27      72*     123*      76*        48        26        85*       41*      116*   615
#   peers: start 20, compiling 60*, static 3 x 3*, plain batch 1 3 x 8, batch 256 9 + 16 + 40*             170
#
# So, in calls of ten minutes, with results that add up in one file (--summary; each call makes its engines anew):
#
#   KINDS=fp8 ROWS="128/128 128/2048 500/2000 1000/1000 2048/128 5000/500" FACTOR=0 MODELS=llama-3.1-8b \
#     bench/h200.sh --only build,throughput --budget 560                                          # 36 + 308 s
#   the same with ROWS="128/4096 2048/2048 20000/2000"                                            # 36 + 295 s
#   KINDS=bf16 ...                                                                                # likewise
#   MODELS=llama-3.1-8b KINDS="bf16 fp8" BATCHES="1 256" bench/h200.sh --only build,batch,peers   # 61 + 170 + 170 s
#   MODELS=mistral-7b bench/h200.sh --only build,latency,first                                    # 61 + 34 s
#   python3 bench/h200_table.py --merge all.json FIRST/h200.json SECOND/h200.json                 # tables of all
#
# --budget SECONDS: rows and sections that would not end within so many seconds of the start, by the table above, are left out and say so.
# LATHE       the program (default build/gpu/lathe, else build/release/bin/lathe); GPU_TEST likewise
# MODELS      configs in bench/configs, or folders of checkpoints (default "llama-3.1-8b mistral-7b")
# TARGET      of `lathe build` (default cuda); KINDS: engines to build (default "bf16 fp8")
# FP8_FLAGS   of `lathe build` for fp8 weights and KV (default "--dtype fp8 --kv-dtype fp8")
# RUN_FLAGS   of every `lathe bench` (e.g. "--threads 1"); BATCH_FLAGS of those with more than one stream
# WORK        folder for checkpoints and engines (default build/h200): 62 GB; checkpoints are removed once built, but KEEP=1
# FACTOR      part of the published number of requests (default 1), but at least as many as run at once: those that fill
#             WAVE_TOKENS of KV cache (default 1800000 in fp8, half of it in bf16). FACTOR=0: those, ten minutes in fp8
# ROWS        in/out of the throughput rows (default all nine); BATCHES, INPUTS of `batch`; ITERATIONS (default 3)
# LIMIT       seconds for each section (default 1800), LIMIT_ROW for each command (default 1200)
# PYTHON      with torch and transformers, for the peers (default python3); PEER_FLAGS of bench/h200_peer.py, COMPARE_FLAGS of `lathe bench compare`
set -uo pipefail
cd "$(dirname "$0")/.."

ALL="info build right roof latency first batch throughput host serve peers compare memory kernels table"
ONLY=$ALL RESULTS=bench/results/h200-$(date -u +%Y%m%dT%H%M%SZ) SUMMARY= SECTION=
while [ $# -gt 0 ]; do
  case $1 in
    --only) ONLY=${2//,/ }; shift 2 ;;
    --out) RESULTS=$2; shift 2 ;;
    --summary) SUMMARY=$2; shift 2 ;;
    --budget) export BUDGET_END=$((EPOCHSECONDS + $2)); shift 2 ;;
    --section) SECTION=$2; shift 2 ;;  # itself, under a time limit
    *) echo "h200: $1 is no option; see the head of this file" >&2; exit 2 ;;
  esac
done
either() { if [ -x "$1" ]; then echo "$1"; else echo "$2"; fi; }
export RESULTS
export LATHE=${LATHE:-$(either build/gpu/lathe build/release/bin/lathe)}
export GPU_TEST=${GPU_TEST:-$(either build/gpu/gpu_test build/release/gpu_test)}
export MODELS=${MODELS:-llama-3.1-8b mistral-7b} TARGET=${TARGET:-cuda} KINDS=${KINDS:-bf16 fp8} WORK=${WORK:-build/h200}
export FP8_FLAGS=${FP8_FLAGS:---dtype fp8 --kv-dtype fp8} RUN_FLAGS=${RUN_FLAGS:-} BATCH_FLAGS=${BATCH_FLAGS:-}
export FACTOR=${FACTOR:-1} WAVE_TOKENS=${WAVE_TOKENS:-1800000} KEEP=${KEEP:-} BATCHES=${BATCHES:-1 8 32 256}
export INPUTS=${INPUTS:-32 512 2048}
export ROWS=${ROWS:-128/128 128/2048 128/4096 500/2000 1000/1000 2048/128 2048/2048 5000/500 20000/2000}
export ITERATIONS=${ITERATIONS:-3} STREAMS=${STREAMS:-256} LIMIT=${LIMIT:-1800} LIMIT_ROW=${LIMIT_ROW:-1200}
export PYTHON=${PYTHON:-python3} PEER_FLAGS=${PEER_FLAGS:-} COMPARE_FLAGS=${COMPARE_FLAGS:-}
SUMMARY=${SUMMARY:-$RESULTS}
mkdir -p "$RESULTS" "$SUMMARY" "$WORK"

# A command of a row: its output to the log, its last lines shown, and a fault kept as the row's result.
row() {  # NAME COMMAND...
  local name=$1 begin=$EPOCHREALTIME code
  shift
  timeout --foreground -k 10 "$LIMIT_ROW" "$@" > "$RESULTS/$name.log" 2>&1
  code=$?
  local seconds
  seconds=$(awk "BEGIN { printf \"%.2f\", $EPOCHREALTIME - $begin }")
  if [ $code -eq 0 ]; then
    echo "  $name: $seconds s"
  else
    echo "  $name: FAILED with exit code $code after $seconds s: $(grep -v '^$' "$RESULTS/$name.log" | tail -1 | cut -c1-300)"
    NAME=$name CODE=$code python3 - > "$RESULTS/$name.json" << 'END'
import json, os, pathlib
log = pathlib.Path(os.environ["RESULTS"], os.environ["NAME"] + ".log").read_text(errors="replace").strip()
print(json.dumps({"error": (log.splitlines() or [""])[-1][:300], "exit_code": int(os.environ["CODE"])}))
END
  fi
  return $code
}
# Whether SECONDS more are left of --budget; says so where they are not.
affords() {  # WHAT SECONDS
  [ -z "${BUDGET_END:-}" ] && return 0
  local left=$((BUDGET_END - EPOCHSECONDS))
  [ "$2" -le "$left" ] && return 0
  echo "  $1: left out, takes about $2 s of the $left that are left"
  return 1
}
checkpoint() { if [ -d "$1" ]; then echo "$1"; elif [ -d "models/$1" ]; then echo "models/$1"; else echo "$WORK/$1"; fi; }  # MODEL
name_of() { basename "$1"; }
engine() { echo "$WORK/$(name_of "$1").$2.lathe"; }  # MODEL KIND
# Longest sequence of MODEL.
context() { python3 -c 'import json, sys; print(json.load(open(sys.argv[1] + "/config.json"))["max_position_embeddings"])' "$(checkpoint "$1")"; }
# Calls COMMAND MODEL KIND for every engine that was built.
each_engine() {  # COMMAND
  local model kind
  for model in $MODELS; do
    for kind in $KINDS; do
      [ -e "$(engine "$model" "$kind")" ] && "$1" "$model" "$kind"
    done
  done
}
latency() {  # ROW MODEL KIND INPUT OUTPUT BATCH
  [ $(($4 + $5)) -le "$(context "$2")" ] || { echo "  $1.$4.$5: left out, longer than the model's context"; return; }
  local flags=$RUN_FLAGS
  [ "$6" -eq 1 ] || flags="$flags $BATCH_FLAGS"
  [ -z "${PAUSE:-}" ] || flags="$flags --pause $PAUSE"
  # shellcheck disable=SC2086
  row "$1.$(name_of "$2").$3.$6.$4.$5" "$LATHE" bench latency "$(engine "$2" "$3")" $flags --input-len "$4" --output-len "$5" \
    --batch "$6" --iterations "$ITERATIONS" --warmup 1 --context $(($4 + $5 + 1)) --json "$RESULTS/$1.$(name_of "$2").$3.$6.$4.$5.json"
}

section_info() {
  row info.version "$LATHE" version
  row info.devices "$LATHE" devices
  { nproc; free -g; df -h "$WORK"; nvidia-smi; } > "$RESULTS/info.machine.log" 2>&1
  cat "$RESULTS/info.version.log" "$RESULTS/info.devices.log"
}

section_build() {
  local model kind flags made
  for model in $MODELS; do
    made=
    if ! ls "$(checkpoint "$model")"/*.safetensors > /dev/null 2>&1; then
      rm -rf "${WORK:?}/$model"
      row "synth.$model" "$LATHE" synth --config "bench/configs/$model.json" -o "$WORK/$model" || continue
      made=1
    fi
    for kind in $KINDS; do
      flags=; [ "$kind" = fp8 ] && flags=$FP8_FLAGS
      cat "$(checkpoint "$model")"/*.safetensors > /dev/null  # warm
      # shellcheck disable=SC2086
      row "build.$(name_of "$model").$kind" python3 bench/h200_times.py build "$RESULTS/build.$(name_of "$model").$kind.json" \
        "$LATHE" build "$(checkpoint "$model")" -o "$(engine "$model" "$kind")" --target "$TARGET" $flags || continue
      # shellcheck disable=SC2086
      row "load.$(name_of "$model").$kind" python3 bench/h200_times.py load "$RESULTS/load.$(name_of "$model").$kind.json" \
        "$LATHE" run "$(engine "$model" "$kind")" "a" --max-tokens 1 --quiet $RUN_FLAGS
    done
    # The other sections read its config alone.
    [ -n "$made" ] && [ -z "$KEEP" ] && rm -f "$WORK/$model"/*.safetensors
  done
}

section_right() {
  local kind flags
  for kind in cpu $KINDS; do
    flags="--target $TARGET"
    [ "$kind" = cpu ] && flags="--target cpu"
    [ "$kind" = fp8 ] && flags="$flags $FP8_FLAGS"
    # shellcheck disable=SC2086
    row "right-build.$kind" "$LATHE" build models/tales-16m -o "$WORK/tales.$kind.lathe" --no-tune $flags || continue
    row "right.$kind" "$LATHE" eval perplexity "$WORK/tales.$kind.lathe" tests/data/text/tales_valid.txt --json &&
      sed -n '/^{/,$p' "$RESULTS/right.$kind.log" > "$RESULTS/right.$kind.json"  # what comes before is progress
  done
}

# With no part of that name the program measures the reading speed alone.
section_roof() { row roof "$GPU_TEST" --lab gemm_bench "$RESULTS/roof.json" roof; }

stream() { latency latency "$1" "$2" 128 256 1; latency latency "$1" "$2" 8192 128 1; }
section_latency() { each_engine stream; }

first() {
  local ITERATIONS=$((3 * ITERATIONS))
  latency first "$1" "$2" 2048 1 1
  PAUSE=1 latency rested "$1" "$2" 2048 1 1
}
section_first() { each_engine first; }

batch() {
  local batch input
  for batch in $BATCHES; do
    for input in $INPUTS; do ITERATIONS=1 latency batch "$1" "$2" "$input" 128 "$batch"; done
  done
}
section_batch() { each_engine batch; }

# Published numbers of requests: 30,000 of the shortest, 3,000, 1,500 where the sequences are long, 1,000 of the longest.
requests() {  # KIND IN OUT
  local n tokens=$WAVE_TOKENS
  case $2/$3 in 128/128) n=30000 ;; 128/4096 | 2048/2048 | 5000/500) n=1500 ;; 20000/2000) n=1000 ;; *) n=3000 ;; esac
  [ "$1" = fp8 ] || tokens=$((tokens / 2))
  awk "BEGIN { wave = $tokens / ($2 + $3); if (wave > ${CONCURRENCY:-4096}) wave = ${CONCURRENCY:-4096}
               n = $n * $FACTOR; if (n < wave) n = wave; if (n > $n) n = $n; printf \"%d\", n < 1 ? 1 : n }"
}
# Seconds of a row with as many requests as run at once, and its load (the head of this file).
row_seconds() {  # KIND IN/OUT
  local table="128/128:20:27 128/2048:74:72 128/4096:109:123 500/2000:77:76 1000/1000:56:48 2048/128:34:26 2048/2048:84:85 5000/500:47:41 20000/2000:102:116"
  local one
  for one in $table; do
    case $one in "$2":*) one=${one#*:}; if [ "$1" = fp8 ]; then echo "${one%:*}"; else echo "${one#*:}"; fi; return ;; esac
  done
  echo 60
}
nine_rows() {
  local one in out name
  for one in $ROWS; do
    in=${one%/*} out=${one#*/} name=throughput.$(name_of "$1").$2.${one%/*}.${one#*/}
    [ $((in + out)) -le "$(context "$1")" ] || { echo "  $name: left out, longer than the model's context"; continue; }
    affords "$name" "$(row_seconds "$2" "$one")" || continue
    # shellcheck disable=SC2086
    row "$name" "$LATHE" bench throughput "$(engine "$1" "$2")" $RUN_FLAGS $BATCH_FLAGS --requests "$(requests "$2" "$in" "$out")" \
      --input-len "$in" --output-len "$out" --concurrency "${CONCURRENCY:-4096}" --step-tokens "${STEP_TOKENS:-8192}" \
      --context $((in + out + 1)) --json "$RESULTS/$name.json"
  done
}
section_throughput() { each_engine nine_rows; }

host() {
  # shellcheck disable=SC2086
  row "host.$(name_of "$1").$2" "$LATHE" bench throughput "$(engine "$1" "$2")" $RUN_FLAGS $BATCH_FLAGS --requests $((4 * STREAMS)) \
    --input-len 128 --output-len 256 --concurrency "$STREAMS" --context 1024 --json "$RESULTS/host.$(name_of "$1").$2.json"
}
section_host() { each_engine host; }

serve() {
  local name server ready='' port=18473
  name=serve.$(name_of "$1").$2
  # shellcheck disable=SC2086
  "$LATHE" serve "$(engine "$1" "$2")" $RUN_FLAGS $BATCH_FLAGS --port $port --max-sequences "$STREAMS" --context 1024 --log-level warn \
    > "$RESULTS/$name.server.log" 2>&1 & server=$!
  for _ in $(seq 1200); do
    kill -0 $server 2> /dev/null || break
    if python3 -c "import urllib.request; urllib.request.urlopen('http://127.0.0.1:$port/readyz', timeout=1)" 2> /dev/null; then
      ready=1
      break
    fi
    sleep 0.1
  done
  if [ -n "$ready" ]; then
    row "$name" "$LATHE" bench serving "http://127.0.0.1:$port" --concurrency "$STREAMS" --requests $((4 * STREAMS)) \
      --dataset random:128/256 --ignore-eos --vocab "${SERVE_VOCAB:-30000}" --warmup "$STREAMS" --threads 2 --json "$RESULTS/$name.json"
  else
    row "$name" tail -1 "$RESULTS/$name.server.log"
    echo '{"error": "the server did not start"}' > "$RESULTS/$name.json"
  fi
  kill $server 2> /dev/null
  wait $server 2> /dev/null
}
section_serve() { each_engine serve; }

section_peers() {
  local model
  model=${MODELS%% *}
  affords peers 170 || return
  # shellcheck disable=SC2086
  row "peers.$(name_of "$model")" "$PYTHON" bench/h200_peer.py "$(checkpoint "$model")/config.json" "$RESULTS" $PEER_FLAGS
  cat "$RESULTS/peers.$(name_of "$model").log" | grep ' batch ' | cut -c1-200
}

# Goes on where the time limit of an earlier call stopped it.
section_compare() {
  local model
  for model in $MODELS; do
    # shellcheck disable=SC2086
    row "compare.$(name_of "$model")" "$LATHE" bench compare "$(checkpoint "$model")" --with transformers --python "$PYTHON" --resume \
      --machine-name "${MACHINE:-NVIDIA H200}" --target "$TARGET" --repeats 1 --limit 60 $COMPARE_FLAGS -o "$WORK/compare.$(name_of "$model")" || continue
    cp -r "$WORK/compare.$(name_of "$model")" "$RESULTS"
  done
}

section_memory() {
  local model kind engines=()
  for model in $MODELS; do
    for kind in $KINDS; do [ -e "$(engine "$model" "$kind")" ] && engines+=(--engine "$(engine "$model" "$kind")"); done
  done
  row memory-run python3 tests/gpu/device_test.py --lathe "$LATHE" --only plan,idle --json "$RESULTS/memory.json" "${engines[@]}"
  grep -E '^(ok|FAIL)' "$RESULTS/memory-run.log" | cut -c1-300
}

section_kernels() {
  row kernels.gemm "$GPU_TEST" --lab gemm_bench "$RESULTS/kernels.gemm.json" step sweep
  row kernels.attention "$GPU_TEST" --lab attention_bench "$RESULTS/kernels.attention.json" decode prompt
  row kernels.small "$GPU_TEST" --lab small_bench "$RESULTS/kernels.small.json" time
}

section_table() { python3 bench/h200_table.py "$RESULTS"; }

if [ -n "$SECTION" ]; then
  "section_$SECTION"
  exit
fi
for section in $ONLY; do
  case " $ALL " in *" $section "*) ;; *) echo "h200: there is no section $section; they are: $ALL" >&2; exit 2 ;; esac
done
[ -x "$LATHE" ] || { echo "h200: $LATHE is missing; make portable builds it" >&2; exit 1; }
for section in $ONLY; do
  echo "$section"
  begin=$SECONDS
  timeout -k 15 "$LIMIT" "$0" --section "$section" --out "$RESULTS"
  code=$?
  [ $code -eq 124 ] && echo "  stopped after $LIMIT s"
  echo "  $((SECONDS - begin)) s"
  # All rows so far, whatever happens to the rest.
  python3 bench/h200_table.py "$RESULTS" --merge "$SUMMARY/h200.json" > "$SUMMARY/h200.md"
done
