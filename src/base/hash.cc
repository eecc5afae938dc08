#include "base/hash.h"

#include <xxhash.h>

#include "base/status.h"

namespace lathe {

uint64_t Hash64(std::span<const std::byte> bytes, uint64_t seed) {
  return XXH3_64bits_withSeed(bytes.data(), bytes.size(), seed);
}

Hasher::Hasher() : state_(XXH3_createState()) { XXH3_128bits_reset(static_cast<XXH3_state_t*>(state_)); }
Hasher::~Hasher() { XXH3_freeState(static_cast<XXH3_state_t*>(state_)); }

void Hasher::Update(std::span<const std::byte> bytes) {
  XXH3_128bits_update(static_cast<XXH3_state_t*>(state_), bytes.data(), bytes.size());
}
void Hasher::Update(const std::string& text) { Update(std::as_bytes(std::span(text))); }

std::string Hasher::Hex() const {
  const XXH128_hash_t h = XXH3_128bits_digest(static_cast<XXH3_state_t*>(state_));
  return StrFormat("%016llx%016llx", static_cast<unsigned long long>(h.high64),
                   static_cast<unsigned long long>(h.low64));
}

uint64_t Hasher::Digest64() const { return XXH3_128bits_digest(static_cast<XXH3_state_t*>(state_)).low64; }

}  // namespace lathe
