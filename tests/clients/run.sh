#!/bin/bash
# The client suites against the program in $LATHE. Usage: tests/clients/run.sh PYTHON (of the virtual environment)
set -euo pipefail
python=$(cd "$(dirname "${1:?usage: tests/clients/run.sh PYTHON}")" && pwd)/$(basename "$1")
cd "$(dirname "$0")/../.."

failed=0
"$python" -m pytest -q --tb=short -p no:cacheprovider tests/clients/{openai,schema,stream_equal}_test.py || failed=1

# The playground needs Chromium, which is no Python package.
if command -v chromium > /dev/null || command -v chromium-browser > /dev/null; then
  python3 tests/clients/playground_test.py || failed=1
else
  echo "clients: chromium is missing, so the playground was not tested (apt-get install chromium)" >&2
fi
exit "$failed"
