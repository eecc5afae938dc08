// `lathe package`: an engine, or a model to be pulled at start, as something that others can run: a container
// image (OCI layout), a folder from which Docker builds the same, or a Truss. (docs/package.md)
#pragma once

#include <functional>
#include <string>

#include "base/status.h"
#include "package/image.h"

namespace lathe::package {

enum class Format { kOci, kDockerfile, kTruss };

struct PackageOptions {
  std::string engine;  // a file; empty with `pull`
  std::string pull;    // ORG/NAME of the hub: nothing is inside, the image pulls (and builds) at its start
  std::string output;  // a folder that does not exist yet
  Format format = Format::kOci;
  std::string program;       // the lathe inside; empty: the running one
  std::string library_path;  // as LD_LIBRARY_PATH
  std::string certificates;  // PEM file of CA certificates; empty: this machine's
  std::string nvrtc;         // folder of NVIDIA's run-time compiler, to go inside; empty: none
  bool cuda = false;         // with `pull`: for GPUs (an engine says itself what it is for)
  std::string tag = "latest";
  int port = 8000;
  Pairs environment;           // settings of the server, by their variables (LATHE_CONTEXT)
  Pairs labels;                // beside and over our own
  std::string python_package;  // truss: folder of the Python package `lathe`, to go inside; empty: from PyPI
  bool force = false;          // replace what an earlier run wrote
  uint64_t epoch = 0;          // SOURCE_DATE_EPOCH: the time of everything in it
  // Bytes written of those expected; may be empty.
  std::function<void(uint64_t done, uint64_t total)> progress;
};

struct PackageReport {
  std::string digest;          // of the manifest, "sha256:..."; oci only
  uint64_t total_bytes = 0;    // of all that was written
  uint64_t runtime_bytes = 0;  // of that, what is no engine; in an image as stored (compressed)
  uint64_t engine_bytes = 0;
  std::string architecture;
  std::string target;      // of the engine: "cpu:avx512"; empty: none inside
  std::string engine_for;  // "cpu:avx512, measured on Intel(R) Xeon(R)"; empty: none inside
};

// Writes options.output whole or not at all. Errors: kInvalidArgument for options that are wrong or
// contradict each other, and an output that is there; kCorrupt for a damaged engine; kNotFound for what is
// missing here (a library, certificates, NVRTC); kResourceExhausted for a full disk.
Expected<PackageReport> WritePackage(const PackageOptions& options);

}  // namespace lathe::package
