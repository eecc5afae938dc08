#include "serve/http/keys.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

#include <algorithm>
#include <array>
#include <utility>

#include "base/check.h"
#include "base/clock.h"
#include "serve/http/fields.h"

namespace lathe::serve {
namespace {

constexpr double kFailureBurst = 30, kFailuresPerSecond = 1;
constexpr size_t kAddresses = 4096;  // remembered

}  // namespace

KeyHash HashKey(std::string_view key) { return Sha256Of(key); }

std::string KeyHashHex(const KeyHash& hash) { return HexText(hash); }

Expected<KeyHash> ParseKeyHash(std::string_view hex) {
  KeyHash out;
  bool good = hex.size() == 2 * out.size();
  for (size_t i = 0; good && i < out.size(); ++i) {
    const int high = HexDigit(hex[2 * i]), low = HexDigit(hex[2 * i + 1]);
    good = high >= 0 && low >= 0;
    out[i] = static_cast<unsigned char>(good ? high * 16 + low : 0);
  }
  if (good) return out;
  return Error(StatusCode::kInvalidArgument,
               "a key's sha256 must be 64 hex digits (see: lathe keys new NAME)");
}

Expected<std::string> NewKey() {
  std::array<unsigned char, 33> random{};  // a multiple of 3, so that base64 needs no padding
  if (RAND_bytes(random.data(), static_cast<int>(random.size())) != 1) {
    return Error(StatusCode::kIo, "the system gave no random bytes for a key");
  }
  std::array<unsigned char, 45> text{};
  EVP_EncodeBlock(text.data(), random.data(), static_cast<int>(random.size()));
  std::string key = "lathe-" + std::string(reinterpret_cast<const char*>(text.data()), 43);
  std::replace(key.begin() + 6, key.end(), '+', '_');
  std::replace(key.begin() + 6, key.end(), '/', '-');
  return key;
}

KeyRing::KeyRing(std::vector<KeyEntry> keys) {
  LATHE_CHECK_EQ(RAND_bytes(secret_.data(), static_cast<int>(secret_.size())), 1);
  Replace(std::move(keys));
}

void KeyRing::Replace(std::vector<KeyEntry> entries) {
  auto keys = std::make_shared<std::vector<Key>>();
  for (KeyEntry& entry : entries) {
    unsigned char salt[EVP_MAX_MD_SIZE];
    unsigned int salt_size = 0;
    HMAC(EVP_sha256(), secret_.data(), static_cast<int>(secret_.size()), entry.hash.data(), entry.hash.size(),
         salt, &salt_size);
    Principal who;
    who.name = std::move(entry.name);
    who.salt = HexText({salt, salt_size});
    who.priority_cap = entry.priority_cap;
    who.max_concurrent = entry.max_concurrent;
    who.max_tokens_per_minute = entry.max_tokens_per_minute;
    keys->push_back({entry.hash, std::move(who)});
  }
  const std::lock_guard lock(mutex_);
  keys_ = std::move(keys);
}

size_t KeyRing::size() const {
  const std::lock_guard lock(mutex_);
  return keys_->size();
}

bool KeyRing::TooManyFailures(std::string_view address, double now) {
  const std::lock_guard lock(mutex_);
  auto it = failures_.find(address);
  if (it == failures_.end()) {
    if (failures_.size() >= kAddresses) {
      std::erase_if(failures_, [&](const auto& item) { return now - item.second.updated > 60; });
      if (failures_.size() >= kAddresses) failures_.clear();
    }
    it = failures_.emplace(std::string(address), Failures{kFailureBurst, now}).first;
  }
  Failures& failures = it->second;
  failures.tokens = std::min(kFailureBurst, failures.tokens + (now - failures.updated) * kFailuresPerSecond);
  failures.updated = now;
  if (failures.tokens < 1) return true;
  failures.tokens -= 1;
  return false;
}

Authenticator::Verdict KeyRing::Authorize(std::string_view key, std::string_view client_address) {
  std::shared_ptr<const std::vector<Key>> keys;
  {
    const std::lock_guard lock(mutex_);
    keys = keys_;
  }
  const KeyHash hash = HashKey(key);
  const Key* found = nullptr;
  for (const Key& candidate : *keys) {
    if (CRYPTO_memcmp(candidate.hash.data(), hash.data(), hash.size()) == 0) found = &candidate;
  }
  if (found != nullptr && !key.empty()) return {.principal = found->principal};
  return {.principal = std::nullopt, .too_many_failures = TooManyFailures(client_address, NowSeconds())};
}

}  // namespace lathe::serve
