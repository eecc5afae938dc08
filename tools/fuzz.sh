#!/bin/bash
# Runs every libFuzzer program of a build folder for some seconds, starting from its seeds and from what earlier
# runs found. Usage: tools/fuzz.sh BUILD_DIR SECONDS_EACH
set -euo pipefail
build=$(realpath "$1") seconds=$2
cd "$(dirname "$0")/.."
mkdir -p "$build/crashes"
failed=()
for program in "$build"/tests/fuzz/fuzz_*; do
  [ -f "$program" ] && [ -x "$program" ] || continue
  name=$(basename "$program")
  corpus="$build/corpus/$name" seeds="tests/fuzz/corpus/${name#fuzz_}"
  mkdir -p "$corpus"
  echo "== $name, $seconds s"
  "$program" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=3072 -max_len=65536 -print_final_stats=1 \
    -verbosity=0 -artifact_prefix="$build/crashes/$name-" "$corpus" $([ -d "$seeds" ] && echo "$seeds") \
    2> "$build/crashes/$name.log" || failed+=("$name")
  grep -E 'number_of_executed_units|ERROR|SUMMARY|runtime error' "$build/crashes/$name.log" || true
done
if [ ${#failed[@]} -gt 0 ]; then
  echo "fuzz: ${failed[*]} failed; the inputs and logs are in $build/crashes" >&2
  exit 1
fi
echo "fuzz: nothing found"
