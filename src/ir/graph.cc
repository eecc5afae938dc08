#include "ir/graph.h"

#include <algorithm>
#include <charconv>

#include "base/check.h"

namespace lathe::ir {

const Attr* Op::Find(std::string_view name) const {
  for (const Attr& attr : attrs)
    if (attr.name == name) return &attr;
  return nullptr;
}

int64_t Op::Int(std::string_view name) const {
  const Attr* attr = Find(name);
  LATHE_CHECK(attr != nullptr && std::holds_alternative<int64_t>(attr->value));
  return std::get<int64_t>(attr->value);
}

float Op::Float(std::string_view name) const {
  const Attr* attr = Find(name);
  LATHE_CHECK(attr != nullptr && std::holds_alternative<float>(attr->value));
  return std::get<float>(attr->value);
}

int Graph::NextId() const {
  int next = 0;
  for (const Op& op : ops)
    for (const Value& value : op.results) next = std::max(next, value.id + 1);
  return next;
}

const WeightDecl* Graph::FindWeight(std::string_view name) const {
  for (const WeightDecl& weight : weights)
    if (weight.name == name) return &weight;
  return nullptr;
}

Uses::Uses(const Graph& graph) {
  for (size_t i = 0; i < graph.ops.size(); ++i) {
    for (int id : graph.ops[i].operands) values[id].users.push_back(static_cast<int>(i));
    for (const Value& value : graph.ops[i].results) {
      Entry& entry = values[value.id];
      entry.def = static_cast<int>(i);
      entry.type = value.type;
    }
  }
}

const Uses::Entry& Uses::operator[](int id) const {
  const auto it = values.find(id);
  LATHE_CHECK(it != values.end());
  return it->second;
}

int Uses::OnlyUser(int id) const {
  const Entry& entry = (*this)[id];
  return entry.users.size() == 1 ? entry.users[0] : -1;
}

void ReplaceUses(Graph* graph, int from, int to) {
  for (Op& op : graph->ops) std::replace(op.operands.begin(), op.operands.end(), from, to);
}

void EraseOps(Graph* graph, const std::vector<bool>& dead) {
  ReplaceOps(graph, dead, std::vector<std::vector<Op>>(dead.size()));
}

void ReplaceOps(Graph* graph, const std::vector<bool>& dead, std::vector<std::vector<Op>> instead) {
  LATHE_CHECK_EQ(dead.size(), graph->ops.size());
  LATHE_CHECK_EQ(instead.size(), graph->ops.size());
  std::vector<Op> kept;
  kept.reserve(graph->ops.size());
  for (size_t i = 0; i < dead.size(); ++i) {
    for (Op& op : instead[i]) kept.push_back(std::move(op));
    if (!dead[i]) kept.push_back(std::move(graph->ops[i]));
  }
  graph->ops = std::move(kept);
}

int LayerOf(const Op& op) {
  if (const Attr* attr = op.Find("layer"); attr != nullptr && std::holds_alternative<int64_t>(attr->value))
    return static_cast<int>(std::get<int64_t>(attr->value));
  constexpr std::string_view kPrefix = "layers.";
  for (const WeightRef& ref : op.weights) {
    if (!ref.name.starts_with(kPrefix)) continue;
    int layer = -1;
    const char* begin = ref.name.data() + kPrefix.size();
    const auto [end, error] = std::from_chars(begin, ref.name.data() + ref.name.size(), layer);
    if (error == std::errc() && layer >= 0 && end != begin && *end == '.') return layer;
  }
  return -1;
}

}  // namespace lathe::ir
