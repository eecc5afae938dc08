#!/bin/bash
# Installs the package of this clone into a virtual environment and tests it. $LATHE is the program that it is compared
# with. Usage: python/tests/run.sh PYTHON (of the virtual environment, with tests/requirements.txt)
set -euo pipefail
python=$(cd "$(dirname "${1:?usage: python/tests/run.sh PYTHON}")" && pwd)/$(basename "$1")
cd "$(dirname "$0")/../.."
# The compilers that CMake finds, and not those that Python was made with, whose objects ccache would keep apart.
export CC=${CC:-cc} CXX=${CXX:-c++}
# Without isolation the compilers' inputs lie where they lay last time, and only what has changed is compiled.
"$python" -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps --force-reinstall ./python
"$python" -m pytest -q --tb=short -p no:cacheprovider python/tests
