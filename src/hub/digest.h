// SHA-256, as LFS files are named, and git's name of a blob (SHA-1), as small files are.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/status.h"

namespace lathe::hub {

enum class DigestKind { kSha256, kGitBlob };

// Of bytes that come in order. Not thread-safe.
class Digest {
 public:
  // `size`: of all bytes that will come, which git puts in front of them.
  Digest(DigestKind kind, uint64_t size);
  ~Digest();
  Digest(const Digest&) = delete;
  Digest& operator=(const Digest&) = delete;

  void Update(std::string_view bytes);
  // In lower case hexadecimal digits. Ends it.
  std::string Hex();

 private:
  void* context_;
};

std::string DigestOf(DigestKind kind, std::string_view bytes);
// RFC 4648, padded, on one line.
std::string Base64(std::string_view bytes);

// Reads the whole file. Errors: kIo, kNotFound.
Expected<std::string> DigestOfFile(DigestKind kind, const std::string& path);

}  // namespace lathe::hub
