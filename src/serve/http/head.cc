#include "serve/http/head.h"

#include <ctime>

#include "base/status.h"
#include "serve/http/fields.h"

namespace lathe::serve {
namespace {

// RFC 9110's IMF-fixdate; formatted once a second.
std::string_view Date() {
  static thread_local std::time_t last = 0;
  static thread_local std::string text;
  const std::time_t now = std::time(nullptr);
  if (now != last) {
    static constexpr const char* kDays[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static constexpr const char* kMonths[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                              "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    std::tm utc{};
    gmtime_r(&now, &utc);
    text = StrFormat("%s, %02d %s %04d %02d:%02d:%02d GMT", kDays[utc.tm_wday], utc.tm_mday,
                     kMonths[utc.tm_mon], utc.tm_year + 1900, utc.tm_hour, utc.tm_min, utc.tm_sec);
    last = now;
  }
  return text;
}

// On every answer unless the handler says otherwise: a browser is to run nothing, frame nothing and keep
// nothing.
constexpr std::pair<std::string_view, std::string_view> kDefaults[] = {
    {"Cache-Control", "no-store"},
    {"Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"},
    {"Cross-Origin-Resource-Policy", "same-origin"},
    {"Referrer-Policy", "no-referrer"},
    {"X-Content-Type-Options", "nosniff"},
    {"X-Frame-Options", "DENY"},
};

void AddField(std::string* out, std::string_view name, std::string_view value) {
  const size_t start = out->size();
  out->append(name).append(": ").append(value);
  for (size_t i = start; i < out->size(); ++i) {
    char& c = (*out)[i];
    if (c == '\r' || c == '\n' || c == '\0') c = ' ';
  }
  out->append("\r\n");
}

}  // namespace

std::string_view ReasonPhrase(int status) {
  switch (status) {
    case 100: return "Continue";
    case 200: return "OK";
    case 201: return "Created";
    case 204: return "No Content";
    case 301: return "Moved Permanently";
    case 302: return "Found";
    case 304: return "Not Modified";
    case 400: return "Bad Request";
    case 401: return "Unauthorized";
    case 403: return "Forbidden";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 408: return "Request Timeout";
    case 413: return "Content Too Large";
    case 415: return "Unsupported Media Type";
    case 422: return "Unprocessable Content";
    case 429: return "Too Many Requests";
    case 431: return "Request Header Fields Too Large";
    case 500: return "Internal Server Error";
    case 501: return "Not Implemented";
    case 503: return "Service Unavailable";
    case 504: return "Gateway Timeout";
    case 505: return "HTTP Version Not Supported";
    default: return "Status";
  }
}

std::string FormatHead(const HeadOptions& options, const HeaderList& extra) {
  std::string out;
  out.reserve(640);
  out += StrFormat("HTTP/1.1 %d ", options.status);
  out.append(ReasonPhrase(options.status)).append("\r\n");
  AddField(&out, "Date", Date());
  if (!options.content_type.empty()) AddField(&out, "Content-Type", options.content_type);
  if (!options.content_length.empty()) AddField(&out, "Content-Length", options.content_length);
  if (options.chunked) AddField(&out, "Transfer-Encoding", "chunked");
  if (options.close) AddField(&out, "Connection", "close");
  if (options.keep_alive_1_0) AddField(&out, "Connection", "keep-alive");
  AddField(&out, "X-Request-Id", options.request_id);
  for (const auto& [name, value] : kDefaults) {
    bool replaced = false;
    for (const auto& given : extra) replaced = replaced || EqualsIgnoreCase(given.first, name);
    if (!replaced) AddField(&out, name, value);
  }
  if (options.tls) AddField(&out, "Strict-Transport-Security", "max-age=31536000");
  for (const auto& [name, value] : extra) AddField(&out, name, value);
  return out += "\r\n";
}

}  // namespace lathe::serve
