#!/bin/bash
# Copies programs so that they run on another Linux whose glibc is as new as this one's: stripped, and with every
# library beside them that is not glibc's. Says what they need and how large they are; fails when more is needed.
#
#   tools/portable.sh FOLDER PROGRAM...
#
# A program that needs a library beside it must look there (run path $ORIGIN), as lathe does.
set -euo pipefail
folder=${1:?usage: portable.sh FOLDER PROGRAM...}
shift
glibc='^(ld-linux.*|libc|libm|libdl|libpthread|librt|libresolv|libutil|libanl)\.so\.[0-9]+$'
rm -f "$folder"/*.so.*
mkdir -p "$folder"
for program in "$@"; do
  name=$(basename "$program")
  strip -o "$folder/$name" "$program"
  ldd "$program" | awk '$2 == "=>" { print $1, $3 }' | while read -r library path; do
    [[ $library =~ $glibc ]] && continue
    [ -e "$path" ] || { echo "portable: $name needs $library, which is not on this machine" >&2; exit 1; }
    strip -o "$folder/$library" "$path"
  done
  # shellcheck disable=SC2016
  if readelf -d "$folder/$name" | grep NEEDED | sed 's/.*\[\(.*\)\]/\1/' | grep -qvE "$glibc"; then
    readelf -d "$folder/$name" | grep -qE 'RUNPATH.*\$ORIGIN' || { echo "portable: $name does not look for libraries beside it" >&2; exit 1; }
  fi
done
for file in "$folder"/*; do
  readelf -h "$file" > /dev/null 2>&1 || continue
  needed=
  for library in $(readelf -d "$file" | grep NEEDED | sed 's/.*\[\(.*\)\]/\1/'); do
    if [ -e "$folder/$library" ]; then needed+=" $library (beside it)"
    elif [[ $library =~ $glibc ]]; then needed+=" $library"
    else echo "portable: $(basename "$file") needs $library, which is not in $folder" >&2; exit 1; fi
  done
  version=$(readelf -V "$file" | grep -oE 'GLIBC_[0-9.]+' | sort -uV | tail -1)
  printf '%s: %.1f MB, %s or newer, needs%s\n' "$file" "$(stat -c %s "$file" | awk '{ print $1 / 1e6 }')" "$version" "$needed"
done
