// Addresses: taking them apart, following references, escaping path segments.
#pragma once

#include <string>
#include <string_view>

#include "base/status.h"

namespace lathe::hub {

struct Url {
  bool tls = false;
  std::string user_info;  // "user:password" of a proxy's address, unescaped; not part of Origin()
  std::string host;       // lower case, without the brackets of an IPv6 address
  int port = 0;
  std::string target;  // path and query, starts with '/'; a fragment is dropped

  // "example.com", "example.com:8080", "[::1]:8080": the Host header, and what CONNECT names when
  // `with_port`.
  std::string Authority(bool with_port = false) const;
  // "https://example.com": scheme, host and port, which decide whether a token may be sent along.
  std::string Origin() const;
  std::string ToString() const { return Origin() + target; }
  // Without the query, in which signed addresses carry their signature: for messages.
  std::string Shown() const;
};

// "http://..." or "https://...". Errors: kInvalidArgument quoting the text.
Expected<Url> ParseUrl(std::string_view text);

// What a Location or Link header at `base` means: an absolute address, "//host/path", "/path", "?query" or a
// path relative to base's. Errors: as ParseUrl; kInvalidArgument for other schemes.
Expected<Url> ResolveReference(const Url& base, std::string_view reference);

// Percent-escapes all but unreserved characters (RFC 3986) and, with `keep_slashes`, '/'.
std::string Escape(std::string_view text, bool keep_slashes);
// The reverse. A '%' without two digits stays.
std::string Unescape(std::string_view text);

}  // namespace lathe::hub
