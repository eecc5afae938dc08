#!/bin/bash
# Installs what a step needs and this machine lacks, with apt. Where apt or root is missing it says exactly
# what to install and exits 1. Usage: tools/bootstrap.sh build|test|python|clients|fuzz|tidy
set -euo pipefail

# package | what proves that it is there: a program, a header below an include folder, a library, a file, or a
# Python module
build_needs="g++|g++
cmake|cmake
ninja-build|ninja
ccache|ccache
libcli11-dev|CLI/CLI.hpp
nlohmann-json3-dev|nlohmann/json.hpp
libpcre2-dev|pcre2.h
libutf8proc-dev|utf8proc.h
libxxhash-dev|xxhash.h
libboost-dev|boost/beast.hpp
libssl-dev|openssl/ssl.h
libyaml-cpp-dev|yaml-cpp/yaml.h
zlib1g-dev|zlib.h
libspdlog-dev|spdlog/spdlog.h
prometheus-cpp-dev|prometheus/registry.h"
test_needs="$build_needs
libgtest-dev|libgtest.a
libgmock-dev|libgmock.a
libvalijson-dev|valijson/validator.hpp
clang-format|clang-format
git|git
curl|curl
openssl|openssl
python3|python3"
python_needs="$build_needs
python3-venv|import ensurepip
python3-dev|import sysconfig; open(sysconfig.get_path('include') + '/Python.h')"
clients_needs="python3-venv|import ensurepip
python3-dev|import sysconfig; open(sysconfig.get_path('include') + '/Python.h')
fonts-dejavu-core|/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf
chromium|chromium
kubernetes-client|kubectl
haproxy|/usr/sbin/haproxy
skopeo|skopeo
umoci|umoci
buildah|buildah
crun|crun"
fuzz_needs="$build_needs
clang|clang++
libclang-rt-14-dev|libclang_rt.fuzzer-$(uname -m).a"
tidy_needs="$test_needs
clang-tidy|clang-tidy"

needs="${1:?usage: tools/bootstrap.sh build|test|python|clients|fuzz|tidy}_needs"
[ -n "${!needs:-}" ] || { echo "bootstrap: unknown step '$1'" >&2; exit 2; }

present() {
  local dir
  case "$1" in
    import\ *) python3 -c "$1" 2> /dev/null && return 0 ;;
    /*) [ -e "$1" ] && return 0 ;;
    */*|*.h|*.hpp)
      for dir in /usr/include /usr/include/*-linux-gnu /usr/local/include; do [ -e "$dir/$1" ] && return 0; done ;;
    *.a)
      for dir in /usr/lib /usr/lib64 /usr/lib/*-linux-gnu /usr/local/lib /usr/lib/llvm-*/lib/clang/*/lib/linux; do
        [ -e "$dir/$1" ] && return 0
      done ;;
    *) command -v "$1" > /dev/null && return 0 ;;
  esac
  return 1
}

missing=()
while IFS='|' read -r package proof; do
  present "$proof" || missing+=("$package")
done <<< "${!needs}"
[ ${#missing[@]} -eq 0 ] && exit 0

if ! command -v apt-get > /dev/null; then
  echo "bootstrap: missing ${missing[*]} (Debian's names), and there is no apt here; install them and run this again" >&2
  exit 1
fi
if [ "$(id -u)" -ne 0 ]; then
  echo "bootstrap: missing ${missing[*]}; run this as root and then try again:" >&2
  echo "  apt-get install -y --no-install-recommends ${missing[*]}" >&2
  exit 1
fi
echo "bootstrap: installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
install() { apt-get install -y -qq --no-install-recommends "${missing[@]}" > /dev/null; }
if ! install 2> /dev/null; then
  apt-get update -qq
  install
fi
for package in "${missing[@]}"; do echo "  $package $(dpkg-query -W -f '${Version}' "$package")"; done
