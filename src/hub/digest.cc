#include "hub/digest.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <vector>

#include "base/check.h"
#include "base/file.h"

namespace lathe::hub {
namespace {

EVP_MD_CTX* Context(void* context) { return static_cast<EVP_MD_CTX*>(context); }

constexpr size_t kReadBytes = 1 << 20;

}  // namespace

Digest::Digest(DigestKind kind, uint64_t size) : context_(EVP_MD_CTX_new()) {
  const EVP_MD* algorithm = kind == DigestKind::kSha256 ? EVP_sha256() : EVP_sha1();
  LATHE_CHECK(context_ != nullptr && EVP_DigestInit_ex(Context(context_), algorithm, nullptr) == 1);
  if (kind == DigestKind::kGitBlob) {
    const std::string head = "blob " + std::to_string(size);
    Update({head.c_str(), head.size() + 1});
  }
}

Digest::~Digest() { EVP_MD_CTX_free(Context(context_)); }

void Digest::Update(std::string_view bytes) {
  LATHE_CHECK(EVP_DigestUpdate(Context(context_), bytes.data(), bytes.size()) == 1);
}

std::string Digest::Hex() {
  unsigned char raw[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  LATHE_CHECK(EVP_DigestFinal_ex(Context(context_), raw, &size) == 1);
  std::string out;
  for (unsigned int i = 0; i < size; ++i) out += StrFormat("%02x", raw[i]);
  return out;
}

std::string DigestOf(DigestKind kind, std::string_view bytes) {
  Digest digest(kind, bytes.size());
  digest.Update(bytes);
  return digest.Hex();
}

std::string Base64(std::string_view bytes) {
  std::string out((bytes.size() + 2) / 3 * 4 + 1, '\0');  // OpenSSL writes a zero behind
  const int size =
      EVP_EncodeBlock(reinterpret_cast<unsigned char*>(out.data()),
                      reinterpret_cast<const unsigned char*>(bytes.data()), static_cast<int>(bytes.size()));
  out.resize(static_cast<size_t>(size));
  return out;
}

Expected<std::string> DigestOfFile(DigestKind kind, const std::string& path) {
  LATHE_ASSIGN_OR_RETURN(const uint64_t size, FileSize(path));
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return Error(StatusCode::kIo, "cannot read '%s': %s", path.c_str(), std::strerror(errno));
  Digest digest(kind, size);
  std::vector<char> buffer(kReadBytes);
  ssize_t n = 0;
  while ((n = ::read(fd, buffer.data(), buffer.size())) != 0) {
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) break;
    digest.Update({buffer.data(), static_cast<size_t>(n)});
  }
  const int error = errno;
  ::close(fd);
  if (n < 0) return Error(StatusCode::kIo, "cannot read '%s': %s", path.c_str(), std::strerror(error));
  return digest.Hex();
}

}  // namespace lathe::hub
