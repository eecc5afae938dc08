#include "base/sha.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

#include "base/check.h"

namespace lathe {
namespace {

constexpr size_t kReadBytes = 1 << 20;

EVP_MD_CTX* Context(void* context) { return static_cast<EVP_MD_CTX*>(context); }

}  // namespace

Sha::Sha(Kind kind) : context_(EVP_MD_CTX_new()) {
  const EVP_MD* algorithm = kind == Kind::kSha256 ? EVP_sha256() : EVP_sha1();
  LATHE_CHECK(context_ != nullptr && EVP_DigestInit_ex(Context(context_), algorithm, nullptr) == 1);
}

Sha::~Sha() { EVP_MD_CTX_free(Context(context_)); }

Sha::Sha(Sha&& other) noexcept : context_(std::exchange(other.context_, nullptr)) {}

Sha& Sha::operator=(Sha&& other) noexcept {
  std::swap(context_, other.context_);
  return *this;
}

void Sha::Update(std::span<const std::byte> bytes) {
  LATHE_CHECK(EVP_DigestUpdate(Context(context_), bytes.data(), bytes.size()) == 1);
}

void Sha::Update(std::string_view text) { Update(std::as_bytes(std::span(text))); }

Status Sha::UpdateFromFile(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0)
    return Error(errno == ENOENT ? StatusCode::kNotFound : StatusCode::kIo, "cannot read '%s': %s",
                 path.c_str(), std::strerror(errno));
  std::vector<char> buffer(kReadBytes);
  ssize_t n = 0;
  while ((n = ::read(fd, buffer.data(), buffer.size())) != 0) {
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) break;
    Update(std::string_view(buffer.data(), static_cast<size_t>(n)));
  }
  const int error = errno;
  ::close(fd);
  if (n < 0) return Error(StatusCode::kIo, "cannot read '%s': %s", path.c_str(), std::strerror(error));
  return {};
}

std::string Sha::Finish() {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned size = 0;
  LATHE_CHECK(EVP_DigestFinal_ex(Context(context_), digest, &size) == 1);
  return HexText({digest, size});
}

Sha256Bytes Sha256Of(std::string_view text) {
  Sha256Bytes out;
  SHA256(reinterpret_cast<const unsigned char*>(text.data()), text.size(), out.data());
  return out;
}

std::string Sha256Hex(std::string_view text) { return HexText(Sha256Of(text)); }

std::string HexText(std::span<const unsigned char> bytes) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string out;
  for (const unsigned char byte : bytes) {
    out += kDigits[byte >> 4];
    out += kDigits[byte & 15];
  }
  return out;
}

}  // namespace lathe
