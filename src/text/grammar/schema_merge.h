// JSON schemas before they become rules: references resolved, allOf merged.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "text/grammar/budget.h"

namespace lathe::grammar {

// Keys that only merging makes: every pattern and every format that must hold.
inline constexpr const char* kPatternsKey = "$lathe.patterns";
inline constexpr const char* kFormatsKey = "$lathe.formats";

// Looks into one document. Refers to it; one thread.
class SchemaMerger {
 public:
  SchemaMerger(const Json& root, Budget* budget) : root_(root), budget_(budget) {}

  // The schema that "#" or "#/..." names. kInvalidArgument when there is none, kUnsupported for other
  // documents.
  Expected<const Json*> Resolve(const std::string& ref, const std::string& path) const;

  // `schema` without annotations, $ref (unless it is all there is) and allOf, each keyword checked to be one
  // that lathe enforces (kUnsupported names it and `path`) and of the right type. A bool stays one.
  Expected<Json> Flatten(const Json& schema, const std::string& path, int depth = 0);

  // What both flattened schemas allow.
  Expected<Json> Merge(const Json& a, const Json& b, const std::string& path);

  // Whether no value belongs to both, as far as types, constants and required properties show.
  bool Disjoint(const Json& a, const Json& b, int depth = 0) const;

  // The types that a flattened schema allows, "integer" besides "number".
  static std::vector<std::string> TypesOf(const Json& schema);

 private:
  Status CheckKeywords(const Json& schema, const std::string& path) const;
  Status MergeObjects(const Json& a, const Json& b, const std::string& path, Json* out);
  Status MergeArrays(const Json& a, const Json& b, const std::string& path, Json* out);
  const Json& Follow(const Json& schema) const;

  const Json& root_;
  Budget* budget_;
  int merge_depth_ = 0;
  mutable int disjoint_steps_ = 0;  // bounded: beyond, nothing more is proved
};

// Whether a flattened schema holds for a constant: types, bounds, lengths. kUnsupported when keywords about
// patterns, objects or arrays would have to be looked at.
Expected<bool> Allows(const Json& schema, const Json& value, const std::string& path);

// A JSON pointer one step further.
std::string Child(const std::string& path, std::string_view key);

}  // namespace lathe::grammar
