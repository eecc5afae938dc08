// gzip (RFC 1952) with a header that names no file and no time, so that equal bytes give equal bytes.
#pragma once

#include <memory>

#include "package/tar.h"

namespace lathe::package {

// Not thread-safe.
class GzipWriter {
 public:
  explicit GzipWriter(Sink sink);
  ~GzipWriter();

  Status Append(std::span<const std::byte> bytes);
  Status Finish();

 private:
  Status Deflate(std::span<const std::byte> bytes, bool last);
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace lathe::package
