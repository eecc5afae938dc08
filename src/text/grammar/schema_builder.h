// From a JSON schema to rules. One rule for each subschema, made from a queue, so nothing recurses on the
// schema.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/json.h"
#include "text/grammar/json_rules.h"
#include "text/grammar/schema_merge.h"

namespace lathe::grammar {

class SchemaBuilder {
 public:
  SchemaBuilder(const Json& root, ExprPool* pool)
      : root_(root), pool_(pool), rules_(pool), merger_(root, pool->budget()) {}

  // The values of the schema itself.
  Expected<ExprId> Build(const std::string& where);

 private:
  struct Pending {
    RuleId rule;
    Json schema;
    std::string path;
  };
  // The rule of a subschema, made later.
  ExprId Sub(const Json& schema, const std::string& path);

  Expected<ExprId> Body(const Json& schema, const std::string& path);
  Expected<ExprId> Branches(const Json& schema, const char* key, const std::string& path);
  Status CheckDisjoint(const std::vector<Json>& branches, const std::string& path);
  Expected<ExprId> Reference(const std::string& ref, const std::string& path);
  Expected<ExprId> Constants(const Json& schema, const Json& values, const std::string& path);
  Expected<ExprId> OfType(const std::string& type, const Json& schema, const std::string& path);
  // schema_values.cc
  Expected<ExprId> StringOf(const Json& schema, const std::string& path);
  Expected<ExprId> NumberOf(const Json& schema, bool integer, const std::string& path);
  // schema_containers.cc
  Expected<ExprId> ArrayOf(const Json& schema, const std::string& path);
  Expected<ExprId> ObjectOf(const Json& schema, const std::string& path);
  struct Member {  // of an object
    std::string name;
    ExprId pair;  // key, colon and value
    bool required;
  };
  struct Others {  // members of no declared name
    std::vector<ExprId> pairs;
  };
  Expected<std::vector<Member>> Members(const Json& schema, const std::string& path);
  Expected<Others> OtherMembers(const Json& schema, const std::string& path);
  Expected<ExprId> OtherKey(const Json& schema);
  Expected<ExprId> MemberList(const Json& schema, const std::vector<Member>& members, const Others& others,
                              const std::string& path);

  const Json& root_;
  ExprPool* pool_;
  JsonRules rules_;
  SchemaMerger merger_;
  std::deque<Pending> queue_;
  std::unordered_map<std::string, RuleId> by_content_;  // of schemas that can come again
  std::unordered_map<const Json*, RuleId> by_target_;   // of references
};

// The value of an integral keyword, or `fallback`.
uint32_t CountOf(const Json& schema, const char* key, uint32_t fallback);

// The expression of a format's texts, spelt as the content of a JSON string; none for a format that is a mere
// annotation here.
std::optional<std::string_view> FormatPattern(std::string_view format);

}  // namespace lathe::grammar
