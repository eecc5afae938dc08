#include "ir/schema.h"

#include "base/check.h"

namespace lathe::ir {
namespace {

// A value that arithmetic reads: e4m3 rows go into matmuls only.
bool IsFloat(const ValueType& t) {
  return t.dtype == DType::kF32 || t.dtype == DType::kBf16 || t.dtype == DType::kF16;
}
bool IsVector(const Shape& s, int64_t n) { return s.rank == 1 && s[0] == n; }
bool IsMatrix(const Shape& s, int64_t k) { return s.rank == 2 && s[1] == k; }

// Heads of `head_dim` values fill `width`.
bool HeadsFit(int64_t width, int64_t head_dim) { return head_dim > 0 && width % head_dim == 0; }
bool RotaryFits(const Op& op) {
  const int64_t rotary = op.Int("rotary_dim");
  return rotary > 0 && rotary % 2 == 0 && rotary <= op.Int("head_dim");
}
// 1 <= n_kv_heads divides n_heads; all small enough that their products do not overflow.
bool GroupsFit(const Op& op) {
  constexpr int64_t kMax = 1 << 20;
  const int64_t heads = op.Int("n_heads"), kv_heads = op.Int("n_kv_heads"), dim = op.Int("head_dim");
  return kv_heads > 0 && heads > 0 && heads <= kMax && dim > 0 && dim <= kMax && heads % kv_heads == 0;
}

const char* CheckEmbed(const TypedOp& t) {
  if (t.weights[0].rank != 2) return "the table must be a matrix";
  if (t.out[0].dtype != DType::kF32 || t.out[0].rows != Rows::kTokens) return "the result must be f32[T,...]";
  return t.out[0].width == t.weights[0][1] ? nullptr : "the result must be as wide as the table";
}

const char* CheckNorm(const TypedOp& t) {
  if (t.in[0].dtype != DType::kF32) return "the operand must be f32";
  if (t.in[0].width != t.out[0].width) return "operand and result must have one width";
  if (t.in[0].rows == Rows::kLogits && t.out[0].rows == Rows::kTokens) return "L rows cannot become T rows";
  return IsVector(t.weights[0], t.in[0].width) ? nullptr : "the gain must have the operand's width";
}

// The out features of weights that all read `k` inputs, or -1.
int64_t SumRows(const TypedOp& t, int64_t k) {
  int64_t sum = 0;
  for (const Shape& w : t.weights)
    if (!IsMatrix(w, k) || __builtin_add_overflow(sum, w[0], &sum)) return -1;
  return sum;
}

const char* CheckBiases(const TypedOp& t) {
  for (size_t i = 0; i < t.biases.size(); ++i)
    if (!IsVector(t.biases[i], t.weights[i][0])) return "a bias must have its weight's rows";
  return nullptr;
}

const char* CheckMatmul(const TypedOp& t) {
  if (t.in[0].rows != t.out[0].rows) return "operand and result must have the same rows";
  const int64_t n = SumRows(t, t.in[0].width);
  if (n < 0) return "every weight must be a matrix with the operand's width as its columns";
  if (n != t.out[0].width) return "the result must be as wide as the weights have rows";
  return CheckBiases(t);
}

const char* CheckMatmulSiluMul(const TypedOp& t) {
  if (t.in[0].rows != t.out[0].rows) return "operand and result must have the same rows";
  if (SumRows(t, t.in[0].width) < 0) return "gate and up must have the operand's width as their columns";
  if (t.weights[0][0] != t.weights[1][0]) return "gate and up must have the same rows";
  if (t.weights[0][0] != t.out[0].width) return "the result must be as wide as gate has rows";
  return CheckBiases(t);
}

const char* CheckSameTypes(const TypedOp& t) {
  for (const ValueType& in : t.in)
    if (!(in == t.out[0])) return "operands and result must have one type";
  return nullptr;
}

const char* CheckAdd(const TypedOp& t) {
  if (t.out[0].dtype != DType::kF32) return "the sum must be f32";
  return CheckSameTypes(t);
}

const char* CheckSiluMul(const TypedOp& t) {
  if (!(t.in[0] == t.in[1])) return "both operands must have one type";
  return t.in[0].width == t.out[0].width && t.in[0].rows == t.out[0].rows
             ? nullptr
             : "operands and result must have one shape";
}

const char* CheckHeadNorm(const TypedOp& t) {
  const int64_t dim = t.op.Int("head_dim");
  if (!HeadsFit(t.in[0].width, dim)) return "the operand must be whole heads";
  if (!IsVector(t.weights[0], dim)) return "the gain must have head_dim values";
  return CheckSameTypes(t);
}

const char* CheckRope(const TypedOp& t) {
  if (!HeadsFit(t.in[0].width, t.op.Int("head_dim"))) return "the operand must be whole heads";
  if (!RotaryFits(t.op)) return "rotary_dim must be even and at most head_dim";
  return CheckSameTypes(t);
}

const char* CheckKvAppend(const TypedOp& t) {
  if (t.op.Int("layer") < 0) return "layer must not be negative";
  if (!(t.in[0] == t.in[1])) return "keys and values must have one type";
  if (t.in[0].rows != Rows::kTokens) return "keys and values must be T rows";
  return HeadsFit(t.in[0].width, t.op.Int("head_dim")) ? nullptr : "keys must be whole heads";
}

const char* CheckAttention(const TypedOp& t) {
  if (t.op.Int("layer") < 0 || t.op.Int("window") < 0) return "layer and window must not be negative";
  if (!GroupsFit(t.op)) return "n_kv_heads must divide n_heads";
  if (t.in[0].rows != t.out[0].rows) return "operand and result must have the same rows";
  const int64_t width = t.op.Int("n_heads") * t.op.Int("head_dim");
  return t.in[0].width == width && t.out[0].width == width
             ? nullptr
             : "operand and result must be n_heads x head_dim wide";
}

const char* CheckSelect(const TypedOp& t) {
  if (t.in[0].rows != Rows::kTokens || t.out[0].rows != Rows::kLogits) return "selects L rows out of T rows";
  return t.in[0].width == t.out[0].width && t.in[0].dtype == t.out[0].dtype
             ? nullptr
             : "operand and result must have one width and element type";
}

const char* CheckSplit(const TypedOp& t) {
  int64_t width = 0;
  for (const ValueType& out : t.out) {
    if (out.rows != t.in[0].rows || out.dtype != t.in[0].dtype)
      return "the parts must be of the operand's kind";
    width += out.width;
  }
  return width == t.in[0].width ? nullptr : "the parts must be as wide as the operand";
}

const char* CheckOutput(const TypedOp& t) {
  return t.in[0].rows == Rows::kLogits && t.in[0].dtype == DType::kF32 ? nullptr
                                                                       : "logits must be f32[L,...]";
}

const char* CheckAddNorm(const TypedOp& t) {
  if (!(t.in[0] == t.in[1]) || !(t.in[0] == t.out[0])) return "residual, delta and sum must have one type";
  if (t.in[0].dtype != DType::kF32) return "the residual must be f32";
  if (t.out[1].rows != t.in[0].rows || t.out[1].width != t.in[0].width)
    return "the normed result must have the residual's shape";
  return IsVector(t.weights[0], t.in[0].width) ? nullptr : "the gain must have the residual's width";
}

const char* CheckRopeAppend(const TypedOp& t) {
  if (t.op.Int("layer") < 0) return "layer must not be negative";
  if (!GroupsFit(t.op)) return "n_kv_heads must divide n_heads";
  if (!RotaryFits(t.op)) return "rotary_dim must be even and at most head_dim";
  if (t.in[0].rows != Rows::kTokens || t.out[0].rows != Rows::kTokens) return "rope_append works on T rows";
  const int64_t heads = t.op.Int("n_heads"), kv_heads = t.op.Int("n_kv_heads"), dim = t.op.Int("head_dim");
  if (t.in[0].width != (heads + 2 * kv_heads) * dim) return "the operand must be q, k and v heads";
  if (t.out[0].width != heads * dim) return "the result must be the q heads";
  if (t.weights.size() == 1) return "gains come in pairs, q and k";
  for (const Shape& w : t.weights)
    if (!IsVector(w, dim)) return "a gain must have head_dim values";
  return nullptr;
}

const char* CheckAllReduce(const TypedOp& t) {
  if (t.out[0].dtype != DType::kF32) return "a reduced value must be f32";
  return CheckSameTypes(t);
}

const char* CheckAllGather(const TypedOp& t) {
  int64_t width = 0;
  if (t.op.Int("ranks") < 1 || __builtin_mul_overflow(t.in[0].width, t.op.Int("ranks"), &width))
    return "ranks must be at least 1";
  if (t.in[0].rows != t.out[0].rows || t.in[0].dtype != t.out[0].dtype)
    return "operand and result must have the same rows and element type";
  return t.out[0].width == width ? nullptr : "the result must be ranks times as wide as the operand";
}

const char* CheckSend(const TypedOp& t) {
  return t.op.Int("peer") < 0 ? "peer must not be negative" : nullptr;
}
const char* CheckRecv(const TypedOp& t) {
  if (!IsFloat(t.out[0])) return "the received value must be f32, bf16 or f16";
  return CheckSend(t);
}

const char* CheckQuantize(const TypedOp& t) {
  if (!IsFloat(t.in[0])) return "the operand must be f32, bf16 or f16";
  if (t.out[0].dtype != DType::kF8E4M3) return "the result must be f8e4m3";
  return t.in[0].width == t.out[0].width && t.in[0].rows == t.out[0].rows
             ? nullptr
             : "operand and result must have one shape";
}

constexpr std::string_view kRopeAttrs = "layer:i n_heads:i n_kv_heads:i head_dim:i rotary_dim:i eps:f";

// clang-format off
constexpr OpSchema kSchemas[] = {
  // code                  name             in out wmin wmax bias  attributes                                      effect rule
  {OpCode::kEmbed,         "embed",           0, 1, 1,   1, false, "",                                              false, CheckEmbed},
  {OpCode::kRmsNorm,       "rmsnorm",         1, 1, 1,   1, false, "eps:f",                                         false, CheckNorm},
  {OpCode::kMatmul,        "matmul",          1, 1, 1,   8, true,  "",                                              false, CheckMatmul},
  {OpCode::kAdd,           "add",             2, 1, 0,   0, false, "",                                              false, CheckAdd},
  {OpCode::kSiluMul,       "silu_mul",        2, 1, 0,   0, false, "",                                              false, CheckSiluMul},
  {OpCode::kHeadRmsNorm,   "head_rmsnorm",    1, 1, 1,   1, false, "head_dim:i eps:f",                              false, CheckHeadNorm},
  {OpCode::kRope,          "rope",            1, 1, 0,   0, false, "head_dim:i rotary_dim:i",                       false, CheckRope},
  {OpCode::kKvAppend,      "kv_append",       2, 0, 0,   0, false, "layer:i head_dim:i",                            true,  CheckKvAppend},
  {OpCode::kAttention,     "attention",       1, 1, 0,   0, false, "layer:i n_heads:i n_kv_heads:i head_dim:i window:i", false, CheckAttention},
  {OpCode::kSelectRows,    "select_rows",     1, 1, 0,   0, false, "",                                              false, CheckSelect},
  {OpCode::kSplit,         "split",           1, 3, 0,   0, false, "",                                              false, CheckSplit},
  {OpCode::kOutput,        "output",          1, 0, 0,   0, false, "",                                              true,  CheckOutput},
  {OpCode::kMatmulSiluMul, "matmul_silu_mul", 1, 1, 2,   2, true,  "",                                              false, CheckMatmulSiluMul},
  {OpCode::kAddRmsNorm,    "add_rmsnorm",     2, 2, 1,   1, false, "eps:f",                                         false, CheckAddNorm},
  {OpCode::kRopeAppend,    "rope_append",     1, 1, 0,   2, false, kRopeAttrs,                                      true,  CheckRopeAppend},
  {OpCode::kAllReduce,     "all_reduce",      1, 1, 0,   0, false, "",                                              true,  CheckAllReduce},
  {OpCode::kAllGather,     "all_gather",      1, 1, 0,   0, false, "ranks:i",                                       true,  CheckAllGather},
  {OpCode::kSend,          "send",            1, 0, 0,   0, false, "peer:i",                                        true,  CheckSend},
  {OpCode::kRecv,          "recv",            0, 1, 0,   0, false, "peer:i",                                        true,  CheckRecv},
  {OpCode::kQuantize,      "quantize",        1, 1, 0,   0, false, "",                                              false, CheckQuantize},
};
// clang-format on

constexpr bool InCodeOrder() {
  for (size_t i = 0; i < std::size(kSchemas); ++i)
    if (kSchemas[i].code != static_cast<OpCode>(i)) return false;
  return std::size(kSchemas) == static_cast<size_t>(OpCode::kQuantize) + 1;
}
static_assert(InCodeOrder(), "one line per OpCode, in its order");

}  // namespace

const OpSchema& SchemaOf(OpCode code) { return kSchemas[static_cast<size_t>(code)]; }

const OpSchema* FindSchema(std::string_view name) {
  for (const OpSchema& schema : kSchemas)
    if (schema.name == name) return &schema;
  return nullptr;
}

std::span<const OpSchema> AllSchemas() { return kSchemas; }

std::optional<AttrSchema> NextAttr(std::string_view* rest) {
  if (rest->empty()) return std::nullopt;
  const size_t space = rest->find(' ');
  const std::string_view word = rest->substr(0, space);
  rest->remove_prefix(space == std::string_view::npos ? rest->size() : space + 1);
  LATHE_CHECK(word.size() > 2 && word[word.size() - 2] == ':');
  return AttrSchema{word.substr(0, word.size() - 2), word.back() == 'f'};
}

}  // namespace lathe::ir
