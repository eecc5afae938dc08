// API keys: hashes in, verdicts out. No key is ever kept or logged.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "base/sha.h"
#include "base/status.h"
#include "serve/http/auth.h"

namespace lathe::serve {

using KeyHash = Sha256Bytes;

// What the key file says of one key.
struct KeyEntry {
  std::string name;  // [A-Za-z0-9._-]{1,64}
  KeyHash hash{};
  int max_concurrent = 0;              // 0: no limit of its own
  uint64_t max_tokens_per_minute = 0;  // 0: no limit of its own
  int priority_cap = 0;
};

KeyHash HashKey(std::string_view key);
std::string KeyHashHex(const KeyHash& hash);
// 64 hex digits. kInvalidArgument otherwise.
Expected<KeyHash> ParseKeyHash(std::string_view hex);
// A fresh key of 256 random bits: "lathe-" and 43 characters of [A-Za-z0-9_-].
Expected<std::string> NewKey();

// Compares in constant time against every key, whoever asks. Principals get a salt derived from the key's
// hash and a secret of this process, so that prefixes cached under one key are never found under another.
//
// Failures are limited per address: after a burst of 30, one a second, the answer is 429 and not 401. A good
// key passes all the same, since many clients may stand behind one proxy's address.
class KeyRing final : public Authenticator {
 public:
  explicit KeyRing(std::vector<KeyEntry> keys);
  // Takes effect for the next request.
  void Replace(std::vector<KeyEntry> keys);
  Verdict Authorize(std::string_view key, std::string_view client_address) override;
  size_t size() const;

 private:
  struct Key {
    KeyHash hash{};
    Principal principal;
  };
  struct Failures {
    double tokens = 0, updated = 0;
  };
  bool TooManyFailures(std::string_view address, double now);

  KeyHash secret_{};
  mutable std::mutex mutex_;
  std::shared_ptr<const std::vector<Key>> keys_;           // guarded by mutex_
  std::map<std::string, Failures, std::less<>> failures_;  // guarded by mutex_
};

}  // namespace lathe::serve
