// The table of ops: how many operands, results and weights each takes, its attributes, and its type rule.
// A new op is one line in schema.cc (and its code in graph.h).
#pragma once

#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "ir/graph.h"

namespace lathe::ir {

// What a type rule looks at: an op whose counts and attributes are already checked.
struct TypedOp {
  const Op& op;
  std::vector<ValueType> in;
  std::vector<ValueType> out;
  std::vector<Shape> weights;  // of the slices used
  std::vector<Shape> biases;
};

struct OpSchema {
  OpCode code;
  std::string_view name;
  int operands, results;
  int min_weights, max_weights;
  bool may_have_bias;
  std::string_view attrs;  // "eps:f layer:i": names and types, in printing order; all required
  bool has_effect;         // writes pages, sends or is the output: never removed as dead
  const char* (*type_rule)(const TypedOp&);  // nullptr when the types agree, else what is wrong
};

const OpSchema& SchemaOf(OpCode code);
// nullptr for an unknown name.
const OpSchema* FindSchema(std::string_view name);
std::span<const OpSchema> AllSchemas();

// Walks an attribute list "eps:f layer:i": next name and whether it is a float; nullopt at the end.
struct AttrSchema {
  std::string_view name;
  bool is_float;
};
std::optional<AttrSchema> NextAttr(std::string_view* rest);

}  // namespace lathe::ir
