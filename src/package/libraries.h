// The shared libraries of a program, found as the loader (ld.so(8)) finds them, and where they have to lie in
// an image so that the loader there finds them again.
#pragma once

#include <string>
#include <vector>

#include "base/status.h"

namespace lathe::package {

struct LibraryFile {
  std::string soname;
  std::string host_path;
  std::string image_path;
};

struct ProgramFiles {
  std::string architecture;  // "amd64", "arm64"
  LibraryFile interpreter;
  std::vector<LibraryFile> libraries;  // without it, ascending by soname
};

// `program` will be `image_path` ("/usr/bin/lathe") in the image. Libraries that run path $ORIGIN names keep
// their place relative to it, others the place they have here. `library_path`: as LD_LIBRARY_PATH, "" for
// none. Errors: kNotFound for a library that is nowhere, with who needs it; kUnsupported for a program
// without a loader (one that is linked statically has none) and what ParseElf says.
Expected<ProgramFiles> FindLibraries(const std::string& program, const std::string& image_path,
                                     const std::string& library_path);

}  // namespace lathe::package
