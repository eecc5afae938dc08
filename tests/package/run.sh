#!/bin/bash
# The packaging suites against the program in $LATHE; where images cannot be run, which it says, those of Trusses alone.
# Usage: tests/package/run.sh PYTHON [VENV]: of the virtual environment, and one where the Python package lathe is
# installed, for the Truss that has it inside.
set -euo pipefail
python=$(cd "$(dirname "${1:?usage: tests/package/run.sh PYTHON [VENV]}")" && pwd)/$(basename "$1")
installed=$(cd "${2:-/nonexistent}" 2> /dev/null && ls -d "$PWD"/lib/python3*/site-packages/lathe 2> /dev/null || true)
cd "$(dirname "$0")/../.."
LATHE_PYTHON_PACKAGE=$installed exec "$python" -m pytest -q --tb=short -rP -p no:cacheprovider tests/package
