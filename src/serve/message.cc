#include "serve/message.h"

namespace lathe::serve {

std::string_view HttpRequest::Header(std::string_view lower_case_name) const {
  for (const auto& [name, value] : headers) {
    if (name == lower_case_name) return value;
  }
  return {};
}

std::string_view HttpRequest::PathArg(std::string_view name) const {
  for (const auto& [key, value] : path_args) {
    if (key == name) return value;
  }
  return {};
}

}  // namespace lathe::serve
