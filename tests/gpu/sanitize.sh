#!/bin/bash
# A part of the GPU tests under compute-sanitizer. Run from anywhere, on a GPU machine.
#
#   tests/gpu/sanitize.sh [PROGRAM]      (default build/release/gpu_test)
#
# TOOLS    which tools (default "memcheck racecheck"); initcheck and synccheck are there too
# FILTERS  tests of gpu_test, one run each, as many as fit (default: every kernel of a small model few times, in bf16 and in fp8; then
#          golden models, which racecheck does not get through in this time; then preemption)
# BUDGET   seconds for everything (default 90), shared evenly by what is left of the tools
# OUT      folder for the logs (default build/sanitize)
#
# A run that is stopped when its time is over shows nothing of what it had found, so each is small; a line for each says what it
# was, and the summary how many tests passed under each tool.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit
program=${1:-build/release/gpu_test}
OUT=${OUT:-build/sanitize} TOOLS=${TOOLS:-memcheck racecheck} BUDGET=${BUDGET:-90}
FILTERS=${FILTERS:-Small/*bf16 Small/*fp8 Small/*_128 Families/*gpu_llama3_tied Families/*gpu_mistral_window Families/*gpu_qwen3 Families/*gpu_qwen2_window GpuEngine.Preempted*}
[ -x "$program" ] || { echo "sanitize: $program is missing; make test-gpu builds it" >&2; exit 1; }
sanitizer=$(command -v compute-sanitizer || ls /usr/local/cuda*/bin/compute-sanitizer 2> /dev/null | head -1)
[ -n "$sanitizer" ] || { echo "sanitize: compute-sanitizer is missing; it comes with CUDA's toolkit" >&2; exit 1; }
mkdir -p "$OUT"
end=$((EPOCHSECONDS + BUDGET)) failed=0
# shellcheck disable=SC2206
tools=($TOOLS)
for i in "${!tools[@]}"; do
  tool=${tools[i]} passed=0 faults=0 flags=
  [ "$tool" = racecheck ] && flags="--racecheck-deadlock-timeout 5000"  # names the kernel that waits for ever
  tool_end=$((EPOCHSECONDS + (end - EPOCHSECONDS) / (${#tools[@]} - i)))
  for filter in $FILTERS; do
    left=$((tool_end - EPOCHSECONDS))
    [ $left -ge 5 ] || { echo "$tool: no time left for $filter"; continue; }
    log=$OUT/$tool.${filter//[^A-Za-z0-9_]/}.log begin=$EPOCHREALTIME
    # shellcheck disable=SC2086
    timeout -k 5 "$left" "$sanitizer" --tool "$tool" $flags --target-processes all --error-exitcode 9 --print-limit 20 \
      "$program" --gtest_filter="$filter" > "$log" 2>&1
    code=$?
    seconds=$(awk "BEGIN { printf \"%.1f\", $EPOCHREALTIME - $begin }")
    if [ $code -eq 124 ]; then
      echo "$tool $filter: not done after $seconds s"
      break  # those behind it take longer
    fi
    passed=$((passed + $(grep -cE '^\[       OK' "$log")))
    echo "$tool $filter: exit code $code after $seconds s; $(grep -E 'ERROR SUMMARY|RACECHECK SUMMARY' "$log" | sort -u | tr -s ' ' | tr '\n' ';')"
    [ $code -eq 0 ] && continue
    faults=$((faults + 1))
    grep -E 'Invalid|Race|hazard|Uninitialized|FAILED|=========     at' "$log" | head -20
  done
  echo "$tool: $passed tests passed, $faults runs with faults"
  [ $faults -eq 0 ] && [ $passed -gt 0 ] || failed=1
done
exit $failed
