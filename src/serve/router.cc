#include "serve/router.h"

#include <algorithm>

#include "base/check.h"

namespace lathe::serve {
namespace {

bool IsNameByte(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
         c == '-';
}

// The part of *rest before its next '/', which is taken off with it.
std::string_view TakeSegment(std::string_view* rest) {
  const size_t slash = rest->find('/');
  const std::string_view segment = rest->substr(0, slash);
  *rest = slash == std::string_view::npos ? std::string_view{} : rest->substr(slash + 1);
  return segment;
}

bool IsArgument(std::string_view segment) {
  return segment.size() > 2 && segment.front() == '{' && segment.back() == '}';
}

bool Matches(std::string_view pattern, std::string_view path,
             std::vector<std::pair<std::string, std::string>>* args) {
  args->clear();
  if (std::count(pattern.begin(), pattern.end(), '/') != std::count(path.begin(), path.end(), '/'))
    return false;
  while (!pattern.empty() || !path.empty()) {
    const std::string_view want = TakeSegment(&pattern);
    const std::string_view have = TakeSegment(&path);
    if (!IsArgument(want)) {
      if (want != have) return false;
      continue;
    }
    if (have.empty() || !std::all_of(have.begin(), have.end(), IsNameByte)) return false;
    args->emplace_back(want.substr(1, want.size() - 2), have);
  }
  return true;
}

}  // namespace

void Router::Add(std::string method, std::string pattern, Handler handler) {
  LATHE_CHECK(!pattern.empty() && pattern.front() == '/');
  for (const Route& route : routes_) {
    if (route.method == method) LATHE_CHECK_NE(route.pattern, pattern);
  }
  routes_.push_back({std::move(method), std::move(pattern), std::move(handler)});
}

Router::Match Router::Find(std::string_view method, std::string_view path) const {
  Match match;
  std::vector<std::pair<std::string, std::string>> args;
  for (const Route& route : routes_) {
    if (!Matches(route.pattern, path, &args)) continue;
    match.path_known = true;
    match.allow += (match.allow.empty() ? "" : ", ") + route.method;
    if (route.method == "GET") match.allow += ", HEAD";
    // HEAD is GET without the body, which the transport leaves out.
    const bool head = method == "HEAD" && route.method == "GET";
    if (match.route == nullptr && (route.method == method || head)) {
      match.route = &route;
      match.path_args = std::move(args);
    }
  }
  return match;
}

}  // namespace lathe::serve
