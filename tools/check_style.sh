#!/bin/bash
# Style of the tracked files: clang-format, length, words that may not stay in a repository, and variables of the
# environment. Runs as a test.
set -euo pipefail
cd "$(dirname "$0")/.."
failed=0
fault() { echo "style: $*" >&2; failed=1; }

if ! command -v clang-format > /dev/null; then
  echo "style: clang-format is missing; apt-get install clang-format" >&2
  exit 1
fi
if [ -e .git ]; then list() { git ls-files --cached -- "$@"; }; else list() { find . -path ./build -prune -o -type f -print; }; fi
mapfile -t sources < <(list | grep -E '\.(cc|h)$')
mapfile -t texts < <(list | grep -E '(\.(cc|h|py|sh|cmake|md|toml|json)|CMakeLists\.txt|Makefile)$' \
  | grep -vE '^(\./)?(models|tests/data|tests/golden|tests/fuzz/corpus)/')

# Formatting: the version of Debian 12 decides.
if clang-format --version | grep -q 'version 14\.'; then
  printf '%s\n' "${sources[@]}" | xargs -r -P 2 -n 40 clang-format --dry-run -Werror 2> /tmp/lathe-style.$$ \
    || { grep -E 'error:' /tmp/lathe-style.$$ | cut -d: -f1 | sort | uniq -c | head -40 >&2
         fault "these files differ from clang-format; 'make format' mends them"; }
  rm -f /tmp/lathe-style.$$
else
  echo "style: formatting is only checked with clang-format 14, found $(clang-format --version)"
fi

# Length.
for file in "${sources[@]}"; do
  [ "$(wc -l < "$file")" -le 600 ] || fault "$file has $(wc -l < "$file") lines, at most 600 are allowed: split it"
done

# Words. This file has to name them.
mapfile -t texts < <(printf '%s\n' "${texts[@]}" | grep -v 'tools/check_style.sh')
forbid() {  # pattern, reason
  if grep -nEI "$1" "${texts[@]}" >&2; then fault "$2"; fi
}
forbid '\b(TODO|FIXME|XXX)\b|[Nn]ot (yet )?implemented' "finish it or leave it out"
forbid '(^|[^A-Za-z0-9_])/(work|opt/(peer|brief))/' "paths of one developer's machine"
forbid '^\s*#\s*if 0\b' "dead code"

# Variables of the environment that something reads: `lathe serve` refuses those that it does not know.
read -ra variables <<< "$(printf '%s\n' "${sources[@]}" | grep -vE '(_test\.cc|/testing/|test_data\.h)' | xargs grep -ohE 'getenv\("LATHE_[A-Z_]+"' | grep -oE 'LATHE_[A-Z_]+' | sort -u | tr '\n' ' ')"
for variable in "${variables[@]}"; do
  grep -q "\"$variable\"" src/serve/server/config.cc || fault "src/serve/server/config.cc does not know the variable $variable, so lathe serve would refuse it"
done
[ "$failed" -eq 0 ] && echo "style: ${#sources[@]} sources and ${#texts[@]} texts are in order"
exit "$failed"
