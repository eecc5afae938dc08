#include <charconv>

#include "ir/schema.h"
#include "ir/text.h"

namespace lathe::ir {
namespace {

void AppendRange(int64_t begin, int64_t end, std::string* out) {
  if (begin != 0 || end != -1) {
    *out += std::to_string(begin) + ":";
    if (end != -1) *out += std::to_string(end);
  } else {
    *out += ":";
  }
}

void AppendRef(const WeightRef& ref, std::string* out) {
  *out += " @" + ref.name;
  const bool rows = ref.row_begin != 0 || ref.row_end != -1;
  const bool cols = ref.col_begin != 0 || ref.col_end != -1;
  if (!rows && !cols) return;
  *out += "[";
  AppendRange(ref.row_begin, ref.row_end, out);
  if (cols) {
    *out += ",";
    AppendRange(ref.col_begin, ref.col_end, out);
  }
  *out += "]";
}

// Shortest text that reads back as the same float, always with a mark that it is one.
std::string PrintFloat(float value) {
  char text[64];
  const auto [end, error] = std::to_chars(text, text + sizeof text, value);
  std::string out(text, end);
  if (out.find_first_of(".en") == std::string::npos) out += ".0";
  return out;
}

void AppendAttrs(const Op& op, std::string* out) {
  if (op.attrs.empty()) return;
  *out += " {";
  for (size_t i = 0; i < op.attrs.size(); ++i) {
    const Attr& attr = op.attrs[i];
    if (i > 0) *out += ", ";
    *out += attr.name + "=";
    *out += std::holds_alternative<float>(attr.value) ? PrintFloat(std::get<float>(attr.value))
                                                      : std::to_string(std::get<int64_t>(attr.value));
  }
  *out += "}";
}

}  // namespace

std::string PrintOp(const Op& op) {
  std::string out;
  for (size_t i = 0; i < op.results.size(); ++i) {
    const Value& value = op.results[i];
    if (i > 0) out += ", ";
    out += "%" + std::to_string(value.id) + ":" + std::string(ToString(value.type.dtype)) +
           (value.type.rows == Rows::kTokens ? "[T," : "[L,") + std::to_string(value.type.width) + "]";
  }
  if (!op.results.empty()) out += " = ";
  out += SchemaOf(op.code).name;
  for (int id : op.operands) out += " %" + std::to_string(id);
  for (const WeightRef& ref : op.weights) AppendRef(ref, &out);
  if (!op.biases.empty()) out += " +";
  for (const WeightRef& ref : op.biases) AppendRef(ref, &out);
  AppendAttrs(op, &out);
  return out;
}

std::string PrintGraph(const Graph& graph) {
  std::string out;
  for (const WeightDecl& weight : graph.weights) {
    out += "weight @" + weight.name + " [";
    for (int i = 0; i < weight.shape.rank; ++i) out += (i > 0 ? "," : "") + std::to_string(weight.shape[i]);
    out += "]";
    if (weight.split != SplitSide::kNone)
      out += (weight.split == SplitSide::kRows ? " rows:" : " cols:") + std::to_string(weight.split_unit);
    out += "\n";
  }
  for (const Op& op : graph.ops) out += PrintOp(op) + "\n";
  return out;
}

}  // namespace lathe::ir
