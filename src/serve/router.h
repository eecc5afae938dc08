// Routes: method and path pattern to handler. "{name}" matches one segment of [A-Za-z0-9._-]+.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "serve/message.h"

namespace lathe::serve {

struct Route {
  std::string method;
  std::string pattern;  // "/v2/models/{name}/generate"
  Handler handler;
};

// Filled before the server starts, immutable afterwards. There is no way to add a route that needs no key:
// authorisation wraps the router.
class Router {
 public:
  void Add(std::string method, std::string pattern, Handler handler);
  struct Match {
    const Route* route = nullptr;  // nullptr: none
    bool path_known = false;       // another method exists for the path (405 rather than 404)
    std::vector<std::pair<std::string, std::string>> path_args;
    std::string allow;  // methods of a known path, for the Allow header
  };
  Match Find(std::string_view method, std::string_view path) const;
  const std::vector<Route>& routes() const { return routes_; }

 private:
  std::vector<Route> routes_;
};

}  // namespace lathe::serve
