#!/bin/bash
# Whether what tools/portable.sh made starts where nothing of the build machine is but glibc: in a root of its own that
# holds FOLDER, glibc and a model. Needs root, or a kernel that lets users have one of their own.
#
#   tests/tools/portable_test.sh FOLDER        (default build/portable)
set -euo pipefail
cd "$(dirname "$0")/../.."
folder=${1:-build/portable}
[ -x "$folder/lathe" ] || { echo "portable_test: $folder/lathe is missing; make portable builds it" >&2; exit 1; }
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
mkdir -p "$root/opt" "$root/tmp" "$root/models" "$root/proc/self"
ln -s /opt/lathe/lathe "$root/proc/self/exe"  # by which the loader knows where the program lies
cp -r "$folder" "$root/opt/lathe"
cp -rL models/tales-16m "$root/models/"
# glibc's files alone, where the loader looks for them.
for name in ld-linux-x86-64.so.2 ld-linux-aarch64.so.1 libc.so.6 libm.so.6 libdl.so.2 libpthread.so.0 librt.so.1 libresolv.so.2 libutil.so.1 libanl.so.1; do
  path=$(ldconfig -p | awk -v name="$name" '$1 == name && !seen++ { print $NF }')
  [ -n "$path" ] || continue
  mkdir -p "$root$(dirname "$path")"
  cp -L "$path" "$root$path"
done
loader=$(readelf -l "$folder/lathe" | sed -n 's/.*interpreter: \(.*\)\]/\1/p')
mkdir -p "$root$(dirname "$loader")"
cp -L "$loader" "$root$loader"

inside() {
  if [ "$(id -u)" -eq 0 ]; then chroot "$root" "$@"; else unshare --map-root-user --root="$root" "$@"; fi
}
if ! inside /opt/lathe/lathe version > /dev/null 2> "$root/tmp/why" && [ "$(id -u)" -ne 0 ] && grep -q unshare "$root/tmp/why"; then
  echo "portable_test: not run, it needs root here: $(cat "$root/tmp/why")"
  exit 0
fi
version=$(inside /opt/lathe/lathe version)
export HOME=$root XDG_CACHE_HOME=/tmp
tale=(run models/tales-16m "Once upon a time" --temperature 0 --max-tokens 8 -q)
text=$(inside /opt/lathe/lathe "${tale[@]}" 2> "$root/tmp/why") || { echo "portable_test: it does not run there: $(cat "$root/tmp/why")" >&2; exit 1; }
here=$(XDG_CACHE_HOME=$root/tmp/here "$folder/lathe" "${tale[@]}" 2> /dev/null)
[ "$text" = "$here" ] || { echo "portable_test: there it says '$text', here '$here'" >&2; exit 1; }
echo "starts and tells its tale with glibc alone: ${version%%$'\n'*}, $(du -shL "$folder" | cut -f1)"
