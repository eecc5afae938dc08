#include <algorithm>

#include "text/grammar/front_ends.h"
#include "text/grammar/schema_builder.h"

namespace lathe::grammar {
namespace {

// Counts of members that are told apart; products of it and the number of properties are automaton nodes.
constexpr uint32_t kMaxCountedMembers = 256;

}  // namespace

Expected<ExprId> SchemaBuilder::ArrayOf(const Json& schema, const std::string& path) {
  const uint32_t min = CountOf(schema, "minItems", 0);
  const uint32_t max = CountOf(schema, "maxItems", kUnbounded);
  if (schema.contains("uniqueItems") && schema["uniqueItems"].get<bool>() && max > 1) {
    return Error(StatusCode::kUnsupported,
                 "%s: 'uniqueItems' is not supported for arrays of more than one item", path.c_str());
  }
  // prefixItems and items, or in older drafts a list of items and additionalItems.
  const bool old_list = schema.contains("items") && schema["items"].is_array();
  const std::string prefix_key = old_list ? "items" : "prefixItems";
  const std::string rest_key = old_list ? "additionalItems" : "items";
  const Json prefix = schema.contains(prefix_key) ? schema[prefix_key] : Json::array();
  const Json rest = schema.contains(rest_key) ? schema[rest_key] : Json(true);

  ExprPool::Graph graph;  // node i: i items so far
  const auto n = static_cast<uint32_t>(std::min<size_t>(prefix.size(), max));
  for (uint32_t i = 0; i < n; ++i) {
    const ExprId item = Sub(prefix[i], Child(Child(path, prefix_key), std::to_string(i)));
    const uint32_t next = graph.AddNode();
    graph.edges.push_back({i, next, i == 0 ? item : pool_->Seq({rules_.Comma(), item})});
    if (next >= min) graph.accept.push_back(next);
  }
  if (max > n && rest != Json(false)) {
    const ExprId item = Sub(rest, Child(path, rest_key));
    const ExprId more = pool_->Seq({rules_.Comma(), item});
    const uint32_t low = min > n ? min - n : 1;
    const uint32_t high = max == kUnbounded ? kUnbounded : max - n;
    const uint32_t last = graph.AddNode();
    if (low <= high) {
      const uint32_t tail_max = high == kUnbounded ? kUnbounded : high - 1;
      const ExprId tail =
          n > 0 ? pool_->Repeat(more, low, high) : pool_->Seq({item, pool_->Repeat(more, low - 1, tail_max)});
      graph.edges.push_back({n, last, tail});
      graph.accept.push_back(last);
    }
  }
  return rules_.Bracketed('[', pool_->OfGraph(std::move(graph)), ']', min == 0);
}

Expected<ExprId> SchemaBuilder::ObjectOf(const Json& schema, const std::string& path) {
  const bool plain = !schema.contains("properties") && !schema.contains("required") &&
                     !schema.contains("additionalProperties") && !schema.contains("patternProperties") &&
                     !schema.contains("minProperties") && !schema.contains("maxProperties");
  if (plain) return rules_.Object();
  LATHE_ASSIGN_OR_RETURN(const auto members, Members(schema, path));
  LATHE_ASSIGN_OR_RETURN(const Others others, OtherMembers(schema, path));
  LATHE_ASSIGN_OR_RETURN(const ExprId list, MemberList(schema, members, others, path));
  const bool none_required =
      std::none_of(members.begin(), members.end(), [](const Member& m) { return m.required; });
  return rules_.Bracketed('{', list, '}', none_required && CountOf(schema, "minProperties", 0) == 0);
}

Expected<std::vector<SchemaBuilder::Member>> SchemaBuilder::Members(const Json& schema,
                                                                    const std::string& path) {
  const Json none = Json::object();
  const Json& properties = schema.contains("properties") ? schema["properties"] : none;
  const Json required = schema.contains("required") ? schema["required"] : Json::array();
  std::vector<std::string> names;
  for (const Json& name : required) names.push_back(name.get<std::string>());
  std::vector<Member> members;
  const auto add = [&](const std::string& name, const Json& value, const std::string& at, bool is_required) {
    const ExprId pair = pool_->Seq({pool_->String(DumpJson(Json(name))), rules_.Colon(), Sub(value, at)});
    members.push_back({name, pair, is_required});
  };
  for (const auto& [name, value] : properties.items()) {
    LATHE_RETURN_IF_ERROR(pool_->status());
    const bool is_required = std::find(names.begin(), names.end(), name) != names.end();
    if (value == Json(false) && !is_required) continue;
    add(name, value, Child(Child(path, "properties"), name), is_required);
  }
  // Required but not declared: as additional ones are.
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  for (const std::string& name : names) {
    if (properties.contains(name)) continue;
    if (schema.contains("patternProperties")) {
      return Error(
          StatusCode::kUnsupported,
          "%s: 'required' names '%.100s', which is not among 'properties', beside 'patternProperties'",
          path.c_str(), name.c_str());
    }
    add(name, schema.contains("additionalProperties") ? schema["additionalProperties"] : Json(true),
        Child(path, "additionalProperties"), true);
  }
  return members;
}

// Keys that are no declared name, in a JSON string.
Expected<ExprId> SchemaBuilder::OtherKey(const Json& schema) {
  const ExprId any = pool_->Repeat(pool_->Class(CodeSet::All(), Spelling::kJson), 0, kUnbounded);
  std::vector<ExprId> names;
  if (schema.contains("properties")) {
    for (const auto& [name, value] : schema["properties"].items()) names.push_back(pool_->String(name));
  }
  if (schema.contains("required")) {
    for (const Json& name : schema["required"]) names.push_back(pool_->String(name.get<std::string>()));
  }
  if (names.empty()) return rules_.String();
  LATHE_ASSIGN_OR_RETURN(const Dfa all, CodePointDfa(pool_, any));
  LATHE_ASSIGN_OR_RETURN(const Dfa known, CodePointDfa(pool_, pool_->Alt(names)));
  LATHE_ASSIGN_OR_RETURN(Dfa others, Combine(all, known, SetOp::kWithout, pool_->budget()));
  return pool_->AsRule("other key", rules_.Quoted(pool_->OfDfa(std::move(others), Spelling::kJson)));
}

Expected<SchemaBuilder::Others> SchemaBuilder::OtherMembers(const Json& schema, const std::string& path) {
  Others others;
  const Json additional =
      schema.contains("additionalProperties") ? schema["additionalProperties"] : Json(true);
  if (schema.contains("patternProperties")) {
    const Json& patterns = schema["patternProperties"];
    if (patterns.size() > 1 || additional != Json(false) || schema.contains("properties")) {
      return Error(StatusCode::kUnsupported,
                   "%s: 'patternProperties' is supported with one pattern, without 'properties' and with "
                   "'additionalProperties' false",
                   path.c_str());
    }
    for (const auto& [pattern, value] : patterns.items()) {
      const std::string at = Child(Child(path, "patternProperties"), pattern);
      auto key = ParseRegex(pattern, RegexMatch::kSearch, Spelling::kJson, pool_);
      if (!key.ok()) return key.status().WithContext(at);
      others.pairs.push_back(pool_->Seq({rules_.Quoted(*key), rules_.Colon(), Sub(value, at)}));
    }
    return others;
  }
  if (additional == Json(false)) return others;
  LATHE_ASSIGN_OR_RETURN(const ExprId key, OtherKey(schema));
  others.pairs.push_back(
      pool_->Seq({key, rules_.Colon(), Sub(additional, Child(path, "additionalProperties"))}));
  return others;
}

Expected<ExprId> SchemaBuilder::MemberList(const Json& schema, const std::vector<Member>& members,
                                           const Others& others, const std::string& path) {
  const uint32_t min = CountOf(schema, "minProperties", 0);
  const uint32_t max = CountOf(schema, "maxProperties", kUnbounded);
  const auto required = static_cast<uint32_t>(
      std::count_if(members.begin(), members.end(), [](const Member& m) { return m.required; }));
  const bool needs_min = min > std::max(required, 1u);
  // Nothing keeps other members from having the same key, and then they are one: only the first is sure to
  // count.
  if (needs_min && !others.pairs.empty() && (min > required + 1 || max != kUnbounded)) {
    return Error(
        StatusCode::kUnsupported,
        "%s: 'minProperties' of %u is not supported beside additional properties; require some by name",
        path.c_str(), min);
  }
  const auto n = static_cast<uint32_t>(members.size());
  if (needs_min && min > n && others.pairs.empty()) return pool_->Never();
  // Members are counted as far as it matters: none or some, up to the least number, or up to the most.
  uint32_t top = max != kUnbounded ? max : needs_min ? min : 1;
  if (others.pairs.empty()) top = std::min(top, std::max(n, 1u));
  if (top > kMaxCountedMembers && max != kUnbounded) {
    return Error(StatusCode::kUnsupported, "%s: 'maxProperties' of %u is more than the %u supported",
                 path.c_str(), max, kMaxCountedMembers);
  }
  const uint32_t counts = top + 1;
  if (uint64_t{n + 1} * counts > 200'000) {
    return Error(StatusCode::kResourceExhausted,
                 "%s: too many properties beside 'minProperties' or 'maxProperties'", path.c_str());
  }
  const ExprId comma = rules_.Comma();
  ExprPool::Graph graph;  // node: how many of the members are done, how many were written
  graph.nodes = (n + 1) * counts;
  const auto node = [&](uint32_t done, uint32_t count) { return done * counts + count; };
  for (uint32_t i = 0; i < n; ++i) {
    for (uint32_t c = 0; c < counts; ++c) {
      if (!members[i].required) graph.edges.push_back({node(i, c), node(i + 1, c), pool_->Empty()});
      if (c == max) continue;
      const ExprId pair = c == 0 ? members[i].pair : pool_->Seq({comma, members[i].pair});
      graph.edges.push_back({node(i, c), node(i + 1, std::min(c + 1, counts - 1)), pair});
    }
    LATHE_RETURN_IF_ERROR(pool_->status());
  }
  for (uint32_t c = 0; c < counts; ++c) {
    if (c >= std::max(min, 1u) || (!needs_min && c > 0)) graph.accept.push_back(node(n, c));
  }
  for (const ExprId pair : others.pairs) {
    const ExprId next = pool_->Seq({comma, pair});
    const ExprId first_or_next[] = {pair, next};
    for (uint32_t c = 0; c < counts; ++c) {
      if (c == max) break;
      // With a maximum each counts; else the first only, and any number may follow where that is enough.
      if (max == kUnbounded && c == counts - 1) {
        graph.edges.push_back({node(n, c), node(n, c), next});
      } else {
        graph.edges.push_back({node(n, c), node(n, c + 1), first_or_next[c > 0 ? 1 : 0]});
      }
    }
  }
  return pool_->OfGraph(std::move(graph));
}

}  // namespace lathe::grammar
