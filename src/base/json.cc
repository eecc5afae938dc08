#include "base/json.h"

#include <set>
#include <vector>

#include "base/file.h"

template class nlohmann::basic_json<nlohmann::ordered_map>;

namespace lathe {
namespace {

// Depth of nesting outside strings, found before the recursive parser sees the text.
bool DeeperThan(std::string_view text, int max_depth) {
  int depth = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\')
        ++i;
      else if (c == '"')
        in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      if (++depth > max_depth) return true;
    } else if (c == '}' || c == ']') {
      --depth;
    }
  }
  return false;
}

Status WrongType(const char* key, const char* expected, const Json& found, std::string_view where) {
  return Error(StatusCode::kInvalidArgument, "%.*s: key '%s' must be %s, found %s",
               static_cast<int>(where.size()), where.data(), key, expected,
               DumpJson(found).substr(0, 60).c_str());
}

// The value at `key`, or nullptr when absent or null.
const Json* Find(const Json& object, const char* key) {
  if (!object.is_object()) return nullptr;
  const auto it = object.find(key);
  return it == object.end() || it->is_null() ? nullptr : &*it;
}

Status Missing(const char* key, std::string_view where) {
  return Error(StatusCode::kInvalidArgument, "%.*s: key '%s' is missing", static_cast<int>(where.size()),
               where.data(), key);
}

}  // namespace

Expected<Json> ParseJson(std::string_view text, std::string_view where, const JsonLimits& limits) {
  const int where_size = static_cast<int>(where.size());
  if (text.size() > limits.max_bytes)
    return Error(StatusCode::kCorrupt, "%.*s: JSON of %zu bytes, at most %zu are accepted", where_size,
                 where.data(), text.size(), limits.max_bytes);
  if (DeeperThan(text, limits.max_depth))
    return Error(StatusCode::kCorrupt, "%.*s: JSON nested deeper than %d levels", where_size, where.data(),
                 limits.max_depth);
  std::vector<std::set<std::string>> keys;
  std::string duplicate;
  const auto callback = [&](int /*depth*/, Json::parse_event_t event, Json& parsed) {
    if (event == Json::parse_event_t::object_start) keys.emplace_back();
    if (event == Json::parse_event_t::object_end && !keys.empty()) keys.pop_back();
    if (event == Json::parse_event_t::key && !keys.empty()) {
      const auto& key = parsed.get_ref<const std::string&>();
      if (!keys.back().insert(key).second && duplicate.empty()) duplicate = key;
    }
    return true;
  };
  try {
    Json value = limits.allow_duplicate_keys ? Json::parse(text.begin(), text.end())
                                             : Json::parse(text.begin(), text.end(), callback);
    if (!duplicate.empty())
      return Error(StatusCode::kCorrupt, "%.*s: key '%s' appears twice in one object", where_size,
                   where.data(), duplicate.substr(0, 80).c_str());
    return value;
  } catch (const nlohmann::json::parse_error& e) {
    return Error(StatusCode::kCorrupt, "%.*s: not valid JSON at byte %zu", where_size, where.data(), e.byte);
  } catch (const nlohmann::json::exception& e) {
    return Error(StatusCode::kCorrupt, "%.*s: not valid JSON (%s)", where_size, where.data(), e.what());
  }
}

Expected<Json> ReadJsonFile(const std::string& path, const JsonLimits& limits) {
  LATHE_ASSIGN_OR_RETURN(const std::string text, ReadFile(path, limits.max_bytes));
  return ParseJson(text, path, limits);
}

Expected<int64_t> JsonInt(const Json& object, const char* key, std::string_view where) {
  const Json* v = Find(object, key);
  if (v == nullptr) return Missing(key, where);
  if (v->is_number_unsigned() && v->get<uint64_t>() > static_cast<uint64_t>(INT64_MAX))
    return WrongType(key, "an integer below 2^63", *v, where);
  if (v->is_number_integer()) return v->get<int64_t>();
  if (v->is_number_float()) {
    const double d = v->get<double>();
    if (d >= -9e15 && d <= 9e15 && d == static_cast<double>(static_cast<int64_t>(d)))
      return static_cast<int64_t>(d);
  }
  return WrongType(key, "an integer", *v, where);
}

Expected<int64_t> JsonIntOr(const Json& object, const char* key, int64_t fallback, std::string_view where) {
  if (Find(object, key) == nullptr) return fallback;
  return JsonInt(object, key, where);
}

Expected<double> JsonNumber(const Json& object, const char* key, std::string_view where) {
  const Json* v = Find(object, key);
  if (v == nullptr) return Missing(key, where);
  if (!v->is_number()) return WrongType(key, "a number", *v, where);
  return v->get<double>();
}

Expected<double> JsonNumberOr(const Json& object, const char* key, double fallback, std::string_view where) {
  if (Find(object, key) == nullptr) return fallback;
  return JsonNumber(object, key, where);
}

Expected<bool> JsonBoolOr(const Json& object, const char* key, bool fallback, std::string_view where) {
  const Json* v = Find(object, key);
  if (v == nullptr) return fallback;
  if (!v->is_boolean()) return WrongType(key, "true or false", *v, where);
  return v->get<bool>();
}

Expected<std::string> JsonString(const Json& object, const char* key, std::string_view where) {
  const Json* v = Find(object, key);
  if (v == nullptr) return Missing(key, where);
  if (!v->is_string()) return WrongType(key, "a string", *v, where);
  return v->get<std::string>();
}

Expected<std::string> JsonStringOr(const Json& object, const char* key, std::string_view fallback,
                                   std::string_view where) {
  if (Find(object, key) == nullptr) return std::string(fallback);
  return JsonString(object, key, where);
}

std::string DumpJson(const Json& value, int indent) {
  return value.dump(indent, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace lathe
