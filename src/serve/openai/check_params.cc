#include "serve/openai/check_params.h"

#include <cmath>
#include <string>

#include "base/status.h"

namespace lathe::serve {
namespace {

// One walk over a body.
class Checker {
 public:
  Checker(Endpoint endpoint, const ParamTable& table) : endpoint_(endpoint), table_(table) {}

  // `path`: of the object in the table ("messages[]"); `shown`: the same as the client finds it
  // ("messages[2]").
  Fault Fields(const Json& object, const std::string& path, const std::string& shown) const {
    const std::string prefix = path.empty() ? "" : path + ".";
    const std::string shown_prefix = shown.empty() ? "" : shown + ".";
    for (const auto& [key, value] : object.items()) {
      const ParamSpec* spec = table_.Find(endpoint_, prefix + key);
      if (spec == nullptr) return Unknown(shown_prefix + key);
      if (Fault fault = Field(*spec, value, shown_prefix + key)) return fault;
    }
    for (const ParamSpec* spec : table_.Children(endpoint_, path)) {
      if (!spec->required) continue;
      const std::string key = spec->name.substr(prefix.size());
      if (object.contains(key)) continue;
      return BadParam(shown_prefix + key, "missing_required_parameter",
                      "missing required parameter: '" + shown_prefix + key + "'");
    }
    return std::nullopt;
  }

 private:
  Fault Unknown(const std::string& shown) const {
    const std::string name = shown.substr(0, 200);
    return BadParam(name, "unknown_parameter",
                    "unknown parameter: '" + name + "'; " + std::string(PathOf(endpoint_)) +
                        " takes those of /openapi.json and no others");
  }

  static Fault WrongType(const std::string& shown, const char* expected, const Json& found) {
    return BadParam(
        shown, "invalid_type",
        "'" + shown + "' must be " + expected + ", but is " + (found.is_null() ? "null" : found.type_name()));
  }

  Fault Field(const ParamSpec& spec, const Json& value, const std::string& shown) const {
    if (value.is_null()) return spec.required ? WrongType(shown, "given", value) : std::nullopt;
    if (spec.handling == Handling::kRefused) return Refused(spec, value, shown);
    switch (spec.type) {
      case ParamType::kAny: return std::nullopt;
      case ParamType::kBool:
        return value.is_boolean() ? std::nullopt : WrongType(shown, "true or false", value);
      case ParamType::kInt: return Int(spec, value, shown);
      case ParamType::kNumber: return Number(spec, value, shown);
      case ParamType::kString: return String(spec, value, shown, "a string");
      case ParamType::kScalar:
        if (value.is_boolean() || value.is_number()) return std::nullopt;
        return String(spec, value, shown, "a boolean, a number or a string");
      case ParamType::kStringOrStrings:
        if (value.is_string()) return String(spec, value, shown, "a string");
        return Strings(spec, value, shown, "a string or an array of strings");
      case ParamType::kStrings: return Strings(spec, value, shown, "an array of strings");
      case ParamType::kInts: return Ints(spec, value, shown);
      case ParamType::kPrompt: return Prompt(spec, value, shown);
      case ParamType::kObject: return Object(spec, value, shown, "an object");
      case ParamType::kObjects: return Objects(spec, value, shown, "an array of objects");
      case ParamType::kStringOrObject:
        if (value.is_string()) return String(spec, value, shown, "a string");
        return Object(spec, value, shown, "a string or an object");
      case ParamType::kStringOrObjects:
        if (value.is_string()) return String(spec, value, shown, "a string");
        return Objects(spec, value, shown, "a string or an array of objects");
      case ParamType::kBiases: return Biases(spec, value, shown);
    }
    return std::nullopt;
  }

  static Fault Refused(const ParamSpec& spec, const Json& value, const std::string& shown) {
    if (!spec.neutral.empty()) {
      const auto neutral = ParseJson(spec.neutral, "table");
      if (neutral.ok() && *neutral == value) return std::nullopt;
    }
    return BadParam(shown, "unsupported_parameter",
                    "'" + shown + "' is not supported" +
                        (spec.neutral.empty() ? "" : " but for " + std::string(spec.neutral)) + ": " +
                        std::string(spec.meaning));
  }

  static Fault OutOfRange(const ParamSpec& spec, const std::string& shown, bool below, const char* kind,
                          const std::string& found) {
    const std::string range = StrFormat("%s%.15g, %.15g]", spec.open_min ? "(" : "[", spec.min, spec.max);
    return BadParam(shown, std::string(kind) + (below ? "_below_min_value" : "_above_max_value"),
                    "'" + shown + "' must be in " + range + ", but is " + found);
  }

  static Fault Int(const ParamSpec& spec, const Json& value, const std::string& shown) {
    const bool whole = value.is_number_integer() ||
                       (value.is_number_float() && std::trunc(value.get<double>()) == value.get<double>());
    if (!whole) return WrongType(shown, "an integer", value);
    if (value.is_number_unsigned() && value.get<uint64_t>() > static_cast<uint64_t>(INT64_MAX)) {
      return OutOfRange(spec, shown, false, "integer", DumpJson(value));
    }
    // A double holds the bounds of every row; only those of a full 64-bit row need the integer check above.
    const double number = value.get<double>();
    const bool wide = value.is_number_float() && std::abs(number) >= 9.2e18;
    if (number < spec.min || number > spec.max || wide) {
      return OutOfRange(spec, shown, number < spec.min || (wide && number < 0), "integer", DumpJson(value));
    }
    return std::nullopt;
  }

  static Fault Number(const ParamSpec& spec, const Json& value, const std::string& shown) {
    if (!value.is_number()) return WrongType(shown, "a number", value);
    const double number = value.get<double>();
    const bool below = spec.open_min ? number <= spec.min : number < spec.min;
    if (below || !(number <= spec.max)) return OutOfRange(spec, shown, below, "decimal", DumpJson(value));
    return std::nullopt;
  }

  static Fault String(const ParamSpec& spec, const Json& value, const std::string& shown,
                      const char* expected) {
    if (!value.is_string()) return WrongType(shown, expected, value);
    const auto& text = value.get_ref<const std::string&>();
    if (static_cast<double>(text.size()) < spec.min) {
      return BadParam(
          shown, "string_below_min_length",
          StrFormat("'%s' must have at least %.0f bytes, but has %zu", shown.c_str(), spec.min, text.size()));
    }
    if (spec.max > 0 && static_cast<double>(text.size()) > spec.max) {
      return BadParam(
          shown, "string_above_max_length",
          StrFormat("'%s' may have at most %.0f bytes, but has %zu", shown.c_str(), spec.max, text.size()));
    }
    if (spec.one_of.empty() || OneOf(spec.one_of, text)) return std::nullopt;
    std::string choices(spec.one_of);
    for (size_t at = 0; (at = choices.find('|', at)) != std::string::npos; at += 2)
      choices.replace(at, 1, ", ");
    return BadParam(shown, "invalid_value",
                    "'" + shown + "' must be one of " + choices + ", but is '" +
                        Json(text).get<std::string>().substr(0, 64) + "'");
  }

  static bool OneOf(std::string_view choices, std::string_view text) {
    while (!choices.empty()) {
      const size_t bar = choices.find('|');
      if (choices.substr(0, bar) == text) return true;
      choices = bar == std::string_view::npos ? std::string_view{} : choices.substr(bar + 1);
    }
    return false;
  }

  static Fault Count(const ParamSpec& spec, size_t found, const std::string& shown) {
    if (found < spec.min_items) return BadParam(shown, "empty_array", "'" + shown + "' must not be empty");
    if (spec.max_items == 0 || found <= spec.max_items) return std::nullopt;
    return BadParam(
        shown, "array_above_max_length",
        StrFormat("'%s' may have at most %zu entries, but has %zu", shown.c_str(), spec.max_items, found));
  }

  static std::string At(const std::string& shown, size_t i) { return shown + "[" + std::to_string(i) + "]"; }

  static Fault Strings(const ParamSpec& spec, const Json& value, const std::string& shown,
                       const char* expected) {
    if (!value.is_array()) return WrongType(shown, expected, value);
    if (Fault fault = Count(spec, value.size(), shown)) return fault;
    for (size_t i = 0; i < value.size(); ++i) {
      if (Fault fault = String(spec, value[i], At(shown, i), "a string")) return fault;
    }
    return std::nullopt;
  }

  static Fault Ints(const ParamSpec& spec, const Json& value, const std::string& shown) {
    if (!value.is_array()) return WrongType(shown, "an array of integers", value);
    if (Fault fault = Count(spec, value.size(), shown)) return fault;
    for (size_t i = 0; i < value.size(); ++i) {
      if (Fault fault = Int(spec, value[i], At(shown, i))) return fault;
    }
    return std::nullopt;
  }

  static Fault Prompt(const ParamSpec& spec, const Json& value, const std::string& shown) {
    constexpr const char* kExpected = "a string, an array of strings, token ids, or an array of such lists";
    const ParamSpec ids{.name = spec.name, .max = spec.max};
    if (value.is_string()) return std::nullopt;
    if (!value.is_array()) return WrongType(shown, kExpected, value);
    if (value.empty()) return BadParam(shown, "empty_array", "'" + shown + "' must not be empty");
    if (value[0].is_number()) return Ints(ids, value, shown);
    if (Fault fault = Count(spec, value.size(), shown)) return fault;
    const bool strings = value[0].is_string();
    for (size_t i = 0; i < value.size(); ++i) {
      if (strings && !value[i].is_string())
        return WrongType(At(shown, i), "a string like the first", value[i]);
      if (strings) continue;
      if (!value[i].is_array()) return WrongType(At(shown, i), "a list of token ids", value[i]);
      if (Fault fault = Ints(ids, value[i], At(shown, i))) return fault;
    }
    return std::nullopt;
  }

  Fault Object(const ParamSpec& spec, const Json& value, const std::string& shown,
               const char* expected) const {
    if (!value.is_object()) return WrongType(shown, expected, value);
    if (Fault fault = Count(spec, value.size(), shown)) return fault;
    if (table_.Children(endpoint_, spec.name).empty()) return std::nullopt;  // free-form
    return Fields(value, spec.name, shown);
  }

  Fault Objects(const ParamSpec& spec, const Json& value, const std::string& shown,
                const char* expected) const {
    if (!value.is_array()) return WrongType(shown, expected, value);
    if (Fault fault = Count(spec, value.size(), shown)) return fault;
    for (size_t i = 0; i < value.size(); ++i) {
      if (!value[i].is_object()) return WrongType(At(shown, i), "an object", value[i]);
      if (Fault fault = Fields(value[i], spec.name + "[]", At(shown, i))) return fault;
    }
    return std::nullopt;
  }

  static Fault Biases(const ParamSpec& spec, const Json& value, const std::string& shown) {
    if (!value.is_object()) return WrongType(shown, "an object of numbers by token id", value);
    if (Fault fault = Count(spec, value.size(), shown)) return fault;
    for (const auto& [key, bias] : value.items()) {
      const std::string entry = shown + "." + key.substr(0, 32);
      const bool digits =
          !key.empty() && key.size() <= 10 && key.find_first_not_of("0123456789") == std::string::npos;
      if (!digits) return BadParam(entry, "invalid_value", "the keys of '" + shown + "' must be token ids");
      if (Fault fault = Number(spec, bias, entry)) return fault;
    }
    return std::nullopt;
  }

  Endpoint endpoint_;
  const ParamTable& table_;
};

}  // namespace

Fault CheckParams(const Json& body, Endpoint endpoint, const ParamTable& table) {
  return Checker(endpoint, table).Fields(body, "", "");
}

}  // namespace lathe::serve
