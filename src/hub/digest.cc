#include "hub/digest.h"

#include <openssl/evp.h>

#include "base/file.h"

namespace lathe::hub {

Sha BeginDigest(DigestKind kind, uint64_t size) {
  if (kind == DigestKind::kSha256) return Sha(Sha::Kind::kSha256);
  Sha sha(Sha::Kind::kSha1);
  const std::string head = "blob " + std::to_string(size);
  sha.Update({head.c_str(), head.size() + 1});
  return sha;
}

std::string DigestOf(DigestKind kind, std::string_view bytes) {
  Sha sha = BeginDigest(kind, bytes.size());
  sha.Update(bytes);
  return sha.Finish();
}

Expected<std::string> DigestOfFile(DigestKind kind, const std::string& path) {
  LATHE_ASSIGN_OR_RETURN(const uint64_t size, FileSize(path));
  Sha sha = BeginDigest(kind, size);
  LATHE_RETURN_IF_ERROR(sha.UpdateFromFile(path));
  return sha.Finish();
}

std::string Base64(std::string_view bytes) {
  std::string out((bytes.size() + 2) / 3 * 4 + 1, '\0');  // OpenSSL writes a zero behind
  const int size =
      EVP_EncodeBlock(reinterpret_cast<unsigned char*>(out.data()),
                      reinterpret_cast<const unsigned char*>(bytes.data()), static_cast<int>(bytes.size()));
  out.resize(static_cast<size_t>(size));
  return out;
}

}  // namespace lathe::hub
