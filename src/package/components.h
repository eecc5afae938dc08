// What an image holds, as an SBOM lists it.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/status.h"

namespace lathe::package {

enum class ComponentKind {
  kStatic,   // an archive linked into the program
  kHeaders,  // code compiled into the program
  kShared,   // a library that the program loads
  kData,     // a file that it reads: engine, certificates
};

struct Component {
  std::string name = {};
  std::string version = {};  // empty: unknown
  std::string license = {};  // an SPDX expression; empty: unknown
  ComponentKind kind = ComponentKind::kShared;
  std::string file = {};    // in the image, or what the checksum is of; for kShared of the built-in list: how
                            // file names begin, several separated by blanks
  std::string sha256 = {};  // of `file`; empty: none
  std::string purl = {};    // pkg:deb/debian/...; empty: unknown
};

// What the program itself was made of, as its build wrote it down.
Expected<std::vector<Component>> BuiltInComponents();

// A package of dpkg's database that owns a file.
struct DebianPackage {
  std::string name, version, source;
};

// The packages that own `paths` (both the path and, on merged-/usr systems, the one without /usr); what no
// package owns is absent. `database`: /var/lib/dpkg. Where there is none: empty.
std::map<std::string, DebianPackage> OwnersOf(const std::vector<std::string>& paths,
                                              const std::string& database = "/var/lib/dpkg");

// "pkg:deb/debian/glibc@2.36-9?arch=source", of this machine's distribution; "" when that is unknown.
std::string PurlOf(const DebianPackage& package);

// Describes one shared library of the image: version and origin from dpkg where it is dpkg's, else from
// `built_in`, else from its file name; licence from `built_in`, or NVIDIA's for NVRTC.
Component DescribeLibrary(const std::string& host_path, const std::string& image_path,
                          const std::vector<Component>& built_in,
                          const std::map<std::string, DebianPackage>& owners);

}  // namespace lathe::package
