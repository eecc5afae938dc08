#include <array>
#include <cmath>
#include <cstdlib>
#include <limits>

#include "text/grammar/front_ends.h"
#include "text/grammar/number_range.h"
#include "text/grammar/schema_builder.h"

namespace lathe::grammar {
namespace {

#define LATHE_DATE                                                                                          \
  "[1-9]\\d{3}-((0[13578]|1[02])-(0[1-9]|[12]\\d|3[01])|(0[469]|11)-(0[1-9]|[12]\\d|30)|02-(0[1-9]|1\\d|2[" \
  "0-8]))"
#define LATHE_TIME "([01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d(\\.\\d{1,9})?(Z|[+-]([01]\\d|2[0-3]):[0-5]\\d)"
#define LATHE_LABEL "[A-Za-z0-9]([A-Za-z0-9-]{0,30}[A-Za-z0-9])?"
#define LATHE_BYTE "(25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)"
#define LATHE_HEX4 "[0-9a-fA-F]{1,4}"

// The formats that are enforced. Each is a part of what its definition allows.
struct Format {
  std::string_view name;
  std::string_view pattern;
};
constexpr Format kFormats[] = {
    {"date", LATHE_DATE},
    {"time", LATHE_TIME},
    {"date-time", LATHE_DATE "T" LATHE_TIME},
    {"duration",
     "P(\\d{1,9}W|(\\d{1,9}Y(\\d{1,9}M(\\d{1,9}D)?)?|\\d{1,9}M(\\d{1,9}D)?|\\d{1,9}D)(T(\\d{1,9}H(\\d{1,9}M("
     "\\d{1,"
     "9}S)?)?|\\d{1,9}M(\\d{1,9}S)?|\\d{1,9}S))?|T(\\d{1,9}H(\\d{1,9}M(\\d{1,9}S)?)?|\\d{1,9}M(\\d{1,9}S)?|"
     "\\d{1,9}S))"},
    {"email", "[A-Za-z0-9_%+-]{1,32}(\\.[A-Za-z0-9_%+-]{1,30})?@(" LATHE_LABEL "\\.){1,4}[A-Za-z]{2,12}"},
    {"hostname", LATHE_LABEL "(\\." LATHE_LABEL "){0,4}"},
    {"ipv4", LATHE_BYTE "(\\." LATHE_BYTE "){3}"},
    {"ipv6", "(" LATHE_HEX4 ":){7}" LATHE_HEX4 "|(" LATHE_HEX4 ":){1,6}(:" LATHE_HEX4 ")|(" LATHE_HEX4
             ":){1,7}:|::(" LATHE_HEX4 ":){0,5}" LATHE_HEX4 "|::"},
    {"uuid", "[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"},
    {"uri",
     "[a-z][a-z0-9+.-]{1,15}://" LATHE_LABEL "(\\." LATHE_LABEL
     ")*(:[1-9]\\d{0,3})?(/[A-Za-z0-9._~!$&'()*+,;=:@-]*)*(\\?[A-Za-z0-9._~!$&'()*+,;=:@/?-]*)?(#[A-Za-z0-9._"
     "~!$&'()*+,;=:@/?-]*)?"},
};

Json Listed(const Json& schema, const char* key, const char* list) {
  if (schema.contains(list)) return schema[list];
  return schema.contains(key) ? Json::array({schema[key]}) : Json::array();
}

Decimal DecimalOf(const Json& value) {
  if (value.is_number_unsigned() && value.get<uint64_t>() > uint64_t{INT64_MAX}) {
    return grammar::DecimalOf(value.get<double>());
  }
  return value.is_number_integer() ? grammar::DecimalOf(value.get<int64_t>())
                                   : grammar::DecimalOf(value.get<double>());
}

// The tighter of the inclusive and the exclusive bound. sign: 1 for lower ones, -1 for upper ones.
std::optional<Bound> BoundOf(const Json& schema, const char* inclusive, const char* exclusive, int sign) {
  std::optional<Bound> bound;
  if (schema.contains(inclusive)) bound = Bound{DecimalOf(schema[inclusive]), false};
  if (schema.contains(exclusive)) {
    const Bound other{DecimalOf(schema[exclusive]), true};
    if (!bound || other.value.Compare(bound->value) * sign >= 0) bound = other;
  }
  return bound;
}

// An exclusive bound as the nearest double inside it: a text may lie beyond a bound and still read as the
// bound. Zero stays as it is: nothing of so few digits reads as zero.
std::optional<Bound> Inwards(std::optional<Bound> bound, int direction) {
  if (!bound || !bound->exclusive || bound->value.IsZero()) return bound;
  const Decimal& d = bound->value;
  const double value =
      std::strtod(((d.negative ? "-" : "") + d.whole + "." + d.fraction + "0").c_str(), nullptr);
  bound->value =
      grammar::DecimalOf(std::nextafter(value, direction * std::numeric_limits<double>::infinity()));
  bound->exclusive = false;
  return bound;
}

}  // namespace

std::optional<std::string_view> FormatPattern(std::string_view format) {
  for (const Format& f : kFormats) {
    if (f.name == format) return f.pattern;
  }
  return std::nullopt;
}

Expected<ExprId> SchemaBuilder::StringOf(const Json& schema, const std::string& path) {
  const uint32_t min = CountOf(schema, "minLength", 0);
  const uint32_t max = CountOf(schema, "maxLength", kUnbounded);
  if (min > max) return pool_->Never();
  std::vector<ExprId> parts;  // all must hold
  for (const Json& pattern : Listed(schema, "pattern", kPatternsKey)) {
    auto e = ParseRegex(pattern.get<std::string>(), RegexMatch::kSearch, Spelling::kJson, pool_);
    if (!e.ok()) return e.status().WithContext(Child(path, "pattern"));
    parts.push_back(*e);
  }
  for (const Json& format : Listed(schema, "format", kFormatsKey)) {
    const auto pattern = FormatPattern(format.get<std::string>());
    if (!pattern) continue;
    LATHE_ASSIGN_OR_RETURN(const ExprId e, ParseRegex(*pattern, RegexMatch::kWhole, Spelling::kJson, pool_));
    parts.push_back(e);
  }
  const bool counted = min > 0 || max != kUnbounded;
  if (parts.empty()) {
    return counted ? rules_.Quoted(pool_->Repeat(rules_.AnyCharacter(), min, max)) : rules_.String();
  }
  if (counted) parts.push_back(pool_->Repeat(pool_->Class(CodeSet::All(), Spelling::kJson), min, max));
  if (parts.size() == 1) return rules_.Quoted(parts[0]);
  LATHE_ASSIGN_OR_RETURN(Dfa all, CodePointDfa(pool_, parts[0]));
  for (size_t i = 1; i < parts.size(); ++i) {
    LATHE_ASSIGN_OR_RETURN(const Dfa part, CodePointDfa(pool_, parts[i]));
    LATHE_ASSIGN_OR_RETURN(all, Combine(all, part, SetOp::kAnd, pool_->budget()));
  }
  return rules_.Quoted(pool_->OfDfa(std::move(all), Spelling::kJson));
}

Expected<ExprId> SchemaBuilder::NumberOf(const Json& schema, bool integer, const std::string& path) {
  const auto low = BoundOf(schema, "minimum", "exclusiveMinimum", 1);
  const auto high = BoundOf(schema, "maximum", "exclusiveMaximum", -1);
  if (schema.contains("multipleOf")) {
    // For numbers too: multiples of an integer are integers.
    const double divisor = schema["multipleOf"].get<double>();
    if (!(divisor >= 1 && divisor <= 4096 && divisor == std::floor(divisor))) {
      return Error(StatusCode::kUnsupported,
                   "%s/multipleOf: only integers from 1 to 4096 are supported, found %g", path.c_str(),
                   divisor);
    }
    return MultiplesOf(static_cast<uint32_t>(divisor), IntegersBetween(low, high, pool_), pool_);
  }
  if (!low && !high) return integer ? rules_.Integer() : rules_.Number();
  if (integer) return IntegersBetween(low, high, pool_);
  return NumbersBetween(Inwards(low, 1), Inwards(high, -1), pool_);
}

}  // namespace lathe::grammar
