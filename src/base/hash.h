// Checksums of file blobs and cache keys: XXH3 (xxHash), 64 and 128 bits. Not cryptographic.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace lathe {

uint64_t Hash64(std::span<const std::byte> bytes, uint64_t seed = 0);

// Incremental 128-bit hash, printed as 32 hex digits.
class Hasher {
 public:
  Hasher();
  ~Hasher();
  Hasher(const Hasher&) = delete;
  Hasher& operator=(const Hasher&) = delete;
  void Update(std::span<const std::byte> bytes);
  void Update(const std::string& text);
  std::string Hex() const;
  uint64_t Digest64() const;

 private:
  void* state_;
};

}  // namespace lathe
