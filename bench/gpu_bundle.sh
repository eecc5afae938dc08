#!/bin/bash
# Packs into build/gpu what a machine with a GPU needs to test and to measure, when it cannot build: `lathe`, `gpu_test` and
# the libraries that are not glibc's. Everything else comes with a checkout of the repository, whose root the programs
# run from:
#
#   models/tales-16m  tests/golden  tests/data/text  bench/*.sh  bench/*.py  bench/configs  tests/gpu/sanitize.sh
#
# To carry beside the tracked files, all of it ignored by git: build/gpu.
#
#   bench/gpu_bundle.sh            builds both first; BUILD=FOLDER another build than build/release
#
# There, from the repository's root:
#   build/gpu/gpu_test                                       all tests
#   tests/gpu/sanitize.sh build/gpu/gpu_test                 some of them under compute-sanitizer
#   bench/h200.sh --only info,synth,build,roof,latency       see the head of that file
set -euo pipefail
cd "$(dirname "$0")/.."
BUILD=${BUILD:-build/release}
cmake --build "$BUILD" --target lathe gpu_test
tools/portable.sh build/gpu "$BUILD/bin/lathe" "$BUILD/gpu_test"
tree=$(git ls-files -z --cached --others --exclude-standard | xargs -0 stat -c %s 2> /dev/null | awk '{ n += $1 } END { print n }')
carried=$(find build/gpu -type f -print0 | xargs -0 stat -c %s | awk '{ n += $1 } END { print n }')
awk "BEGIN { printf \"tree %.1f MB + build/gpu %.1f MB = %.1f MB\\n\", $tree / 1e6, $carried / 1e6, ($tree + $carried) / 1e6 }"
