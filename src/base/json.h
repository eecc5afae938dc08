// JSON in and out: nlohmann-json behind a parser with limits that reports faults as Status.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "base/status.h"

// Compiled once, in json.cc: a quarter of the time to compile a file that uses JSON.
extern template class nlohmann::basic_json<nlohmann::ordered_map>;

namespace lathe {

// Keeps the order of keys, as files people read should.
using Json = nlohmann::ordered_json;

struct JsonLimits {
  size_t max_bytes = size_t{256} << 20;
  int max_depth = 64;
  bool allow_duplicate_keys = false;
};

// Parses the whole of `text`. `where` names the source in messages ("models/x/config.json").
// Errors: kCorrupt with the byte offset for bad syntax, depth, size or a duplicate key.
Expected<Json> ParseJson(std::string_view text, std::string_view where, const JsonLimits& limits = {});

// Reads and parses a file; kIo/kNotFound when it cannot be read.
Expected<Json> ReadJsonFile(const std::string& path, const JsonLimits& limits = {});

// Typed look-ups in an object. `where` as above. A present key of the wrong type is kInvalidArgument
// naming the key, the type expected and what was found. The Optional forms give `fallback` when the
// key is absent or null.
Expected<int64_t> JsonInt(const Json& object, const char* key, std::string_view where);
Expected<int64_t> JsonIntOr(const Json& object, const char* key, int64_t fallback, std::string_view where);
Expected<double> JsonNumber(const Json& object, const char* key, std::string_view where);
Expected<double> JsonNumberOr(const Json& object, const char* key, double fallback, std::string_view where);
Expected<bool> JsonBoolOr(const Json& object, const char* key, bool fallback, std::string_view where);
Expected<std::string> JsonString(const Json& object, const char* key, std::string_view where);
Expected<std::string> JsonStringOr(const Json& object, const char* key, std::string_view fallback,
                                   std::string_view where);

// Text of a value; invalid UTF-8 is replaced by U+FFFD rather than thrown over. indent < 0: one line.
std::string DumpJson(const Json& value, int indent = -1);

}  // namespace lathe
