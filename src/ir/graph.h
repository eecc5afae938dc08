// The compiler's view of one step of one rank: a list of ops in execution order over values with static row
// kind and width. Lowered from ModelSpec, rewritten by passes, turned into a Plan at the end. Each value is
// assigned once; side effects (KV pages, messages, the output) follow program order.
//
// The text form (ir/text.h) is one op a line:
//   %2:f32[T,384] = rmsnorm %1 @layers.0.attn_norm {eps=1e-05}
//
// Thread-safety: values; distinct objects may be used from distinct threads.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include "tensor/dtype.h"
#include "tensor/shape.h"

namespace lathe::ir {

// What a row of a value stands for: a token of the step, or one of the rows whose logits are wanted.
enum class Rows : uint8_t { kTokens, kLogits };

struct ValueType {
  DType dtype = DType::kF32;
  Rows rows = Rows::kTokens;
  int64_t width = 0;
  friend bool operator==(const ValueType&, const ValueType&) = default;
};

// An op's result: the place where value `id` is defined.
struct Value {
  int id = -1;
  ValueType type;
  friend bool operator==(const Value&, const Value&) = default;
};

// Along which side a weight may be cut over tensor-parallel ranks.
enum class SplitSide : uint8_t { kNone, kRows, kCols };

// A weight the graph may use, in the shape the model has it: (N, K) = (out, in) features, (N) for vectors.
struct WeightDecl {
  std::string name;
  Shape shape;
  SplitSide split = SplitSide::kNone;
  int64_t split_unit = 1;  // cuts fall on multiples of this: head_dim for attention weights
  friend bool operator==(const WeightDecl&, const WeightDecl&) = default;
};

// A weight, or the slice [row_begin, row_end) x [col_begin, col_end) of it that this rank holds; an end of -1
// is the end of the weight.
struct WeightRef {
  std::string name;
  int64_t row_begin = 0, row_end = -1;
  int64_t col_begin = 0, col_end = -1;
  friend bool operator==(const WeightRef&, const WeightRef&) = default;
};

struct Attr {
  std::string name;
  std::variant<int64_t, float> value;
  friend bool operator==(const Attr&, const Attr&) = default;
};

enum class OpCode : uint8_t {
  // Lowered from the model.
  kEmbed,    // (T, hidden) rows of a table
  kRmsNorm,  // normed rows times gain; from T to L rows it also picks the logit rows
  kMatmul,   // x times the transposed weights, side by side (+ biases)
  kAdd,
  kSiluMul,      // silu(first) * second
  kHeadRmsNorm,  // RMS norm of each head (q/k norm)
  kRope,
  kKvAppend,    // k, v rows into the pages of a layer
  kAttention,   // q rows over the pages of a layer
  kSelectRows,  // the logit rows of a T value
  kSplit,       // the columns of a value in three parts
  kOutput,      // the logits
  // Made by passes.
  kMatmulSiluMul,  // weights gate, up: silu(x gate^T) * (x up^T)
  kAddRmsNorm,     // residual + delta, and its norm
  kRopeAppend,     // qkv rows: q and k normed (given gains) and rotated, k and v appended; result q
  kAllReduce,
  kAllGather,
  kSend,
  kRecv,
  kQuantize,  // rows to e4m3 with a scale each
};

struct Op {
  OpCode code = OpCode::kEmbed;
  // Initialised, so that an op can be written with the fields it has.
  std::vector<Value> results = {};
  std::vector<int> operands = {};
  std::vector<WeightRef> weights = {};
  std::vector<WeightRef> biases = {};  // none, or one for each of weights
  std::vector<Attr> attrs = {};
  friend bool operator==(const Op&, const Op&) = default;

  // Attributes by name; the schema guarantees presence and type once verified (LATHE_CHECKed).
  int64_t Int(std::string_view name) const;
  float Float(std::string_view name) const;
  const Attr* Find(std::string_view name) const;
};

struct Graph {
  std::vector<WeightDecl> weights;
  std::vector<Op> ops;
  friend bool operator==(const Graph&, const Graph&) = default;

  // One more than the largest value id in use.
  int NextId() const;
  // nullptr when not declared.
  const WeightDecl* FindWeight(std::string_view name) const;
};

// Where each value is defined and used. A snapshot: rebuild after changing the graph.
struct Uses {
  struct Entry {
    int def = -1;  // op index
    ValueType type;
    std::vector<int> users;  // op indices, ascending; an op using a value twice appears twice
  };
  std::unordered_map<int, Entry> values;

  explicit Uses(const Graph& graph);
  // The value must exist.
  const Entry& operator[](int id) const;
  // Index of the only op that uses `id`, or -1 when there are none or several uses.
  int OnlyUser(int id) const;
};

// Replaces every use of value `from` by `to`.
void ReplaceUses(Graph* graph, int from, int to);

// Drops the ops marked true, keeping the order of the rest. `dead` has one entry per op.
void EraseOps(Graph* graph, const std::vector<bool>& dead);

// Like EraseOps, with `instead[i]` (often empty) put where op i stood. Both have one entry per op.
void ReplaceOps(Graph* graph, const std::vector<bool>& dead, std::vector<std::vector<Op>> instead);

// Layer an op belongs to by its attribute `layer` or its weights "layers.<n>.<role>"; -1: none.
int LayerOf(const Op& op);

}  // namespace lathe::ir
