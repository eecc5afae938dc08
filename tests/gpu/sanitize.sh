#!/bin/bash
# A part of the GPU tests under compute-sanitizer: memcheck, then racecheck. Run from anywhere, on a GPU machine.
#
#   tests/gpu/sanitize.sh [PROGRAM]      (default build/release/gpu_test)
#
# TOOLS    which tools (default "memcheck racecheck"); initcheck and synccheck are there too
# FILTER   which tests (default: sampling and small kernels, one golden model, chunks in deterministic mode)
# SECONDS_EACH  limit for one tool (default 240)
# OUT      folder for the logs (default build/sanitize)
set -uo pipefail
cd "$(dirname "$0")/../.."
program=${1:-build/release/gpu_test}
OUT=${OUT:-build/sanitize} TOOLS=${TOOLS:-memcheck racecheck} SECONDS_EACH=${SECONDS_EACH:-240}
FILTER=${FILTER:-'Lab/*small_bench:Families/*llama3_tied:Families/*mistral_window:GpuDeterminism.Logits*:GpuEngine.Preempted*'}
[ -x "$program" ] || { echo "sanitize: $program is missing; make test-gpu builds it" >&2; exit 1; }
sanitizer=$(command -v compute-sanitizer || ls /usr/local/cuda*/bin/compute-sanitizer 2> /dev/null | head -1)
[ -n "$sanitizer" ] || { echo "sanitize: compute-sanitizer is missing; it comes with CUDA's toolkit" >&2; exit 1; }
mkdir -p "$OUT"
failed=0
for tool in $TOOLS; do
  log=$OUT/$tool.log
  # The kernels' own checks run in child processes.
  timeout "$SECONDS_EACH" "$sanitizer" --tool "$tool" --target-processes all --error-exitcode 9 --print-limit 20 \
    "$program" --gtest_filter="$FILTER" > "$log" 2>&1
  code=$?
  summary=$(grep -E 'ERROR SUMMARY|RACECHECK SUMMARY' "$log" | sort | uniq -c | tr -s ' ' | tr '\n' ';')
  echo "$tool: exit code $code; ${summary:-no summary}; $(grep -cE '^\[       OK' "$log") tests passed"
  [ $code -eq 0 ] || { failed=1; grep -E 'Invalid|Race|hazard|FAILED|=========     at' "$log" | head -20; }
done
exit $failed
