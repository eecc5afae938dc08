#include "hub/url.h"

#include <algorithm>
#include <cctype>
#include <vector>

#include "hub/names.h"

namespace lathe::hub {
namespace {

constexpr size_t kMaxUrl = 16 << 10;  // signed addresses of CDNs are some 2 KiB

bool IsUnreserved(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '_' || c == '.' || c == '~';
}

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

Status Fault(std::string_view text, const char* found) {
  return Error(StatusCode::kInvalidArgument, "expected an address like https://host/path, but '%s' %s",
               Quoted(text, 200).c_str(), found);
}

// "." and ".." taken out of a path (RFC 3986, 5.2.4).
std::string RemoveDots(std::string_view path) {
  std::vector<std::string_view> kept;
  size_t at = 1;
  bool slash_at_end = false;
  while (at <= path.size()) {
    const size_t end = std::min(path.find('/', at), path.size());
    const std::string_view part = path.substr(at, end - at);
    slash_at_end = part == "." || part == "..";
    if (part == "..") {
      if (!kept.empty()) kept.pop_back();
    } else if (part != ".") {
      kept.push_back(part);
    }
    at = end + 1;
  }
  std::string out;
  for (const std::string_view part : kept) out.append("/").append(part);
  if (slash_at_end || out.empty()) out += '/';
  return out;
}

Expected<int> ParsePort(std::string_view text, std::string_view whole) {
  int port = 0;
  for (const char c : text) {
    if (c < '0' || c > '9' || port > 65535) return Fault(whole, "has a port that is no number up to 65535");
    port = port * 10 + (c - '0');
  }
  if (port < 1 || port > 65535) return Fault(whole, "has a port that is not in [1, 65535]");
  return port;
}

Status ParseAuthority(std::string_view authority, std::string_view whole, Url* url) {
  if (const size_t at = authority.rfind('@'); at != std::string_view::npos) {
    url->user_info = Unescape(authority.substr(0, at));
    authority.remove_prefix(at + 1);
  }
  std::string_view port;
  if (authority.starts_with('[')) {
    const size_t close = authority.find(']');
    if (close == std::string_view::npos) return Fault(whole, "has no closing bracket");
    url->host = authority.substr(1, close - 1);
    port = authority.substr(close + 1);
    if (!port.empty() && port[0] != ':') return Fault(whole, "has something else than a port after ']'");
  } else {
    const size_t colon = std::min(authority.find(':'), authority.size());
    url->host = authority.substr(0, colon);
    port = authority.substr(colon);
  }
  if (url->host.empty()) return Fault(whole, "names no host");
  for (char& c : url->host) {
    const bool plain = IsUnreserved(c) || c == ':';
    if (!plain) return Fault(whole, "has a host with other characters than letters, digits, '-' and '.'");
    c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  }
  url->port = url->tls ? 443 : 80;
  if (port.size() > 1) {
    LATHE_ASSIGN_OR_RETURN(url->port, ParsePort(port.substr(1), whole));
  }
  return Status::Ok();
}

}  // namespace

std::string Url::Authority(bool with_port) const {
  const std::string shown = host.find(':') == std::string::npos ? host : "[" + host + "]";
  return !with_port && port == (tls ? 443 : 80) ? shown : shown + ":" + std::to_string(port);
}

std::string Url::Origin() const { return (tls ? "https://" : "http://") + Authority(); }

std::string Url::Shown() const { return Origin() + target.substr(0, target.find('?')); }

Expected<Url> ParseUrl(std::string_view text) {
  if (text.size() > kMaxUrl) return Fault(text, "is longer than 16 KiB");
  if (!std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c < 0x7f && c != '\\'; }))
    return Fault(text, "has blanks, control characters or backslashes");
  Url url;
  const size_t scheme = text.find("://");
  const std::string_view name = text.substr(0, scheme == std::string_view::npos ? 0 : scheme);
  if (name != "http" && name != "https") return Fault(text, "starts with neither http:// nor https://");
  url.tls = name == "https";
  std::string_view rest = text.substr(scheme + 3);
  rest = rest.substr(0, rest.find('#'));
  const size_t end = std::min(rest.find_first_of("/?"), rest.size());
  LATHE_RETURN_IF_ERROR(ParseAuthority(rest.substr(0, end), text, &url));
  url.target = rest.substr(end);
  if (!url.target.starts_with('/')) url.target = "/" + url.target;
  return url;
}

Expected<Url> ResolveReference(const Url& base, std::string_view reference) {
  const size_t delimiter = reference.find_first_of(":/?#");
  if (delimiter != std::string_view::npos && reference[delimiter] == ':') return ParseUrl(reference);
  if (reference.starts_with("//")) return ParseUrl((base.tls ? "https:" : "http:") + std::string(reference));
  const std::string_view base_path = std::string_view(base.target).substr(0, base.target.find('?'));
  reference = reference.substr(0, reference.find('#'));
  const size_t query = std::min(reference.find('?'), reference.size());
  std::string path(reference.substr(0, query));
  if (path.empty()) {
    path = base_path;
  } else if (path[0] != '/') {
    path = std::string(base_path.substr(0, base_path.rfind('/') + 1)) + path;
  }
  return ParseUrl(base.Origin() + RemoveDots(path) + std::string(reference.substr(query)));
}

std::string Escape(std::string_view text, bool keep_slashes) {
  constexpr char kDigits[] = "0123456789ABCDEF";
  std::string out;
  for (const char c : text) {
    if (IsUnreserved(c) || (keep_slashes && c == '/')) {
      out += c;
    } else {
      out += '%';
      out += kDigits[static_cast<unsigned char>(c) >> 4];
      out += kDigits[static_cast<unsigned char>(c) & 15];
    }
  }
  return out;
}

std::string Unescape(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool escape = text[i] == '%' && i + 2 < text.size();
    const int high = escape ? HexDigit(text[i + 1]) : -1, low = escape ? HexDigit(text[i + 2]) : -1;
    if (high < 0 || low < 0) {
      out += text[i];
    } else {
      out += static_cast<char>(high * 16 + low);
      i += 2;
    }
  }
  return out;
}

}  // namespace lathe::hub
