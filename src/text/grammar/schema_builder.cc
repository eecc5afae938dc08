#include "text/grammar/schema_builder.h"

#include <algorithm>

#include "text/grammar/front_ends.h"

namespace lathe::grammar {
namespace {

bool CanComeAgain(const Json& schema) {
  return schema.is_object() && (schema.contains("allOf") || schema.contains("anyOf") ||
                                schema.contains("oneOf") || schema.contains("$ref"));
}

}  // namespace

Expected<ExprId> SchemaExpr(std::string_view source, std::string_view where, ExprPool* pool) {
  JsonLimits json_limits;
  json_limits.max_bytes = pool->budget()->limits().source_bytes;
  json_limits.max_depth = 2 * pool->budget()->limits().depth;
  auto schema = ParseJson(source, where, json_limits);
  if (!schema.ok()) return Status(StatusCode::kInvalidArgument, schema.status().message());
  return SchemaBuilder(*schema, pool).Build(std::string(where));
}

Expected<ExprId> SchemaBuilder::Build(const std::string& where) {
  const ExprId root = Sub(root_, where);
  by_target_.emplace(&root_, pool_->at(root).a);
  while (!queue_.empty()) {
    const Pending next = std::move(queue_.front());
    queue_.pop_front();
    LATHE_ASSIGN_OR_RETURN(const ExprId body, Body(next.schema, next.path));
    LATHE_RETURN_IF_ERROR(pool_->status());
    pool_->SetBody(next.rule, body);
  }
  return root;
}

ExprId SchemaBuilder::Sub(const Json& schema, const std::string& path) {
  if (schema.is_boolean()) return schema.get<bool>() ? rules_.Value() : pool_->Never();
  if (schema.is_object() && schema.empty()) return rules_.Value();
  RuleId* known = nullptr;
  if (CanComeAgain(schema)) {
    const auto [it, fresh] = by_content_.try_emplace(DumpJson(schema), 0);
    if (!fresh) return pool_->Rule(it->second);
    known = &it->second;
  }
  const RuleId rule = pool_->AddRule(path);
  if (known != nullptr) *known = rule;
  queue_.push_back({rule, schema, path});
  return pool_->Rule(rule);
}

Expected<ExprId> SchemaBuilder::Reference(const std::string& ref, const std::string& path) {
  LATHE_ASSIGN_OR_RETURN(const Json* target, merger_.Resolve(ref, path));
  const auto it = by_target_.find(target);
  if (it != by_target_.end()) return pool_->Rule(it->second);
  const RuleId rule = pool_->AddRule(ref);
  by_target_.emplace(target, rule);
  queue_.push_back({rule, *target, ref});
  return pool_->Rule(rule);
}

Expected<ExprId> SchemaBuilder::Body(const Json& schema, const std::string& path) {
  LATHE_ASSIGN_OR_RETURN(const Json flat, merger_.Flatten(schema, path));
  if (flat.is_boolean() || flat.empty()) return Sub(flat, path);
  if (flat.contains("$ref")) return Reference(flat["$ref"].get<std::string>(), path);
  for (const char* key : {"anyOf", "oneOf"}) {
    if (flat.contains(key)) return Branches(flat, key, path);
  }
  if (flat.contains("const")) return Constants(flat, Json::array({flat["const"]}), path);
  if (flat.contains("enum")) return Constants(flat, flat["enum"], path);
  const auto types = SchemaMerger::TypesOf(flat);
  std::vector<ExprId> items;
  for (const std::string& type : types) {
    if (type == "integer" && std::find(types.begin(), types.end(), "number") != types.end()) continue;
    LATHE_ASSIGN_OR_RETURN(const ExprId item, OfType(type, flat, path));
    items.push_back(item);
  }
  return pool_->Alt(items);
}

Expected<ExprId> SchemaBuilder::Branches(const Json& schema, const char* key, const std::string& path) {
  Json base = schema;
  base.erase(key);
  std::vector<Json> branches;
  std::vector<ExprId> items;
  for (size_t i = 0; i < schema[key].size(); ++i) {
    const std::string at = Child(Child(path, key), std::to_string(i));
    branches.push_back(schema[key][i]);
    if (!base.empty()) {
      LATHE_ASSIGN_OR_RETURN(const Json branch, merger_.Flatten(branches[i], at));
      LATHE_ASSIGN_OR_RETURN(branches[i], merger_.Merge(base, branch, at));
    }
    items.push_back(Sub(branches[i], at));
    LATHE_RETURN_IF_ERROR(pool_->status());
  }
  if (std::string_view(key) == "oneOf") LATHE_RETURN_IF_ERROR(CheckDisjoint(branches, path));
  return pool_->Alt(items);
}

Status SchemaBuilder::CheckDisjoint(const std::vector<Json>& branches, const std::string& path) {
  for (size_t i = 0; i < branches.size(); ++i) {
    for (size_t j = i + 1; j < branches.size(); ++j) {
      LATHE_RETURN_IF_ERROR(pool_->budget()->Take(0));
      if (merger_.Disjoint(branches[i], branches[j])) continue;
      return Error(StatusCode::kUnsupported,
                   "%s/oneOf: branches %zu and %zu may both hold for one value as far as lathe can tell; use "
                   "anyOf, or tell them apart by type or by a required constant",
                   path.c_str(), i, j);
    }
  }
  return Status::Ok();
}

Expected<ExprId> SchemaBuilder::Constants(const Json& schema, const Json& values, const std::string& path) {
  std::vector<ExprId> items;
  for (const Json& value : values) {
    LATHE_RETURN_IF_ERROR(pool_->status());
    LATHE_ASSIGN_OR_RETURN(const bool allowed, Allows(schema, value, path));
    if (allowed) items.push_back(rules_.Literal(value));
  }
  return pool_->Alt(items);
}

Expected<ExprId> SchemaBuilder::OfType(const std::string& type, const Json& schema, const std::string& path) {
  if (type == "null") return rules_.Null();
  if (type == "boolean") return rules_.Boolean();
  if (type == "string") return StringOf(schema, path);
  if (type == "integer" || type == "number") return NumberOf(schema, type == "integer", path);
  return type == "array" ? ArrayOf(schema, path) : ObjectOf(schema, path);
}

uint32_t CountOf(const Json& schema, const char* key, uint32_t fallback) {
  return schema.contains(key) ? schema[key].get<uint32_t>() : fallback;
}

}  // namespace lathe::grammar
