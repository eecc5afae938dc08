// Small parsers of what stands in a request's head. All take foreign bytes; none fails loudly.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace lathe::serve {

// [A-Za-z0-9._-]{1,64}: what a client may choose as X-Request-Id.
bool IsRequestId(std::string_view text);
// 24 hex digits, unlike any other of this process and (by 64 random bits) of others.
std::string NewRequestId();

// The trace id (32 hex digits) of a well-formed W3C traceparent
// (https://www.w3.org/TR/trace-context/#traceparent-header); "" otherwise.
std::string TraceId(std::string_view traceparent);

// Value of `Authorization` into the key it carries: after "Bearer ", or in "Basic " the password (the user's
// name when the password is empty). nullopt: another scheme, or not well-formed.
std::optional<std::string> KeyOfAuthorization(std::string_view value);

struct Target {
  std::string path;   // percent-decoded; begins with '/', or is "*"
  std::string query;  // raw
};
// Splits and decodes a request target (origin or absolute form). nullopt: bad escapes, a zero byte, or no
// path.
std::optional<Target> ParseTarget(std::string_view target);

// The host of a `Host` header without its port and brackets, lower case.
std::string HostName(std::string_view host);
// An IP literal, "localhost" or a name below it: no name that somebody else's DNS could point at this
// machine.
bool IsLocalHostName(std::string_view host);

// Value of a hexadecimal digit, -1 for any other character.
int HexDigit(char c);

bool EqualsIgnoreCase(std::string_view a, std::string_view b);

}  // namespace lathe::serve
