// Writes safetensors files as a stream, in one file or in shards with an index.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/status.h"
#include "tensor/dtype.h"
#include "tensor/shape.h"

namespace lathe {

struct TensorInfo {
  std::string name;
  DType dtype = DType::kBf16;
  Shape shape;
};

// All tensors are declared first, then their bytes are appended in that order, in pieces of any size. Nothing
// has its final name before Commit; a writer that is destroyed before leaves nothing. Not thread-safe.
class SafetensorsWriter {
 public:
  // Files are `stem`.safetensors, or `stem`-00001-of-0000N.safetensors and `stem`.safetensors.index.json when
  // the tensors exceed `max_shard_bytes` (0: never). A tensor is never cut between shards. Errors: kIo, or
  // kInvalidArgument for a shape without a size or a name given twice.
  static Expected<SafetensorsWriter> Create(const std::string& stem, std::vector<TensorInfo> tensors,
                                            uint64_t max_shard_bytes);

  // The next bytes. kInternal when they exceed what was declared.
  Status Append(std::span<const std::byte> bytes);
  // Gives the files their names. kInternal when bytes are missing.
  Status Commit();
  uint64_t total_bytes() const { return total_bytes_; }

 private:
  struct Shard {
    size_t first = 0, last = 0;  // tensors [first, last)
    uint64_t bytes = 0;
    std::string path;
  };
  SafetensorsWriter() = default;
  Status OpenNextShard();
  std::string Header(const Shard& shard) const;
  std::string Index() const;

  std::string stem_;
  std::vector<TensorInfo> tensors_;
  std::vector<uint64_t> sizes_;
  std::vector<Shard> shards_;
  std::vector<AtomicFile> files_;  // one for each shard begun
  uint64_t room_ = 0;              // bytes the current shard still wants
  uint64_t total_bytes_ = 0;
};

}  // namespace lathe
