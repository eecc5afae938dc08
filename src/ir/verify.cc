#include "ir/verify.h"

#include <cmath>
#include <set>
#include <string>
#include <unordered_set>

#include "ir/schema.h"
#include "ir/text.h"

namespace lathe::ir {
namespace {

constexpr int64_t kMaxWidth = int64_t{1} << 32;

Status Fault(const Op& op, const std::string& what) {
  return Error(StatusCode::kInvalidArgument, "in IR op '%s': %s", PrintOp(op).c_str(), what.c_str());
}

// [begin, end) of an extent, end -1 meaning its end; false when outside or empty.
bool ResolveRange(int64_t begin, int64_t end, int64_t extent, int64_t* size) {
  if (end == -1) end = extent;
  if (begin < 0 || end > extent || begin >= end) return false;
  *size = end - begin;
  return true;
}

bool MakesE4m3(OpCode code) {
  return code == OpCode::kQuantize || code == OpCode::kRmsNorm || code == OpCode::kAddRmsNorm;
}

bool ReadsE4m3(OpCode code) { return code == OpCode::kMatmul || code == OpCode::kMatmulSiluMul; }

class Verifier {
 public:
  explicit Verifier(const Graph& graph) : graph_(graph) {}

  Status Run() {
    LATHE_RETURN_IF_ERROR(CheckWeights());
    for (const Op& op : graph_.ops) LATHE_RETURN_IF_ERROR(CheckOp(op));
    return Status::Ok();
  }

 private:
  Status CheckWeights() {
    for (const WeightDecl& weight : graph_.weights) {
      if (weight.name.empty() || !shapes_.emplace(weight.name, weight.shape).second)
        return Error(StatusCode::kInvalidArgument, "IR weight '@%s' is declared twice or has no name",
                     weight.name.c_str());
      bool sane = weight.shape.rank == 1 || weight.shape.rank == 2;
      for (int i = 0; i < weight.shape.rank; ++i)
        sane = sane && weight.shape[i] > 0 && weight.shape[i] <= kMaxWidth;
      if (!sane)
        return Error(StatusCode::kInvalidArgument,
                     "IR weight '@%s' has shape %s; a vector or matrix was expected", weight.name.c_str(),
                     weight.shape.ToString().c_str());
      const int side = weight.split == SplitSide::kCols ? 1 : 0;
      if (weight.split_unit < 1 || side >= weight.shape.rank || weight.shape[side] % weight.split_unit != 0)
        return Error(StatusCode::kInvalidArgument,
                     "IR weight '@%s' of shape %s cannot be cut in units of %lld", weight.name.c_str(),
                     weight.shape.ToString().c_str(), static_cast<long long>(weight.split_unit));
    }
    return Status::Ok();
  }

  Status CheckRefs(const Op& op, const std::vector<WeightRef>& refs, std::vector<Shape>* shapes) {
    for (const WeightRef& ref : refs) {
      const auto it = shapes_.find(ref.name);
      if (it == shapes_.end()) return Fault(op, "weight '@" + ref.name + "' is not declared");
      Shape shape = it->second;
      bool ok = ResolveRange(ref.row_begin, ref.row_end, shape[0], &shape.dims[0]);
      if (shape.rank == 2) ok = ok && ResolveRange(ref.col_begin, ref.col_end, shape[1], &shape.dims[1]);
      if (shape.rank == 1) ok = ok && ref.col_begin == 0 && ref.col_end == -1;
      if (!ok) return Fault(op, "the slice of '@" + ref.name + "' is not inside " + it->second.ToString());
      shapes->push_back(shape);
    }
    return Status::Ok();
  }

  Status CheckAttrs(const Op& op, const OpSchema& schema) {
    std::string_view rest = schema.attrs;
    size_t count = 0;
    for (; std::optional<AttrSchema> want = NextAttr(&rest); ++count) {
      const std::string name(want->name);
      if (count >= op.attrs.size() || op.attrs[count].name != name)
        return Fault(op, "attribute '" + name + "' was expected at place " + std::to_string(count));
      const auto& value = op.attrs[count].value;
      if (std::holds_alternative<float>(value) != want->is_float)
        return Fault(op,
                     "attribute '" + name + (want->is_float ? "' must be a float" : "' must be an integer"));
      if (want->is_float && !std::isfinite(std::get<float>(value)))
        return Fault(op, "attribute '" + name + "' must be finite");
      if (!want->is_float && std::abs(std::get<int64_t>(value)) > kMaxWidth)
        return Fault(op, "attribute '" + name + "' is out of range");
    }
    if (count != op.attrs.size()) return Fault(op, "unknown attribute '" + op.attrs[count].name + "'");
    return Status::Ok();
  }

  Status CheckCounts(const Op& op, const OpSchema& schema) {
    if (static_cast<int>(op.operands.size()) != schema.operands)
      return Fault(op,
                   StrFormat("%d operands were expected, found %zu", schema.operands, op.operands.size()));
    if (static_cast<int>(op.results.size()) != schema.results)
      return Fault(op, StrFormat("%d results were expected, found %zu", schema.results, op.results.size()));
    const int n = static_cast<int>(op.weights.size());
    if (n < schema.min_weights || n > schema.max_weights)
      return Fault(op, StrFormat("%d to %d weights were expected, found %d", schema.min_weights,
                                 schema.max_weights, n));
    if (!op.biases.empty() && (!schema.may_have_bias || op.biases.size() != op.weights.size()))
      return Fault(op, "biases must be absent, or one for each weight");
    return Status::Ok();
  }

  // Effects are ordered by the program: a layer's pages are written once, before they are read.
  Status CheckEffects(const Op& op) {
    if (op.code == OpCode::kKvAppend || op.code == OpCode::kRopeAppend) {
      if (!appended_.insert(op.Int("layer")).second) return Fault(op, "the layer is appended to twice");
    } else if (op.code == OpCode::kAttention && !appended_.contains(op.Int("layer"))) {
      return Fault(op, "attention must come after its layer's append");
    } else if (op.code == OpCode::kOutput && ++outputs_ > 1) {
      return Fault(op, "a graph has at most one output");
    }
    return Status::Ok();
  }

  Status CheckOp(const Op& op) {
    const OpSchema& schema = SchemaOf(op.code);
    LATHE_RETURN_IF_ERROR(CheckCounts(op, schema));
    LATHE_RETURN_IF_ERROR(CheckAttrs(op, schema));
    TypedOp typed{op, {}, {}, {}, {}};
    LATHE_RETURN_IF_ERROR(CheckRefs(op, op.weights, &typed.weights));
    LATHE_RETURN_IF_ERROR(CheckRefs(op, op.biases, &typed.biases));
    for (int id : op.operands) {
      const auto it = types_.find(id);
      if (it == types_.end()) return Fault(op, StrFormat("%%%d is not defined before its use", id));
      if (it->second.dtype == DType::kF8E4M3 && !ReadsE4m3(op.code))
        return Fault(op, StrFormat("%%%d is f8e4m3, which matmuls alone read", id));
      typed.in.push_back(it->second);
    }
    for (const Value& value : op.results) {
      if (value.type.width <= 0 || value.type.width > kMaxWidth)
        return Fault(op, StrFormat("%%%d has an impossible width", value.id));
      if (value.type.dtype == DType::kF8E4M3 && !MakesE4m3(op.code))
        return Fault(op,
                     StrFormat("%%%d cannot be f8e4m3: only norms and quantize make such rows", value.id));
      if (value.type.dtype != DType::kF32 && value.type.dtype != DType::kBf16 &&
          value.type.dtype != DType::kF16 && value.type.dtype != DType::kF8E4M3)
        return Fault(op, StrFormat("%%%d must be f32, bf16, f16 or f8e4m3", value.id));
      if (value.id < 0 || !types_.emplace(value.id, value.type).second)
        return Fault(op, StrFormat("%%%d is assigned twice or has a bad number", value.id));
      typed.out.push_back(value.type);
    }
    if (const char* wrong = schema.type_rule(typed)) return Fault(op, wrong);
    return CheckEffects(op);
  }

  const Graph& graph_;
  std::unordered_map<std::string, Shape> shapes_;
  std::unordered_map<int, ValueType> types_;
  std::set<int64_t> appended_;
  int outputs_ = 0;
};

}  // namespace

Expected<Shape> ShapeOfRef(const Graph& graph, const WeightRef& ref) {
  const WeightDecl* decl = graph.FindWeight(ref.name);
  if (decl == nullptr)
    return Error(StatusCode::kInvalidArgument, "IR weight '@%s' is not declared", ref.name.c_str());
  Shape shape = decl->shape;
  if (!ResolveRange(ref.row_begin, ref.row_end, shape[0], &shape.dims[0]) ||
      (shape.rank == 2 && !ResolveRange(ref.col_begin, ref.col_end, shape[1], &shape.dims[1])))
    return Error(StatusCode::kInvalidArgument, "the slice of IR weight '@%s' is not inside %s",
                 ref.name.c_str(), decl->shape.ToString().c_str());
  return shape;
}

Status VerifyGraph(const Graph& graph) { return Verifier(graph).Run(); }

}  // namespace lathe::ir
