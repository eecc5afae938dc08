// The compiled kernels of an engine as one blob ("kernels"): a line of JSON that lists them, then the cubins.
//
//   {"target": "sm_90a", "driver": 13000, "kernels": [{"entry": "…", "offset": 0, "size": 9000, "registers":
//   128, …}]}\n
//
// Offsets are from the byte behind the line, which stands at a multiple of 64 as all cubins do.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "kernels/cuda/kernel_source.h"

namespace lathe::cuda {

// `driver`: the oldest driver interface that loads them (the version of the compiler), 13000 for 13.0.
std::string PackKernels(const std::vector<CompiledKernel>& kernels, const std::string& target, int driver);

// What a blob holds; views into it.
class KernelBlob {
 public:
  struct Entry {
    std::string entry;
    std::span<const std::byte> cubin;
    KernelResources resources;
  };
  // kCorrupt for anything malformed or out of bounds. `where` names the file. The bytes must outlive this.
  static Expected<KernelBlob> Parse(std::span<const std::byte> bytes, std::string_view where);

  const std::string& target() const { return target_; }
  int driver() const { return driver_; }
  const std::vector<Entry>& entries() const { return entries_; }
  // nullptr when there is none of that name.
  const Entry* Find(std::string_view entry) const;

 private:
  static Expected<KernelBlob> Read(std::span<const std::byte> bytes, const std::string& place);

  std::string target_;
  int driver_ = 0;
  std::vector<Entry> entries_;
};

}  // namespace lathe::cuda
