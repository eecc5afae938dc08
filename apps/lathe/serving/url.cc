#include "serving/url.h"

#include <algorithm>
#include <cctype>

#include "base/status.h"

namespace lathe::cli {
namespace {

bool IsPort(std::string_view text) {
  if (text.empty() || text.size() > 5 || !std::all_of(text.begin(), text.end(), ::isdigit)) return false;
  const int port = std::stoi(std::string(text));
  return port >= 1 && port <= 65535;
}

bool IsPlain(char c) { return c > ' ' && c < 0x7f; }

bool TakeSuffix(std::string_view suffix, std::string* text) {
  if (!text->ends_with(suffix)) return false;
  text->resize(text->size() - suffix.size());
  return true;
}

}  // namespace

std::string Url::HostHeader() const {
  const std::string shown = host.find(':') == std::string::npos ? host : "[" + host + "]";
  return port == (tls ? "443" : "80") ? shown : shown + ":" + port;
}

std::string Url::ToString() const { return (tls ? "https://" : "http://") + HostHeader() + path; }

Expected<Url> ParseUrl(std::string_view text) {
  const auto fault = [text](const char* found) {
    return Error(StatusCode::kInvalidArgument,
                 "expected an address like http://127.0.0.1:8000, but \"%s\" %s", std::string(text).c_str(),
                 found);
  };
  if (!std::all_of(text.begin(), text.end(), IsPlain)) return fault("has blanks or control characters");
  Url url;
  std::string_view rest = text;
  if (const size_t scheme = rest.find("://"); scheme != std::string_view::npos) {
    const std::string_view name = rest.substr(0, scheme);
    if (name != "http" && name != "https") return fault("is neither http nor https");
    url.tls = name == "https";
    rest.remove_prefix(scheme + 3);
  }
  const size_t slash = std::min(rest.find('/'), rest.size());
  std::string_view authority = rest.substr(0, slash);
  url.path = rest.substr(slash);
  if (url.path.find_first_of("?#") != std::string::npos) return fault("has a query");
  if (authority.find('@') != std::string_view::npos) return fault("has a user name; use --api-key-file");
  while (TakeSuffix("/", &url.path)) {
  }
  TakeSuffix("/v1", &url.path);

  std::string_view port;
  if (authority.starts_with('[')) {
    const size_t close = authority.find(']');
    if (close == std::string_view::npos) return fault("has no closing bracket");
    url.host = authority.substr(1, close - 1);
    port = authority.substr(close + 1);
  } else {
    const size_t colon = std::min(authority.find(':'), authority.size());
    url.host = authority.substr(0, colon);
    port = authority.substr(colon);
  }
  if (url.host.empty()) return fault("names no host");
  if (port.empty()) {
    url.port = url.tls ? "443" : "80";
  } else if (port.front() == ':' && IsPort(port.substr(1))) {
    url.port = port.substr(1);
  } else {
    return fault("has a port that is not in [1, 65535]");
  }
  return url;
}

}  // namespace lathe::cli
