// Who may ask: the transport's question to whoever knows the keys.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "serve/message.h"

namespace lathe::serve {

class Authenticator {
 public:
  struct Verdict {
    std::optional<Principal> principal;  // none: refused
    bool too_many_failures = false;      // of this address: 429 rather than 401
  };
  virtual ~Authenticator() = default;
  // `key`: what the client presented, "" for nothing. Thread-safe; microseconds.
  virtual Verdict Authorize(std::string_view key, std::string_view client_address) = 0;
};

}  // namespace lathe::serve
