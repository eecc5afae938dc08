#include "serve/quote.h"

#include "base/status.h"

namespace lathe::serve {

std::string QuoteJson(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (byte < 0x20) {
      out += StrFormat("\\u%04x", byte);
    } else if (byte >= 0x7f) {
      out += '?';
    } else {
      out += c;
    }
  }
  return out += '"';
}

std::string ErrorJson(std::string_view message, std::string_view type, std::string_view code) {
  return "{\"error\":{\"message\":" + QuoteJson(message) + ",\"type\":" + QuoteJson(type) +
         ",\"param\":null,\"code\":" + QuoteJson(code) + "}}";
}

std::string_view ErrorType(int status) {
  switch (status) {
    case 401: return "authentication_error";
    case 403: return "permission_error";
    case 404: return "not_found_error";
    case 429: return "rate_limit_error";
    case 503: return "service_unavailable_error";
    default: return status < 500 ? "invalid_request_error" : "server_error";
  }
}

}  // namespace lathe::serve
