// What the loader reads of a program or a shared library: 64-bit little-endian ELF, dynamic section only.
// (System V ABI, chapters 4 and 5.) Every offset is checked, so any bytes may be given.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace lathe::package {

struct ElfInfo {
  std::string architecture;  // as container images name it: "amd64", "arm64"
  std::string interpreter;   // of a program: the loader, "/lib64/ld-linux-x86-64.so.2"; empty: none
  std::string soname;
  std::vector<std::string> needed;  // sonames, in order
  // Colon-separated folders, $ORIGIN not expanded. The loader ignores rpath where there is a runpath.
  std::string rpath, runpath;
};

// `where` names the file in messages. kUnsupported for another kind of ELF or another machine; kCorrupt for
// what contradicts itself, or is no ELF.
Expected<ElfInfo> ParseElf(std::span<const std::byte> bytes, std::string_view where);
Expected<ElfInfo> ReadElf(const std::string& path);

}  // namespace lathe::package
