#!/bin/bash
# Load and abuse of `lathe serve`, one line of JSON each (docs/reliability.md). LATHE: the program; SCALE: sizes, 1 being
# those of the document; TESTS: which.
set -uo pipefail
cd "$(dirname "$0")/../.."
failed=0
for name in ${TESTS:-streams overload edges drain chaos long_prompt mask_cost soak}; do
  python3 "tests/load/$name.py" || { echo "load: $name failed" >&2; failed=1; }
done
exit "$failed"
