// Runs IR graphs on numbers, in double, op by op: what each op means, written once more and plainly. Passes
// are tested by running the graph before and after them.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/hash.h"
#include "base/rng.h"
#include "ir/graph.h"

namespace lathe::testing_util {

// (rows, cols), row-major.
struct Matrix {
  int64_t rows = 0, cols = 0;
  std::vector<double> data = {};
  Matrix() = default;
  Matrix(int64_t r, int64_t c) : rows(r), cols(c), data(static_cast<size_t>(r * c), 0.0) {}
  double& at(int64_t r, int64_t c) { return data[static_cast<size_t>(r * cols + c)]; }
  double at(int64_t r, int64_t c) const { return data[static_cast<size_t>(r * cols + c)]; }
};

// One sequence from position 0: T rows are its tokens, L rows those of `logit_rows`.
struct Prompt {
  std::vector<int> tokens;
  std::vector<int> logit_rows;
};

// Runs the ranks of a model (graphs[pp][tp]; one graph: {{g}}) in lockstep. Weights by name, random from the
// name alone, so that every graph of a model sees the same ones.
class Interpreter {
 public:
  explicit Interpreter(Prompt prompt) : prompt_(std::move(prompt)) {}
  // The logits of the last stage's first rank. All ranks of a stage must have as many ops.
  Matrix Run(const std::vector<std::vector<ir::Graph>>& graphs);

 private:
  struct Rank {
    const ir::Graph* graph = nullptr;
    std::map<int, Matrix> values;
    std::map<int64_t, std::pair<Matrix, Matrix>> cache;  // layer -> keys, values
    std::vector<Matrix> inbox;                           // from the stage before, in order
    size_t received = 0;
    std::vector<Matrix> outbox;
    Matrix output;
  };

  void RunStage(std::vector<Rank>* ranks);
  void RunOp(Rank* rank, const ir::Op& op);
  // all_reduce and all_gather, over all ranks of a stage.
  void RunGroupOp(std::vector<Rank>* ranks, size_t index);
  Matrix Weight(const ir::Graph& graph, const ir::WeightRef& ref) const;
  Matrix Matmul(const ir::Graph& graph, const ir::Op& op, const Matrix& x) const;
  Matrix Norm(const Matrix& x, const Matrix& gain, double eps) const;
  Matrix HeadNorm(const Matrix& x, const Matrix& gain, int64_t dim, double eps) const;
  Matrix Rope(const Matrix& x, int64_t dim, int64_t rotary) const;
  Matrix Attention(const Rank& rank, const ir::Op& op, const Matrix& q) const;
  Matrix Select(const Matrix& x) const;

  Prompt prompt_;
};

inline Matrix Columns(const Matrix& x, int64_t first, int64_t count) {
  Matrix out(x.rows, count);
  for (int64_t r = 0; r < x.rows; ++r)
    for (int64_t c = 0; c < count; ++c) out.at(r, c) = x.at(r, first + c);
  return out;
}

inline Matrix Add(const Matrix& a, const Matrix& b) {
  Matrix out = a;
  for (size_t i = 0; i < out.data.size(); ++i) out.data[i] += b.data[i];
  return out;
}

inline Matrix SiluMul(const Matrix& gate, const Matrix& up) {
  Matrix out = gate;
  for (size_t i = 0; i < out.data.size(); ++i) {
    const double g = gate.data[i];
    out.data[i] = g / (1 + std::exp(-g)) * up.data[i];
  }
  return out;
}

// The slice of a whole weight; a vector is one row.
inline Matrix Interpreter::Weight(const ir::Graph& graph, const ir::WeightRef& ref) const {
  const ir::WeightDecl* decl = graph.FindWeight(ref.name);
  LATHE_CHECK(decl != nullptr);
  const int64_t n = decl->shape[0], k = decl->shape.rank > 1 ? decl->shape[1] : 1;
  const uint64_t seed = Hash64(std::as_bytes(std::span(ref.name)));
  const int64_t row_end = ref.row_end < 0 ? n : ref.row_end, col_end = ref.col_end < 0 ? k : ref.col_end;
  Matrix out(row_end - ref.row_begin, col_end - ref.col_begin);
  for (int64_t r = ref.row_begin; r < row_end; ++r)
    for (int64_t c = ref.col_begin; c < col_end; ++c)
      out.at(r - ref.row_begin, c - ref.col_begin) =
          CounterUniform(seed, static_cast<uint64_t>(r * k + c)) - 0.4;
  if (decl->shape.rank == 1) std::swap(out.rows, out.cols);
  return out;
}

inline Matrix Interpreter::Matmul(const ir::Graph& graph, const ir::Op& op, const Matrix& x) const {
  Matrix out(x.rows, 0);
  for (size_t w = 0; w < op.weights.size(); ++w) {
    const Matrix weight = Weight(graph, op.weights[w]);
    Matrix part(x.rows, weight.rows), bias;
    if (!op.biases.empty()) bias = Weight(graph, op.biases[w]);
    for (int64_t r = 0; r < x.rows; ++r)
      for (int64_t n = 0; n < weight.rows; ++n) {
        double sum = bias.data.empty() ? 0 : bias.at(0, n);
        for (int64_t k = 0; k < x.cols; ++k) sum += x.at(r, k) * weight.at(n, k);
        part.at(r, n) = sum;
      }
    Matrix wider(x.rows, out.cols + part.cols);
    for (int64_t r = 0; r < x.rows; ++r) {
      for (int64_t c = 0; c < out.cols; ++c) wider.at(r, c) = out.at(r, c);
      for (int64_t c = 0; c < part.cols; ++c) wider.at(r, out.cols + c) = part.at(r, c);
    }
    out = std::move(wider);
  }
  return out;
}

inline Matrix Interpreter::Norm(const Matrix& x, const Matrix& gain, double eps) const {
  Matrix out = x;
  for (int64_t r = 0; r < x.rows; ++r) {
    double sum = 0;
    for (int64_t c = 0; c < x.cols; ++c) sum += x.at(r, c) * x.at(r, c);
    const double scale = 1 / std::sqrt(sum / static_cast<double>(x.cols) + eps);
    for (int64_t c = 0; c < x.cols; ++c) out.at(r, c) = x.at(r, c) * scale * gain.at(0, c);
  }
  return out;
}

// Each head is a row of its own.
inline Matrix Interpreter::HeadNorm(const Matrix& x, const Matrix& gain, int64_t dim, double eps) const {
  Matrix heads = x;
  heads.rows = x.rows * x.cols / dim;
  heads.cols = dim;
  Matrix out = Norm(heads, gain, eps);
  out.rows = x.rows;
  out.cols = x.cols;
  return out;
}

inline Matrix Interpreter::Rope(const Matrix& x, int64_t dim, int64_t rotary) const {
  Matrix out = x;
  for (int64_t r = 0; r < x.rows; ++r)
    for (int64_t head = 0; head < x.cols; head += dim)
      for (int64_t i = 0; i < rotary / 2; ++i) {
        const double angle = static_cast<double>(r) *
                             std::pow(100.0, -2.0 * static_cast<double>(i) / static_cast<double>(rotary));
        const double a = x.at(r, head + i), b = x.at(r, head + i + rotary / 2);
        out.at(r, head + i) = a * std::cos(angle) - b * std::sin(angle);
        out.at(r, head + i + rotary / 2) = b * std::cos(angle) + a * std::sin(angle);
      }
  return out;
}

inline Matrix Interpreter::Attention(const Rank& rank, const ir::Op& op, const Matrix& q) const {
  const bool at_logits = op.results[0].type.rows == ir::Rows::kLogits;
  const auto& [keys, values] = rank.cache.at(op.Int("layer"));
  const int64_t dim = op.Int("head_dim"), heads = op.Int("n_heads"), window = op.Int("window");
  const int64_t group = heads / op.Int("n_kv_heads");
  Matrix out(q.rows, q.cols);
  for (int64_t r = 0; r < q.rows; ++r)
    for (int64_t h = 0; h < heads; ++h) {
      const int64_t position = at_logits ? prompt_.logit_rows[static_cast<size_t>(r)] : r;
      const int64_t kv = h / group * dim;
      const int64_t first = window > 0 ? std::max<int64_t>(0, position - window + 1) : 0;
      std::vector<double> p;
      double sum = 0;
      for (int64_t t = first; t <= position; ++t) {
        double score = 0;
        for (int64_t d = 0; d < dim; ++d) score += q.at(r, h * dim + d) * keys.at(t, kv + d);
        p.push_back(std::exp(score / std::sqrt(static_cast<double>(dim))));
        sum += p.back();
      }
      for (int64_t t = first; t <= position; ++t)
        for (int64_t d = 0; d < dim; ++d)
          out.at(r, h * dim + d) += p[static_cast<size_t>(t - first)] / sum * values.at(t, kv + d);
    }
  return out;
}

inline Matrix Interpreter::Select(const Matrix& x) const {
  Matrix out(static_cast<int64_t>(prompt_.logit_rows.size()), x.cols);
  for (int64_t i = 0; i < out.rows; ++i)
    for (int64_t c = 0; c < x.cols; ++c) out.at(i, c) = x.at(prompt_.logit_rows[static_cast<size_t>(i)], c);
  return out;
}

inline void Interpreter::RunOp(Rank* rank, const ir::Op& op) {
  const ir::Graph& graph = *rank->graph;
  const auto in = [&](size_t i) -> const Matrix& { return rank->values.at(op.operands[i]); };
  const auto gain = [&](size_t i) { return Weight(graph, op.weights[i]); };
  Matrix result, second;
  switch (op.code) {
    case ir::OpCode::kEmbed: {
      const Matrix table = gain(0);
      result = Matrix(static_cast<int64_t>(prompt_.tokens.size()), table.cols);
      for (int64_t r = 0; r < result.rows; ++r)
        for (int64_t c = 0; c < table.cols; ++c)
          result.at(r, c) = table.at(prompt_.tokens[static_cast<size_t>(r)], c);
      break;
    }
    case ir::OpCode::kRmsNorm:
      result = Norm(in(0), gain(0), op.Float("eps"));
      if (op.results[0].type.rows == ir::Rows::kLogits &&
          ir::Uses(graph)[op.operands[0]].type.rows == ir::Rows::kTokens)
        result = Select(result);
      break;
    case ir::OpCode::kMatmul: result = Matmul(graph, op, in(0)); break;
    case ir::OpCode::kMatmulSiluMul: {
      const Matrix both = Matmul(graph, op, in(0));
      result = SiluMul(Columns(both, 0, both.cols / 2), Columns(both, both.cols / 2, both.cols / 2));
      break;
    }
    case ir::OpCode::kAdd: result = Add(in(0), in(1)); break;
    case ir::OpCode::kAddRmsNorm:
      result = Add(in(0), in(1));
      second = Norm(result, gain(0), op.Float("eps"));
      break;
    case ir::OpCode::kSiluMul: result = SiluMul(in(0), in(1)); break;
    case ir::OpCode::kHeadRmsNorm:
      result = HeadNorm(in(0), gain(0), op.Int("head_dim"), op.Float("eps"));
      break;
    case ir::OpCode::kRope: result = Rope(in(0), op.Int("head_dim"), op.Int("rotary_dim")); break;
    case ir::OpCode::kKvAppend: rank->cache[op.Int("layer")] = {in(0), in(1)}; break;
    case ir::OpCode::kRopeAppend: {
      const int64_t dim = op.Int("head_dim"), q = op.Int("n_heads") * dim, kv = op.Int("n_kv_heads") * dim;
      Matrix queries = Columns(in(0), 0, q), keys = Columns(in(0), q, kv);
      if (!op.weights.empty()) {
        queries = HeadNorm(queries, gain(0), dim, op.Float("eps"));
        keys = HeadNorm(keys, gain(1), dim, op.Float("eps"));
      }
      result = Rope(queries, dim, op.Int("rotary_dim"));
      rank->cache[op.Int("layer")] = {Rope(keys, dim, op.Int("rotary_dim")), Columns(in(0), q + kv, kv)};
      break;
    }
    case ir::OpCode::kAttention: result = Attention(*rank, op, in(0)); break;
    case ir::OpCode::kSelectRows: result = Select(in(0)); break;
    case ir::OpCode::kSplit: {
      int64_t first = 0;
      for (const ir::Value& part : op.results) {
        rank->values[part.id] = Columns(in(0), first, part.type.width);
        first += part.type.width;
      }
      return;
    }
    case ir::OpCode::kOutput: rank->output = in(0); break;
    case ir::OpCode::kSend: rank->outbox.push_back(in(0)); break;
    case ir::OpCode::kQuantize: result = in(0); break;  // like all rounding: not of the meaning
    case ir::OpCode::kRecv: result = rank->inbox.at(rank->received++); break;
    case ir::OpCode::kAllReduce:
    case ir::OpCode::kAllGather: LATHE_CHECK(false && "run over the group");
  }
  if (!op.results.empty()) {
    LATHE_CHECK_EQ(result.cols, op.results[0].type.width);
    rank->values[op.results[0].id] = std::move(result);
  }
  if (op.results.size() > 1) rank->values[op.results[1].id] = std::move(second);
}

inline void Interpreter::RunGroupOp(std::vector<Rank>* ranks, size_t index) {
  const ir::Op& first = (*ranks)[0].graph->ops[index];
  Matrix result;
  for (Rank& rank : *ranks) {
    const Matrix& part = rank.values.at(rank.graph->ops[index].operands[0]);
    if (first.code == ir::OpCode::kAllReduce) {
      result = result.data.empty() ? part : Add(result, part);
      continue;
    }
    Matrix wider(part.rows, result.cols + part.cols);
    for (int64_t r = 0; r < part.rows; ++r)
      for (int64_t c = 0; c < wider.cols; ++c)
        wider.at(r, c) = c < result.cols ? result.at(r, c) : part.at(r, c - result.cols);
    result = std::move(wider);
  }
  for (Rank& rank : *ranks) rank.values[rank.graph->ops[index].results[0].id] = result;
}

inline void Interpreter::RunStage(std::vector<Rank>* ranks) {
  const size_t n_ops = (*ranks)[0].graph->ops.size();
  for (const Rank& rank : *ranks) LATHE_CHECK_EQ(rank.graph->ops.size(), n_ops);
  for (size_t i = 0; i < n_ops; ++i) {
    const ir::OpCode code = (*ranks)[0].graph->ops[i].code;
    if (code == ir::OpCode::kAllReduce || code == ir::OpCode::kAllGather) {
      RunGroupOp(ranks, i);
      continue;
    }
    for (Rank& rank : *ranks) RunOp(&rank, rank.graph->ops[i]);
  }
}

inline Matrix Interpreter::Run(const std::vector<std::vector<ir::Graph>>& graphs) {
  std::vector<Rank> before;
  for (const std::vector<ir::Graph>& stage : graphs) {
    std::vector<Rank> ranks(stage.size());
    for (size_t t = 0; t < stage.size(); ++t) {
      ranks[t].graph = &stage[t];
      if (!before.empty()) ranks[t].inbox = std::move(before[t].outbox);
    }
    RunStage(&ranks);
    before = std::move(ranks);
  }
  return std::move(before[0].output);
}

}  // namespace lathe::testing_util
