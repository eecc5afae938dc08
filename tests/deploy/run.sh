#!/bin/bash
# The deployment suites against the program in $LATHE. Usage: tests/deploy/run.sh PYTHON (of the virtual environment)
set -euo pipefail
python=$(cd "$(dirname "${1:?usage: tests/deploy/run.sh PYTHON}")" && pwd)/$(basename "$1")
cd "$(dirname "$0")/../.."

failed=0
"$python" -m pytest -q --tb=short -p no:cacheprovider tests/deploy || failed=1
for overlay in base cpu spot; do
  "$python" tests/deploy/rolling.py "$overlay" || failed=1
done
exit "$failed"
