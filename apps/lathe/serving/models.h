// Which model a server offers, and the key to it.
#pragma once

#include <optional>
#include <string>

#include "serving/answer.h"

namespace lathe::cli {

struct ServedModel {
  std::string id;
  std::optional<int> vocab;  // where the server tells
};

// The first of GET /v1/models. Errors: kUnavailable when no server answers, kNotFound when it has no such
// list.
Expected<ServedModel> AskForModel(const Url& url, const TlsOptions& tls, const RequestForm& form);

// The first word of a file; "" for the path "". Errors: ReadFile's; kInvalidArgument when it is no key.
Expected<std::string> ReadApiKey(const std::string& path);

}  // namespace lathe::cli
