// SHA-256, by which hubs, container images and API keys name content, and SHA-1, by which git does; computed
// by OpenSSL, with the processor's instructions for them where it has such.
#pragma once

#include <array>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include "base/status.h"

namespace lathe {

using Sha256Bytes = std::array<unsigned char, 32>;

// Of bytes that come in order. Movable. Not thread-safe.
class Sha {
 public:
  enum class Kind { kSha256, kSha1 };

  explicit Sha(Kind kind = Kind::kSha256);
  ~Sha();
  Sha(Sha&& other) noexcept;
  Sha& operator=(Sha&& other) noexcept;

  void Update(std::span<const std::byte> bytes);
  void Update(std::string_view text);
  // All of a file, from its beginning. Errors: kIo, kNotFound.
  Status UpdateFromFile(const std::string& path);
  // In lower-case hexadecimal digits. Once; nothing may be added afterwards.
  std::string Finish();

 private:
  void* context_;
};

Sha256Bytes Sha256Of(std::string_view text);
// 64 digits.
std::string Sha256Hex(std::string_view text);

// Two lower-case digits for each byte.
std::string HexText(std::span<const unsigned char> bytes);

}  // namespace lathe
