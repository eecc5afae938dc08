#include "text/grammar/schema_merge.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <optional>

#include "text/utf8.h"

namespace lathe::grammar {
namespace {

enum class Shape : uint8_t { kSchema, kSchemas, kSchemaMap, kCount, kNumber, kString, kBool, kAny, kItems };
struct Keyword {
  std::string_view name;
  Shape shape;
};
constexpr Keyword kKeywords[] = {
    {"$ref", Shape::kString},
    {"allOf", Shape::kSchemas},
    {"anyOf", Shape::kSchemas},
    {"oneOf", Shape::kSchemas},
    {"type", Shape::kAny},
    {"enum", Shape::kAny},
    {"const", Shape::kAny},
    {"nullable", Shape::kBool},
    {"properties", Shape::kSchemaMap},
    {"required", Shape::kAny},
    {"additionalProperties", Shape::kSchema},
    {"patternProperties", Shape::kSchemaMap},
    {"minProperties", Shape::kCount},
    {"maxProperties", Shape::kCount},
    {"items", Shape::kItems},
    {"prefixItems", Shape::kSchemas},
    {"additionalItems", Shape::kSchema},
    {"minItems", Shape::kCount},
    {"maxItems", Shape::kCount},
    {"uniqueItems", Shape::kBool},
    {"minLength", Shape::kCount},
    {"maxLength", Shape::kCount},
    {"pattern", Shape::kString},
    {"format", Shape::kString},
    {"minimum", Shape::kNumber},
    {"maximum", Shape::kNumber},
    {"exclusiveMinimum", Shape::kNumber},
    {"exclusiveMaximum", Shape::kNumber},
    {"multipleOf", Shape::kNumber},
    {kPatternsKey, Shape::kAny},
    {kFormatsKey, Shape::kAny},
};
constexpr std::string_view kAnnotations[] = {
    "title",           "description",  "default",  "examples",
    "example",         "$schema",      "$id",      "id",
    "$comment",        "deprecated",   "readOnly", "writeOnly",
    "$defs",           "definitions",  "$anchor",  "contentMediaType",
    "contentEncoding", "externalDocs", "xml",      "discriminator",
    "strict",
};
constexpr std::array<std::string_view, 7> kTypes = {"null",   "boolean", "object", "array",
                                                    "number", "string",  "integer"};

bool IsSchema(const Json& v) { return v.is_object() || v.is_boolean(); }

bool HasShape(const Json& v, Shape shape) {
  switch (shape) {
    case Shape::kSchema: return IsSchema(v);
    case Shape::kSchemas: return v.is_array() && !v.empty() && std::all_of(v.begin(), v.end(), IsSchema);
    case Shape::kSchemaMap: return v.is_object() && std::all_of(v.begin(), v.end(), IsSchema);
    case Shape::kCount:
      return (v.is_number_integer() && v.get<int64_t>() >= 0 && v.get<int64_t>() <= 1'000'000'000) ||
             (v.is_number_float() && v.get<double>() >= 0 && v.get<double>() <= 1e9 &&
              v.get<double>() == static_cast<double>(static_cast<int64_t>(v.get<double>())));
    case Shape::kNumber: return v.is_number();
    case Shape::kString: return v.is_string();
    case Shape::kBool: return v.is_boolean();
    case Shape::kItems: return IsSchema(v) || (v.is_array() && std::all_of(v.begin(), v.end(), IsSchema));
    case Shape::kAny: return true;
  }
  return true;
}

const char* ShapeName(Shape shape) {
  switch (shape) {
    case Shape::kSchema: return "a schema";
    case Shape::kSchemas: return "a list of schemas, not empty";
    case Shape::kSchemaMap: return "an object of schemas";
    case Shape::kCount: return "an integer from 0 to 1000000000";
    case Shape::kNumber: return "a number";
    case Shape::kString: return "a string";
    case Shape::kBool: return "true or false";
    case Shape::kItems: return "a schema or a list of them";
    case Shape::kAny: break;
  }
  return "something else";
}

Status Invalid(const std::string& path, std::string_view key, const std::string& expected) {
  return Error(StatusCode::kInvalidArgument, "%s: '%.*s' must be %s", path.c_str(),
               static_cast<int>(key.size()), key.data(), expected.c_str());
}

bool IsTypeName(const Json& v) {
  return v.is_string() && std::find(kTypes.begin(), kTypes.end(), v.get<std::string>()) != kTypes.end();
}

bool IsStringList(const Json& v) {
  return v.is_array() && std::all_of(v.begin(), v.end(), [](const Json& x) { return x.is_string(); });
}

bool IsIntegral(const Json& v) {
  return v.is_number_integer() || (v.is_number_float() && v.get<double>() == std::floor(v.get<double>()));
}

std::string TypeOf(const Json& v) {
  if (v.is_number()) return IsIntegral(v) ? "integer" : "number";
  return v.is_string()   ? "string"
         : v.is_object() ? "object"
         : v.is_array()  ? "array"
         : v.is_null()   ? "null"
                         : "boolean";
}

bool HasAny(const Json& schema, std::initializer_list<const char*> keys) {
  return std::any_of(keys.begin(), keys.end(), [&](const char* k) { return schema.contains(k); });
}

Json AllOf(const Json& a, const Json& b) {
  if (a == b) return a;
  Json both = Json::object();
  both["allOf"] = Json::array({a, b});
  return both;
}

// The constants of a schema with const or enum; null otherwise.
std::optional<Json> Constants(const Json& schema) {
  if (schema.contains("const")) return Json::array({schema["const"]});
  if (schema.contains("enum")) return schema["enum"];
  return std::nullopt;
}

Json Strings(const Json& schema, const char* key, const char* list) {
  if (schema.contains(list)) return schema[list];
  return schema.contains(key) ? Json::array({schema[key]}) : Json::array();
}

}  // namespace

std::string Child(const std::string& path, std::string_view key) {
  std::string out = path + "/";
  for (const char c : key) out += c == '~' ? "~0" : c == '/' ? "~1" : std::string(1, c);
  return out;
}

Expected<const Json*> SchemaMerger::Resolve(const std::string& ref, const std::string& path) const {
  if (ref.empty() || ref[0] != '#' || (ref.size() > 1 && ref[1] != '/')) {
    return Error(StatusCode::kUnsupported,
                 "%s/$ref: only references into the same schema (#, #/...) are supported, found '%.200s'",
                 path.c_str(), ref.c_str());
  }
  const Json* at = &root_;
  for (size_t i = 1; i < ref.size();) {
    std::string key;
    for (++i; i < ref.size() && ref[i] != '/'; ++i) {
      if (ref[i] == '~' && i + 1 < ref.size()) {
        key += ref[++i] == '1' ? '/' : '~';
      } else if (ref[i] == '%' && i + 2 < ref.size()) {
        key += static_cast<char>(std::strtol(ref.substr(i + 1, 2).c_str(), nullptr, 16));
        i += 2;
      } else {
        key += ref[i];
      }
    }
    const bool index = at->is_array() && !key.empty() && key.size() < 6 &&
                       key.find_first_not_of("0123456789") == std::string::npos;
    if (at->is_object() && at->contains(key)) {
      at = &(*at)[key];
    } else if (index && std::stoul(key) < at->size()) {
      at = &(*at)[std::stoul(key)];
    } else {
      return Error(StatusCode::kInvalidArgument, "%s/$ref: '%.200s' names nothing in the schema",
                   path.c_str(), ref.c_str());
    }
  }
  if (!IsSchema(*at)) {
    return Error(StatusCode::kInvalidArgument, "%s/$ref: '%.200s' is not a schema", path.c_str(),
                 ref.c_str());
  }
  return at;
}

Status SchemaMerger::CheckKeywords(const Json& schema, const std::string& path) const {
  for (const auto& [key, value] : schema.items()) {
    const auto* const known = std::find_if(std::begin(kKeywords), std::end(kKeywords),
                                           [&k = key](const Keyword& w) { return w.name == k; });
    if (known == std::end(kKeywords)) {
      if (key.starts_with("x-") ||
          std::find(std::begin(kAnnotations), std::end(kAnnotations), key) != std::end(kAnnotations)) {
        continue;
      }
      return Error(StatusCode::kUnsupported, "%s: the keyword '%.100s' is not supported", path.c_str(),
                   key.c_str());
    }
    if (!HasShape(value, known->shape)) return Invalid(path, key, ShapeName(known->shape));
  }
  if (schema.contains("type")) {
    const Json& type = schema["type"];
    const bool list = type.is_array() && !type.empty() && std::all_of(type.begin(), type.end(), IsTypeName);
    if (!list && !IsTypeName(type)) return Invalid(path, "type", "the name of a JSON type or a list of them");
  }
  if (schema.contains("enum") && (!schema["enum"].is_array() || schema["enum"].empty())) {
    return Invalid(path, "enum", "a list of values, not empty");
  }
  if (schema.contains("required") && !IsStringList(schema["required"])) {
    return Invalid(path, "required", "a list of strings");
  }
  return Status::Ok();
}

Expected<Json> SchemaMerger::Flatten(const Json& schema, const std::string& path, int depth) {
  if (schema.is_boolean()) return schema;
  if (!schema.is_object())
    return Error(StatusCode::kInvalidArgument, "%s: a schema must be an object or a boolean", path.c_str());
  if (depth > budget_->limits().depth) {
    return Error(
        StatusCode::kResourceExhausted,
        "%.200s: references or allOf nested deeper than the %d allowed, or a schema that includes itself",
        path.c_str(), budget_->limits().depth);
  }
  LATHE_RETURN_IF_ERROR(budget_->Take(64 + schema.size() * 64));
  LATHE_RETURN_IF_ERROR(CheckKeywords(schema, path));
  Json own = Json::object();
  for (const auto& [key, value] : schema.items()) {
    if (key.starts_with("x-") || key == "allOf" || key == "$ref" ||
        std::find(std::begin(kAnnotations), std::end(kAnnotations), key) != std::end(kAnnotations)) {
      continue;
    }
    own[key] = value;
  }
  if (schema.contains("$ref")) {
    if (own.empty() && !schema.contains("allOf")) {
      own["$ref"] = schema["$ref"];
      return own;
    }
    LATHE_ASSIGN_OR_RETURN(const Json* target, Resolve(schema["$ref"].get<std::string>(), path));
    LATHE_ASSIGN_OR_RETURN(const Json flat, Flatten(*target, path, depth + 1));
    LATHE_ASSIGN_OR_RETURN(own, Merge(own, flat, path));
  }
  if (schema.contains("allOf")) {
    for (size_t i = 0; i < schema["allOf"].size(); ++i) {
      const std::string at = Child(Child(path, "allOf"), std::to_string(i));
      const Json& part = schema["allOf"][i];
      LATHE_ASSIGN_OR_RETURN(Json flat, Flatten(part, at, depth + 1));
      if (schema["allOf"].size() == 1 && own.empty()) return flat;
      LATHE_ASSIGN_OR_RETURN(own, Merge(own, flat, at));
    }
  }
  return own;
}

std::vector<std::string> SchemaMerger::TypesOf(const Json& schema) {
  std::vector<std::string> out;
  if (schema.is_boolean()) {
    if (schema.get<bool>()) out.assign(kTypes.begin(), kTypes.end());
    return out;
  }
  if (schema.contains("type")) {
    const Json& type = schema["type"];
    for (const Json& t : type.is_array() ? type : Json::array({type})) out.push_back(t.get<std::string>());
    if (schema.value("nullable", false)) out.emplace_back("null");
    return out;
  }
  if (const auto constants = Constants(schema)) {
    for (const Json& c : *constants) out.push_back(TypeOf(c));
    return out;
  }
  // Without a type, the one that the other keywords speak of: what those who write such schemas mean.
  if (HasAny(schema, {"properties", "required", "additionalProperties", "patternProperties", "minProperties",
                      "maxProperties"})) {
    out.emplace_back("object");
  }
  if (HasAny(schema, {"items", "prefixItems", "minItems", "maxItems", "additionalItems", "uniqueItems"}))
    out.emplace_back("array");
  if (HasAny(schema, {"minLength", "maxLength", "pattern", "format", kPatternsKey, kFormatsKey}))
    out.emplace_back("string");
  if (HasAny(schema, {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"}))
    out.emplace_back("number");
  if (out.empty()) out.assign(kTypes.begin(), kTypes.end());
  return out;
}

Expected<Json> SchemaMerger::Merge(const Json& a, const Json& b, const std::string& path) {
  LATHE_RETURN_IF_ERROR(budget_->Take(256));
  if (a.is_boolean()) return a.get<bool>() ? b : a;
  if (b.is_boolean()) return b.get<bool>() ? a : b;
  if (a.empty()) return b;
  if (b.empty() || a == b) return a;
  for (const auto* s : {&a, &b}) {
    if (!s->contains("$ref")) continue;
    // Alone in its schema: put in what it names.
    LATHE_ASSIGN_OR_RETURN(const Json* target, Resolve((*s)["$ref"].get<std::string>(), path));
    const Json& other = s == &a ? b : a;
    Json all = Json::object();
    all["allOf"] = Json::array({*target, other});
    if (++merge_depth_ > budget_->limits().depth) {
      return Error(StatusCode::kResourceExhausted, "%.200s: a schema that includes itself", path.c_str());
    }
    auto flat = Flatten(all, path);
    --merge_depth_;
    return flat;
  }
  Json out = a;
  for (const auto& [key, value] : b.items()) {
    if (!a.contains(key)) out[key] = value;
  }
  if (a.contains("type") && b.contains("type")) {
    Json types = Json::array();
    const auto of_a = TypesOf(a), of_b = TypesOf(b);
    const auto has = [](const std::vector<std::string>& v, std::string_view t) {
      return std::find(v.begin(), v.end(), t) != v.end();
    };
    for (const std::string& t : of_a) {
      if (has(of_b, t) || (t == "integer" && has(of_b, "number"))) types.push_back(t);
      if (t == "number" && !has(of_b, t) && has(of_b, "integer")) types.push_back("integer");
    }
    if (types.empty()) return Json(false);
    out["type"] = types;
    out.erase("nullable");
  }
  if (const auto ca = Constants(a), cb = Constants(b); ca && cb) {
    Json common = Json::array();
    for (const Json& v : *ca) {
      if (std::find(cb->begin(), cb->end(), v) != cb->end()) common.push_back(v);
    }
    if (common.empty()) return Json(false);
    out.erase("const");
    out["enum"] = common;
  }
  for (const char* key : {"minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"}) {
    if (a.contains(key) && b.contains(key)) out[key] = std::max(a[key], b[key]);
  }
  for (const char* key : {"maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"}) {
    if (a.contains(key) && b.contains(key)) out[key] = std::min(a[key], b[key]);
  }
  for (const auto& [key, list] : {std::pair{"pattern", kPatternsKey}, std::pair{"format", kFormatsKey}}) {
    Json all = Strings(a, key, list);
    for (const Json& v : Strings(b, key, list)) {
      if (std::find(all.begin(), all.end(), v) == all.end()) all.push_back(v);
    }
    if (all.size() < 2) continue;
    out.erase(key);
    out[list] = all;
  }
  if (a.contains("multipleOf") && b.contains("multipleOf") && a["multipleOf"] != b["multipleOf"]) {
    return Error(StatusCode::kUnsupported, "%s: two different values of 'multipleOf' cannot be merged",
                 path.c_str());
  }
  if (a.contains("uniqueItems") && b.contains("uniqueItems"))
    out["uniqueItems"] = a["uniqueItems"].get<bool>() || b["uniqueItems"].get<bool>();
  for (const char* key : {"anyOf", "oneOf"}) {
    if (!a.contains(key) || !b.contains(key)) continue;
    // One of each: every pair of branches. Pairs of branches that exclude each other do so too.
    if (a[key].size() * b[key].size() > 256) {
      return Error(StatusCode::kUnsupported, "%s: two lists of '%s' too long to be merged", path.c_str(),
                   key);
    }
    Json pairs = Json::array();
    for (const Json& x : a[key]) {
      for (const Json& y : b[key]) pairs.push_back(AllOf(x, y));
    }
    out[key] = pairs;
  }
  LATHE_RETURN_IF_ERROR(MergeObjects(a, b, path, &out));
  LATHE_RETURN_IF_ERROR(MergeArrays(a, b, path, &out));
  return out;
}

Status SchemaMerger::MergeObjects(const Json& a, const Json& b, const std::string& path, Json* out) {
  if (HasAny(a, {"patternProperties"}) || HasAny(b, {"patternProperties"})) {
    const auto speaks = [](const Json& s) {
      return HasAny(s, {"properties", "additionalProperties", "patternProperties"});
    };
    if (speaks(a) && speaks(b)) {
      return Error(StatusCode::kUnsupported,
                   "%s: 'patternProperties' cannot be merged with the properties of another schema",
                   path.c_str());
    }
    return Status::Ok();
  }
  if (a.contains("required") && b.contains("required")) {
    for (const Json& name : b["required"]) {
      Json& all = (*out)["required"];
      if (std::find(all.begin(), all.end(), name) == all.end()) all.push_back(name);
    }
  }
  const Json none = Json::object();
  const Json& of_a = a.contains("properties") ? a["properties"] : none;
  const Json& of_b = b.contains("properties") ? b["properties"] : none;
  if (!of_a.empty() || !of_b.empty()) {
    Json all = Json::object();
    const auto other = [](const Json& schema, const Json& properties, const std::string& name,
                          const Json& own) {
      if (properties.contains(name)) return AllOf(own, properties[name]);
      return schema.contains("additionalProperties") ? AllOf(own, schema["additionalProperties"]) : own;
    };
    for (const auto& [name, own] : of_a.items()) all[name] = other(b, of_b, name, own);
    for (const auto& [name, own] : of_b.items()) {
      if (!of_a.contains(name)) all[name] = other(a, of_a, name, own);
    }
    LATHE_RETURN_IF_ERROR(budget_->Take(all.size() * 128));
    (*out)["properties"] = all;
  }
  if (a.contains("additionalProperties") && b.contains("additionalProperties")) {
    (*out)["additionalProperties"] = AllOf(a["additionalProperties"], b["additionalProperties"]);
  }
  return Status::Ok();
}

Status SchemaMerger::MergeArrays(const Json& a, const Json& b, const std::string& path, Json* out) {
  const auto lists = [](const Json& s) {
    return HasAny(s, {"prefixItems", "additionalItems"}) || (s.contains("items") && s["items"].is_array());
  };
  const auto speaks = [](const Json& s) { return HasAny(s, {"items", "prefixItems", "additionalItems"}); };
  if (!speaks(a) || !speaks(b)) return Status::Ok();
  if (lists(a) || lists(b)) {
    return Error(StatusCode::kUnsupported,
                 "%s: 'prefixItems' cannot be merged with the items of another schema", path.c_str());
  }
  (*out)["items"] = AllOf(a["items"], b["items"]);
  return Status::Ok();
}

const Json& SchemaMerger::Follow(const Json& schema) const {
  const Json* at = &schema;
  for (int i = 0; i < 16 && at->is_object() && at->contains("$ref") && (*at)["$ref"].is_string(); ++i) {
    const auto next = Resolve((*at)["$ref"].get<std::string>(), "");
    if (!next.ok()) break;
    at = *next;
  }
  return *at;
}

bool SchemaMerger::Disjoint(const Json& schema_a, const Json& schema_b, int depth) const {
  const Json& a = Follow(schema_a);
  const Json& b = Follow(schema_b);
  if (a.is_boolean() || b.is_boolean()) return a == Json(false) || b == Json(false);
  if (depth > 8 || ++disjoint_steps_ > 200'000 || !a.is_object() || !b.is_object() ||
      !CheckKeywords(a, "").ok() || !CheckKeywords(b, "").ok())
    return false;
  for (const char* key : {"allOf", "anyOf", "oneOf"}) {
    // Apart from each branch of a choice, or from one part of a conjunction.
    for (const auto& [x, y] : {std::pair{&a, &b}, std::pair{&b, &a}}) {
      if (!x->contains(key)) continue;
      const Json& parts = (*x)[key];
      const auto apart = [&, other = y](const Json& part) { return Disjoint(part, *other, depth + 1); };
      const bool all = key[0] != 'a' || key[1] != 'l';
      if (all ? std::all_of(parts.begin(), parts.end(), apart)
              : std::any_of(parts.begin(), parts.end(), apart))
        return true;
    }
  }
  const auto ca = Constants(a), cb = Constants(b);
  if (ca && cb) {
    return std::none_of(ca->begin(), ca->end(),
                        [&](const Json& v) { return std::find(cb->begin(), cb->end(), v) != cb->end(); });
  }
  // A schema that says nothing of its type allows all here, whatever is guessed elsewhere.
  const auto types = [](const Json& s) {
    return s.contains("type") || Constants(s) ? TypesOf(s) : TypesOf(Json(true));
  };
  const auto ta = types(a), tb = types(b);
  const auto clashes = [](const std::string& x, const std::string& y) {
    return x == y || (x == "integer" && y == "number") || (x == "number" && y == "integer");
  };
  bool only_objects = true;
  bool share = false;
  for (const std::string& x : ta) {
    for (const std::string& y : tb) {
      if (!clashes(x, y)) continue;
      share = true;
      only_objects &= x == "object";
    }
  }
  if (!share) return true;
  if (!only_objects) return false;
  const auto required = [](const Json& s, const std::string& name) {
    return s.contains("required") &&
           std::find(s["required"].begin(), s["required"].end(), name) != s["required"].end();
  };
  const auto property = [](const Json& s, const std::string& name) -> const Json* {
    return s.contains("properties") && s["properties"].contains(name) ? &s["properties"][name] : nullptr;
  };
  for (const auto& [x, y] : {std::pair{&a, &b}, std::pair{&b, &a}}) {
    if (!x->contains("required")) continue;
    for (const Json& name : (*x)["required"]) {
      const auto n = name.get<std::string>();
      const Json* const px = property(*x, n);
      const Json* const py = property(*y, n);
      // Present in the one, impossible in the other.
      const bool closed = y->contains("additionalProperties") &&
                          (*y)["additionalProperties"] == Json(false) && !y->contains("patternProperties");
      if (py == nullptr && closed) return true;
      if (py != nullptr && *py == Json(false)) return true;
      if (px != nullptr && py != nullptr && required(*y, n) && Disjoint(*px, *py, depth + 1)) return true;
    }
  }
  return false;
}

Expected<bool> Allows(const Json& schema, const Json& value, const std::string& path) {
  const auto types = schema.contains("type") ? SchemaMerger::TypesOf(schema) : std::vector<std::string>();
  const std::string type = TypeOf(value);
  const auto has = [&](std::string_view t) {
    return std::find(types.begin(), types.end(), t) != types.end();
  };
  if (schema.contains("type") && !has(type) && !(type == "integer" && has("number"))) return false;
  if (value.is_number()) {
    if (schema.contains("multipleOf")) {
      const double m = schema["multipleOf"].get<double>();
      if (!IsIntegral(value) || m < 1 || m != std::floor(m)) {
        return Error(StatusCode::kUnsupported,
                     "%s: 'multipleOf' beside 'enum' is supported for integers only", path.c_str());
      }
      if (std::fmod(value.get<double>(), m) != 0) return false;
    }
    if (schema.contains("minimum") && value < schema["minimum"]) return false;
    if (schema.contains("maximum") && value > schema["maximum"]) return false;
    if (schema.contains("exclusiveMinimum") && value <= schema["exclusiveMinimum"]) return false;
    if (schema.contains("exclusiveMaximum") && value >= schema["exclusiveMaximum"]) return false;
  }
  if (value.is_string()) {
    if (HasAny(schema, {"pattern", kPatternsKey, kFormatsKey})) {
      return Error(StatusCode::kUnsupported, "%s: 'pattern' beside 'enum' or 'const' is not supported",
                   path.c_str());
    }
    const auto text = value.get<std::string>();
    const auto n =
        std::count_if(text.begin(), text.end(), [](char c) { return !text::IsUtf8Continuation(c); });
    if (schema.contains("minLength") && n < schema["minLength"].get<int64_t>()) return false;
    if (schema.contains("maxLength") && n > schema["maxLength"].get<int64_t>()) return false;
  }
  if (value.is_object() && HasAny(schema, {"properties", "required", "additionalProperties",
                                           "patternProperties", "minProperties", "maxProperties"})) {
    return Error(StatusCode::kUnsupported,
                 "%s: keywords about properties beside an object in 'enum' or 'const' are not supported",
                 path.c_str());
  }
  if (value.is_array() &&
      HasAny(schema, {"items", "prefixItems", "additionalItems", "minItems", "maxItems", "uniqueItems"})) {
    return Error(StatusCode::kUnsupported,
                 "%s: keywords about items beside an array in 'enum' or 'const' are not supported",
                 path.c_str());
  }
  return true;
}

}  // namespace lathe::grammar
