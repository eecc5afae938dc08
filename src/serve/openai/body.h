// A request body that has been checked against the table of parameters.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "lathe/types.h"
#include "serve/openai/api_error.h"
#include "serve/openai/param_table.h"

namespace lathe::serve {

// Bodies are bounded before anything looks at them. The transport has a bound of its own on their size, which
// the operator sets; this one is for whoever calls without it.
struct BodyLimits {
  size_t max_bytes = size_t{1} << 30;
  int max_depth = 32;
};

// The fields of a body. A field that is null counts as absent. The typed getters rely on the check: types and
// ranges are those of the table.
class Body {
 public:
  Body() = default;
  explicit Body(Json fields) : fields_(std::move(fields)) {}

  bool Has(const char* name) const { return Find(name) != nullptr; }
  const Json* Find(const char* name) const;  // nullptr when absent
  bool Bool(const char* name, bool fallback) const;
  int64_t Int(const char* name, int64_t fallback) const;
  double Number(const char* name, double fallback) const;
  std::string String(const char* name) const;                // "" when absent
  std::vector<std::string> Strings(const char* name) const;  // of a string or an array of them
  std::vector<TokenId> Ids(const char* name) const;
  const Json& fields() const { return fields_; }
  // The fields of an object, none when it is absent.
  Body Object(const char* name) const;

 private:
  Json fields_ = Json::object();
};

// The value of an integer that passed the check ("3.0" is one).
int64_t IntOf(const Json& value);

// Parses and checks a body for `endpoint`. Faults: bytes that are not UTF-8, not JSON, nested too deep, a key
// twice, no object; unknown, missing, ill-typed, out-of-range and unsupported parameters, by name.
Fault ParseBody(std::string_view text, Endpoint endpoint, const ParamTable& table, const BodyLimits& limits,
                Body* body);

}  // namespace lathe::serve
