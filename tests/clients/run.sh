#!/bin/bash
# The client suites against the program in $LATHE. Usage: tests/clients/run.sh PYTHON (of the virtual environment)
set -euo pipefail
python=$(cd "$(dirname "${1:?usage: tests/clients/run.sh PYTHON}")" && pwd)/$(basename "$1")
cd "$(dirname "$0")/../.."

"$python" -m pytest -q -p no:cacheprovider tests/clients/{openai,schema,stream_equal}_test.py

python3 tests/clients/playground_test.py
