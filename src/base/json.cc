#include "base/json.h"

#include <algorithm>
#include <set>
#include <utility>
#include <vector>

#include "base/file.h"

template class nlohmann::basic_json<nlohmann::ordered_map>;

namespace lathe {
namespace {

// Builds a Json from the parser's events. The library's own builder looks through all keys of an object for
// each new one, as Json keeps them in order in a list: a few megabytes in one object would take minutes.
class Builder {
 public:
  explicit Builder(const JsonLimits& limits) : limits_(limits) {}

  bool null() { return Add(nullptr); }
  bool boolean(bool value) { return Add(value); }
  bool number_integer(int64_t value) { return Add(value); }
  bool number_unsigned(uint64_t value) { return Add(value); }
  bool number_float(double value, const std::string& /*text*/) { return Add(value); }
  bool string(std::string& value) { return Add(std::move(value)); }
  bool binary(Json::binary_t& value) { return Add(std::move(value)); }

  bool start_object(size_t /*size*/) {
    keys_.emplace_back();
    return Open(Json::object());
  }
  bool key(std::string& name) {
    const bool is_new = keys_.back().insert(name).second;
    auto& members = open_.back()->get_ref<Json::object_t&>();
    if (is_new) {
      slot_ = &members.emplace_back(std::move(name), nullptr).second;
      return true;
    }
    slot_ = &members[name];  // the last one counts, where two are allowed
    if (duplicate_.empty()) duplicate_ = name.empty() ? "(empty)" : name;
    return true;
  }
  bool end_object() {
    keys_.pop_back();
    return Close();
  }
  bool start_array(size_t /*size*/) { return Open(Json::array()); }
  bool end_array() { return Close(); }

  bool parse_error(size_t byte, const std::string& /*token*/, const nlohmann::json::exception& /*why*/) {
    error_byte_ = byte;
    return false;
  }

  bool too_deep() const { return too_deep_; }
  size_t error_byte() const { return error_byte_; }
  const std::string& duplicate() const { return duplicate_; }
  Json Take() { return std::move(root_); }

 private:
  // Elements of arrays may move while their array grows; it does so only when nothing inside it is open.
  Json* Place(Json value) {
    if (open_.empty()) return &(root_ = std::move(value));
    if (open_.back()->is_array())
      return &open_.back()->get_ref<Json::array_t&>().emplace_back(std::move(value));
    return &(*slot_ = std::move(value));
  }
  bool Add(Json value) {
    Place(std::move(value));
    return true;
  }
  bool Open(Json value) {
    too_deep_ = open_.size() >= static_cast<size_t>(std::max(limits_.max_depth, 0));
    if (!too_deep_) open_.push_back(Place(std::move(value)));
    return !too_deep_;
  }
  bool Close() {
    open_.pop_back();
    return true;
  }

  const JsonLimits& limits_;
  Json root_;
  std::vector<Json*> open_;
  std::vector<std::set<std::string>> keys_;  // of each open object; a hash table could be made to collide
  Json* slot_ = nullptr;                     // where the value of the last key goes
  std::string duplicate_;
  size_t error_byte_ = 0;
  bool too_deep_ = false;
};

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
  Builder builder(limits);
  try {
    if (!Json::sax_parse(text.begin(), text.end(), &builder)) {
      if (builder.too_deep())
        return Error(StatusCode::kCorrupt, "%.*s: JSON nested deeper than %d levels", where_size,
                     where.data(), limits.max_depth);
      return Error(StatusCode::kCorrupt, "%.*s: not valid JSON at byte %zu", where_size, where.data(),
                   builder.error_byte());
    }
  } catch (const nlohmann::json::exception& e) {
    return Error(StatusCode::kCorrupt, "%.*s: not valid JSON (%s)", where_size, where.data(), e.what());
  }
  if (!limits.allow_duplicate_keys && !builder.duplicate().empty())
    return Error(StatusCode::kCorrupt, "%.*s: key '%s' appears twice in one object", where_size, where.data(),
                 builder.duplicate().substr(0, 80).c_str());
  return builder.Take();
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
