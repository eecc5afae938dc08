#!/bin/bash
# Packs into build/gpu what a machine with a GPU needs to test and to measure, when it cannot build: `lathe`, `gpu_test` and
# the libraries that are not glibc's. Everything else comes with a checkout of the repository, whose root the programs
# run from:
#
#   models/tales-16m  tests/golden  tests/data/text  bench/*.sh  bench/*.py  bench/configs  tests/gpu/sanitize.sh
#
# To carry beside the tracked files, ignored by git as they are: build/gpu.tar.xz (build/gpu in a few MB).
#
#   bench/gpu_bundle.sh            builds both first; BUILD=FOLDER another build than build/release
#
# There, from the repository's root:
#   tar xf build/gpu.tar.xz                                  unpacks build/gpu
#   build/gpu/gpu_test                                       all tests
#   tests/gpu/sanitize.sh build/gpu/gpu_test                 some of them under compute-sanitizer
#   bench/h200.sh --only info,synth,build,roof,latency       see the head of that file
set -euo pipefail
cd "$(dirname "$0")/.."
BUILD=${BUILD:-build/release}
[ -n "${NO_BUILD:-}" ] || cmake --build "$BUILD" --target lathe gpu_test
tools/portable.sh build/gpu "$BUILD/bin/lathe" "$BUILD/gpu_test"
tree=$(git ls-files -z --cached --others --exclude-standard | xargs -0 stat -c %s 2> /dev/null | awk '{ n += $1 } END { print n }')
tar cf - build/gpu | xz -T0 -4 > build/gpu.tar.xz
carried=$(stat -c %s build/gpu.tar.xz)
awk "BEGIN { printf \"tree %.1f MiB + build/gpu.tar.xz %.1f MiB = %.1f MiB\\n\", $tree / 2^20, $carried / 2^20, ($tree + $carried) / 2^20 }"
