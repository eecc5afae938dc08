// The address of a server under test.
#pragma once

#include <string>
#include <string_view>

#include "lathe/status.h"

namespace lathe::cli {

struct Url {
  bool tls = false;
  std::string host;  // without the brackets of an IPv6 address
  std::string port;
  std::string path;  // what stands before "/v1": "" or "/base", without a slash at its end

  // "host" or "host:port", as the Host header has it.
  std::string HostHeader() const;
  // "https://host:port/base".
  std::string ToString() const;
};

// "http://host:8000", "https://host/base", "host:8000", "[::1]:8000"; a "/v1" at the end, as clients' base
// URLs have it, is taken off. Errors: kInvalidArgument quoting the text.
Expected<Url> ParseUrl(std::string_view text);

}  // namespace lathe::cli
