#include "plan/plan.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <utility>

namespace lathe {
namespace {

constexpr std::array<const char*, 11> kKindNames = {"embed",     "rmsnorm",    "gemm",       "rope_append",
                                                    "attention", "all_reduce", "all_gather", "send",
                                                    "recv",      "quantize",   "select"};
constexpr std::array<const char*, 4> kLayoutNames = {"vector", "table", "panels", "rows"};
constexpr int kMaxDim = 1 << 28;

// Reads the fields of one JSON object and remembers which keys it was asked for, so that the rest can be
// refused. The first fault wins; later reads return defaults.
class FieldReader {
 public:
  FieldReader(const Json& object, std::string where) : object_(object), where_(std::move(where)) {
    if (!object.is_object())
      status_ = Error(StatusCode::kCorrupt, "%s: an object was expected", where_.c_str());
  }
  void Int(const char* key, int* out, int min = -1, int max = kMaxDim) {
    int64_t wide = *out;
    Int64(key, &wide, min, max);
    *out = static_cast<int>(wide);
  }
  void Int64(const char* key, int64_t* out, int64_t min, int64_t max) {
    if (!Take(key)) return;
    auto value = JsonInt(object_, key, where_);
    if (value.ok() && (*value < min || *value > max))
      value = Error(StatusCode::kCorrupt, "%s: '%s' must be %lld..%lld, found %lld", where_.c_str(), key,
                    static_cast<long long>(min), static_cast<long long>(max), static_cast<long long>(*value));
    if (value.ok())
      *out = *value;
    else
      status_ = value.status();
  }
  void Double(const char* key, double* out) {
    if (!Take(key)) return;
    auto value = JsonNumber(object_, key, where_);
    if (value.ok() && std::isfinite(*value))
      *out = *value;
    else
      status_ = value.ok() ? Error(StatusCode::kCorrupt, "%s: '%s' is not finite", where_.c_str(), key)
                           : value.status();
  }
  void Float(const char* key, float* out) {
    double wide = static_cast<double>(*out);
    Double(key, &wide);
    *out = static_cast<float>(wide);
  }
  void Bool(const char* key, bool* out) {
    if (!Take(key)) return;
    auto value = JsonBoolOr(object_, key, *out, where_);
    if (value.ok())
      *out = *value;
    else
      status_ = value.status();
  }
  void String(const char* key, std::string* out) {
    if (!Take(key)) return;
    auto value = JsonString(object_, key, where_);
    if (value.ok())
      *out = *value;
    else
      status_ = value.status();
  }
  // An enumeration written by name.
  template <typename E, typename Names>
  void Enum(const char* key, const Names& names, E* out) {
    std::string name;
    String(key, &name);
    const auto it = std::find(names.begin(), names.end(), name);
    if (it != names.end())
      *out = static_cast<E>(it - names.begin());
    else if (status_.ok())
      status_ = Error(StatusCode::kCorrupt, "%s: unknown %s '%s'", where_.c_str(), key, name.c_str());
  }
  const Json& Array(const char* key) {
    static const Json kEmpty = Json::array();
    if (!Take(key)) return kEmpty;
    if (object_[key].is_array()) return object_[key];
    status_ = Error(StatusCode::kCorrupt, "%s: '%s' must be an array", where_.c_str(), key);
    return kEmpty;
  }
  Status Done() {
    if (!status_.ok()) return status_;
    for (const auto& [key, value] : object_.items())
      if (std::find(taken_.begin(), taken_.end(), key) == taken_.end())
        return Error(StatusCode::kCorrupt, "%s: unknown key '%s'", where_.c_str(), key.c_str());
    return Status::Ok();
  }

 private:
  bool Take(const char* key) {
    taken_.emplace_back(key);
    return status_.ok() && object_.contains(key);
  }
  const Json& object_;
  std::string where_;
  std::vector<std::string> taken_;
  Status status_;
};

std::array<std::string, 4> IsaNames() {
  std::array<std::string, 4> out;
  for (size_t i = 0; i < out.size(); ++i) out[i] = std::string(ToString(static_cast<Isa>(i)));
  return out;
}
std::array<std::string, 7> ClassNames() {
  std::array<std::string, 7> out;
  for (size_t i = 0; i < out.size(); ++i) out[i] = std::string(ToString(static_cast<NumericClass>(i)));
  return out;
}

// Only what differs from the default is written: a plan of 130 ops stays readable.
Json OpToJson(const PlanOp& op) {
  const PlanOp fresh;
  Json j = {{"op", ToString(op.kind)}};
  const auto put = [&](const char* key, auto value, auto unset) {
    if (value != unset) j[key] = value;
  };
  put("layer", op.layer, fresh.layer);
  put("in", op.in, fresh.in);
  put("in2", op.in2, fresh.in2);
  put("out", op.out, fresh.out);
  put("weight", op.weight, fresh.weight);
  put("bias", op.bias, fresh.bias);
  put("gain", op.gain, fresh.gain);
  put("gain2", op.gain2, fresh.gain2);
  put("tactic", op.tactic, fresh.tactic);
  put("window", op.window, fresh.window);
  put("peer", op.peer, fresh.peer);
  put("silu_mul", op.silu_mul, fresh.silu_mul);
  put("columns", op.columns, fresh.columns);
  put("logit_rows", op.logit_rows, fresh.logit_rows);
  if (op.out_type != fresh.out_type) j["out_type"] = ToString(op.out_type);
  return j;
}

Expected<DType> FloatType(const std::string& name, const std::string& where) {
  const auto dtype = DTypeFromString(name);
  if (dtype &&
      (*dtype == DType::kF32 || *dtype == DType::kBf16 || *dtype == DType::kF16 || *dtype == DType::kF8E4M3))
    return *dtype;
  return Error(StatusCode::kCorrupt, "%s: type '%s' is not f32, bf16, f16 or %s", where.c_str(), name.c_str(),
               std::string(ToString(DType::kF8E4M3)).c_str());
}

Expected<PlanOp> OpFromJson(const Json& json, const std::string& where) {
  PlanOp op;
  FieldReader r(json, where);
  r.Enum("op", kKindNames, &op.kind);
  r.Int("layer", &op.layer);
  r.Int("in", &op.in);
  r.Int("in2", &op.in2);
  r.Int("out", &op.out);
  r.Int("weight", &op.weight);
  r.Int("bias", &op.bias);
  r.Int("gain", &op.gain);
  r.Int("gain2", &op.gain2);
  r.Int("tactic", &op.tactic);
  r.Int("window", &op.window, 0);
  r.Int("peer", &op.peer);
  r.Bool("silu_mul", &op.silu_mul);
  r.Int("columns", &op.columns, 0);
  r.Bool("logit_rows", &op.logit_rows);
  std::string out_type = "f32";
  r.String("out_type", &out_type);
  LATHE_RETURN_IF_ERROR(r.Done());
  LATHE_ASSIGN_OR_RETURN(op.out_type, FloatType(out_type, where));
  return op;
}

Expected<WeightDef> WeightFromJson(const Json& json, const std::string& where) {
  constexpr int64_t kMax = std::numeric_limits<int64_t>::max();
  WeightDef w;
  FieldReader r(json, where);
  std::string type = "f32";
  int64_t offset = 0, bytes = 0;
  r.String("name", &w.name);
  r.Enum("layout", kLayoutNames, &w.layout);
  r.String("type", &type);
  r.Int64("N", &w.N, 1, kMaxDim);
  r.Int64("K", &w.K, 1, kMaxDim);
  r.Int("scale", &w.scale);
  r.Int64("offset", &offset, 0, kMax);
  r.Int64("bytes", &bytes, 1, kMax);
  LATHE_RETURN_IF_ERROR(r.Done());
  LATHE_ASSIGN_OR_RETURN(w.type, FloatType(type, where));
  w.offset = static_cast<uint64_t>(offset);
  w.bytes = static_cast<uint64_t>(bytes);
  return w;
}

Expected<GemmTactic> TacticsFromJson(const Json& json, const std::string& where) {
  GemmTactic t;
  FieldReader r(json, where);
  r.Int64("N", &t.N, 1, kMaxDim);
  r.Int64("K", &t.K, 1, kMaxDim);
  r.Bool("silu_mul", &t.silu_mul);
  std::string x_type = "f32";
  r.String("x_type", &x_type);
  for (const Json& entry : r.Array("buckets")) {
    TacticBucket b;
    FieldReader br(entry, where + ".buckets");
    br.Int("max_m", &b.max_m, 1);
    br.String("kernel", &b.kernel);
    br.Double("us", &b.microseconds);
    br.Double("roof_percent", &b.roof_percent);
    br.Bool("memory_bound", &b.memory_bound);
    LATHE_RETURN_IF_ERROR(br.Done());
    t.buckets.push_back(std::move(b));
  }
  LATHE_RETURN_IF_ERROR(r.Done());
  LATHE_ASSIGN_OR_RETURN(t.x_type, FloatType(x_type, where));
  return t;
}

// Bytes a weight must have for its layout.
uint64_t ExpectedBytes(const WeightDef& w) {
  const auto up = [](int64_t v, int64_t to) { return (v + to - 1) / to * to; };
  const auto size = static_cast<uint64_t>(SizeOf(w.type));
  switch (w.layout) {
    case WeightLayout::kVector: return static_cast<uint64_t>(w.N) * size;
    case WeightLayout::kTable: return static_cast<uint64_t>(w.N) * static_cast<uint64_t>(w.K) * size;
    case WeightLayout::kPanels:
      return static_cast<uint64_t>(up(w.N, kPanelN)) * static_cast<uint64_t>(up(w.K, 2)) * size;
    case WeightLayout::kRows:
      return static_cast<uint64_t>(up(w.N, kRowsN)) * static_cast<uint64_t>(w.K) * size;
  }
  return 0;
}

// One op's references, told apart by kind. Widths are checked against the buffers they must fit into.
class OpVerifier {
 public:
  OpVerifier(const Plan& plan, int index)
      : plan_(plan), op_(plan.ops[static_cast<size_t>(index)]), index_(index) {}

  Status Check() {
    const int64_t act = SizeOf(ActivationType(plan_.numeric));
    const int64_t qkv = int64_t{plan_.n_heads + 2 * plan_.n_kv_heads} * plan_.head_dim;
    const int64_t q = int64_t{plan_.n_heads} * plan_.head_dim;
    const bool at_logits = op_.logit_rows;
    if (SizeOf(op_.out_type) == 2 && op_.out_type != ActivationType(plan_.numeric))
      Fail("writes another 16-bit type than the engine's");
    switch (op_.kind) {
      case PlanOpKind::kEmbed:
        Weight(op_.weight, "weight", plan_.vocab, plan_.hidden);
        Buffer(op_.out, "out", plan_.hidden * 4, false);
        break;
      case PlanOpKind::kRmsNorm:
        Buffer(op_.in, "in", plan_.hidden * 4, at_logits && !Gathers());
        if (op_.in2 >= 0) Buffer(op_.in2, "in2", plan_.hidden * 4, at_logits && !Gathers());
        if (op_.out >= 0) {
          Buffer(op_.out, "out", RowBytes(plan_.hidden, op_.out_type), at_logits);
          Weight(op_.gain, "gain", plan_.hidden, 1);
        }
        if (op_.in2 < 0 && op_.out < 0) Fail("does nothing");
        if (op_.in2 >= 0 && Gathers()) Fail("adds over logit rows that it gathers");
        break;
      case PlanOpKind::kGemm: CheckGemm(); break;
      case PlanOpKind::kQuantize: CheckQuantize(act); break;
      case PlanOpKind::kRopeAppend:
        Layer();
        Buffer(op_.in, "in", qkv * 4, false);
        Buffer(op_.out, "out", q * act, false);
        if (op_.gain >= 0) Weight(op_.gain, "gain", plan_.head_dim, 1);
        if (op_.gain2 >= 0) Weight(op_.gain2, "gain2", plan_.head_dim, 1);
        break;
      case PlanOpKind::kAttention:
        Layer();
        Buffer(op_.in, "in", q * act, at_logits);
        Buffer(op_.out, "out", RowBytes(q, op_.out_type), at_logits);
        break;
      case PlanOpKind::kSelect:
        if (op_.columns < 1 || !at_logits || op_.out_type == DType::kF8E4M3) Fail("selects nothing");
        Buffer(op_.in, "in", op_.columns * SizeOf(op_.out_type), false);
        Buffer(op_.out, "out", op_.columns * SizeOf(op_.out_type), true);
        break;
      case PlanOpKind::kAllReduce: Buffer(op_.in, "in", plan_.hidden * 4, at_logits); break;
      case PlanOpKind::kAllGather:
        if (op_.weight < 0 || static_cast<size_t>(op_.weight) >= plan_.weights.size()) {
          Fail("'weight' names no weight");
          break;
        }
        Buffer(op_.in, "in", plan_.weights[static_cast<size_t>(op_.weight)].N * 4, at_logits);
        Buffer(op_.out, "out", int64_t{plan_.vocab} * 4, at_logits);
        break;
      case PlanOpKind::kSend:
        Buffer(op_.in, "in", plan_.hidden * 4, at_logits);
        Peer();
        break;
      case PlanOpKind::kRecv:
        Buffer(op_.out, "out", plan_.hidden * 4, at_logits);
        Peer();
        break;
    }
    return status_;
  }

 private:
  void Fail(const std::string& what) {
    if (status_.ok())
      status_ = Error(StatusCode::kCorrupt, "plan op %d (%s): %s", index_, ToString(op_.kind), what.c_str());
  }
  // `logit_rows`: whether the op touches one row per logit row of it, or one per row of the step.
  void Buffer(int id, const char* name, int64_t bytes, bool logit_rows) {
    if (id < 0 || static_cast<size_t>(id) >= plan_.buffers.size())
      return Fail(StrFormat("'%s' names no buffer", name));
    if (plan_.buffers[static_cast<size_t>(id)].logit_rows != logit_rows)
      Fail(StrFormat("buffer '%s' has other rows than the op", name));
    const int64_t have = plan_.buffers[static_cast<size_t>(id)].bytes_per_row;
    if (have < bytes)
      Fail(StrFormat("buffer '%s' has %lld bytes a row, %lld are needed", name, static_cast<long long>(have),
                     static_cast<long long>(bytes)));
  }
  void Weight(int id, const char* name, int64_t N, int64_t K) {
    if (id < 0 || static_cast<size_t>(id) >= plan_.weights.size())
      return Fail(StrFormat("'%s' names no weight", name));
    const WeightDef& w = plan_.weights[static_cast<size_t>(id)];
    if (w.N != N || w.K != K)
      Fail(StrFormat("weight '%s' is (%lld, %lld), (%lld, %lld) is needed", w.name.c_str(),
                     static_cast<long long>(w.N), static_cast<long long>(w.K), static_cast<long long>(N),
                     static_cast<long long>(K)));
    if (K == 1 && (w.type != DType::kF32 || w.layout != WeightLayout::kVector))
      Fail(StrFormat("weight '%s' must be an f32 vector", w.name.c_str()));
    if (K > 1 && w.layout == WeightLayout::kVector)
      Fail(StrFormat("weight '%s' is a vector, a matrix is needed", w.name.c_str()));
    const bool fp8 = w.type == DType::kF8E4M3;
    if (K > 1 && (fp8 ? !HasFp8(plan_.numeric) : w.type != WeightType(plan_.numeric)))
      Fail(StrFormat("weight '%s' has another type than the engine's", w.name.c_str()));
    if (K > 1 && fp8) Weight(w.scale, "scale", N, 1);  // whose own scale is not looked at
  }
  // A norm of logit rows that lie among the others.
  bool Gathers() const { return GathersRows(plan_, op_); }
  // Of a row of a buffer; e4m3 rows have a scale.
  static int64_t RowBytes(int64_t width, DType type) {
    return width * SizeOf(type) + (type == DType::kF8E4M3 ? int64_t{sizeof(float)} : 0);
  }
  // The matrix that `weight` names; null, and the fault noted, if there is none.
  const WeightDef* Matrix() {
    if (op_.weight < 0 || static_cast<size_t>(op_.weight) >= plan_.weights.size()) {
      Fail("'weight' names no weight");
      return nullptr;
    }
    const WeightDef& w = plan_.weights[static_cast<size_t>(op_.weight)];
    if (w.layout != (plan_.on_cuda() ? WeightLayout::kRows : WeightLayout::kPanels)) {
      Fail("the weight is not laid out for the engine's kernels");
      return nullptr;
    }
    return &w;
  }
  void CheckQuantize(int64_t act) {
    if (!HasFp8(plan_.numeric)) return Fail("the engine's class does not quantize");
    const WeightDef* w = Matrix();
    if (w == nullptr) return;
    Buffer(op_.in, "in", w->K * act, op_.logit_rows);
    Buffer(op_.out, "out", RowBytes(w->K, DType::kF8E4M3), op_.logit_rows);
  }
  void CheckGemm() {
    const WeightDef* matrix = Matrix();
    if (matrix == nullptr) return;
    const WeightDef& w = *matrix;
    Weight(op_.weight, "weight", w.N, w.K);
    const int64_t up = plan_.on_cuda() ? (w.N + kRowsN - 1) / kRowsN * kRowsN : w.N;
    Buffer(op_.out, "out", RowBytes(op_.silu_mul ? w.N / 2 : up, op_.out_type), op_.logit_rows);
    if (op_.in2 >= 0) Buffer(op_.in2, "in2", w.N * 4, op_.logit_rows);
    if (op_.in2 >= 0 && (!plan_.on_cuda() || op_.out_type != DType::kF32))
      Fail("'in2' is added on CUDA, in f32");
    if (op_.silu_mul && w.N % (2 * kPanelN) != 0) Fail("silu_mul needs whole pairs of panels");
    if (op_.bias >= 0) Weight(op_.bias, "bias", w.N, 1);
    if (op_.tactic < 0 || static_cast<size_t>(op_.tactic) >= plan_.tactics.size())
      return Fail("'tactic' names no tactic");
    const GemmTactic& t = plan_.tactics[static_cast<size_t>(op_.tactic)];
    if (t.N != w.N || t.K != w.K || t.silu_mul != op_.silu_mul || t.buckets.empty())
      Fail("the tactic is for another shape");
    const bool fp8 = w.type == DType::kF8E4M3;
    if ((t.x_type == DType::kF8E4M3) != fp8 ||
        (!fp8 && t.x_type != ActivationType(plan_.numeric) && (t.x_type != DType::kF32 || plan_.on_cuda())))
      Fail("the tactic reads another type than the engine's activations");
    Buffer(op_.in, "in", RowBytes(w.K, t.x_type), op_.logit_rows);
  }
  void Layer() {
    if (op_.layer < plan_.first_layer || op_.layer >= plan_.first_layer + plan_.n_layers)
      Fail(StrFormat("layer %d is not of this rank", op_.layer));
  }
  void Peer() {
    if (op_.peer < 0 || op_.peer >= plan_.pp) Fail(StrFormat("peer %d is no pipeline rank", op_.peer));
  }

  const Plan& plan_;
  const PlanOp& op_;
  int index_;
  Status status_;
};

Status VerifyWeights(const Plan& plan, uint64_t weight_blob_bytes) {
  std::vector<std::pair<uint64_t, uint64_t>> ranges;
  for (const WeightDef& w : plan.weights) {
    if (w.N < 1 || w.K < 1 || w.bytes != ExpectedBytes(w) || w.offset % 64 != 0 ||
        w.offset > weight_blob_bytes || w.bytes > weight_blob_bytes - w.offset)
      return Error(StatusCode::kCorrupt,
                   "weight '%s' of %llu bytes at %llu does not fit its shape or the blob", w.name.c_str(),
                   static_cast<unsigned long long>(w.bytes), static_cast<unsigned long long>(w.offset));
    ranges.emplace_back(w.offset, w.offset + w.bytes);
  }
  std::sort(ranges.begin(), ranges.end());
  for (size_t i = 1; i < ranges.size(); ++i)
    if (ranges[i].first < ranges[i - 1].second)
      return Error(StatusCode::kCorrupt, "two weights overlap at offset %llu",
                   static_cast<unsigned long long>(ranges[i].first));
  return Status::Ok();
}

}  // namespace

const char* ToString(PlanOpKind kind) { return kKindNames[static_cast<size_t>(kind)]; }

bool GathersRows(const Plan& plan, const PlanOp& op) {
  return op.kind == PlanOpKind::kRmsNorm && op.logit_rows && op.in >= 0 &&
         static_cast<size_t>(op.in) < plan.buffers.size() &&
         !plan.buffers[static_cast<size_t>(op.in)].logit_rows;
}

uint64_t Plan::WeightBytes() const {
  uint64_t sum = 0;
  for (const WeightDef& w : weights) sum += w.bytes;
  return sum;
}

Json ToJson(const Plan& p) {
  Json j = {{"sm", p.sm},
            {"isa", ToString(p.isa)},
            {"numeric", ToString(p.numeric)},
            {"tp", p.tp},
            {"pp", p.pp},
            {"tp_rank", p.tp_rank},
            {"pp_rank", p.pp_rank},
            {"first_layer", p.first_layer},
            {"n_layers", p.n_layers},
            {"hidden", p.hidden},
            {"n_heads", p.n_heads},
            {"n_kv_heads", p.n_kv_heads},
            {"head_dim", p.head_dim},
            {"rotary_dim", p.rotary_dim},
            {"vocab", p.vocab},
            {"norm_eps", p.norm_eps},
            {"q_scale", p.q_scale},
            {"page_size", p.page_size},
            {"kv_type", ToString(p.kv_type)},
            {"logits_buffer", p.logits_buffer}};
  for (const char* key : {"weights", "buffers", "ops", "tactics"}) j[key] = Json::array();
  for (const WeightDef& w : p.weights) {
    j["weights"].push_back({{"name", w.name},
                            {"layout", kLayoutNames[static_cast<size_t>(w.layout)]},
                            {"type", ToString(w.type)},
                            {"N", w.N},
                            {"K", w.K},
                            {"offset", w.offset},
                            {"bytes", w.bytes}});
    if (w.scale >= 0) j["weights"].back()["scale"] = w.scale;
  }
  for (const BufferDef& b : p.buffers)
    j["buffers"].push_back(
        {{"name", b.name}, {"bytes_per_row", b.bytes_per_row}, {"logit_rows", b.logit_rows}});
  for (const PlanOp& op : p.ops) j["ops"].push_back(OpToJson(op));
  for (const GemmTactic& t : p.tactics) {
    Json buckets = Json::array();
    for (const TacticBucket& b : t.buckets)
      buckets.push_back({{"max_m", b.max_m},
                         {"kernel", b.kernel},
                         {"us", b.microseconds},
                         {"roof_percent", b.roof_percent},
                         {"memory_bound", b.memory_bound}});
    j["tactics"].push_back({{"N", t.N},
                            {"K", t.K},
                            {"silu_mul", t.silu_mul},
                            {"x_type", ToString(t.x_type)},
                            {"buckets", buckets}});
  }
  return j;
}

Expected<Plan> PlanFromJson(const Json& json, std::string_view where) {
  const std::string w(where);
  Plan p;
  FieldReader r(json, w);
  std::string kv_type = std::string(ToString(p.kv_type));
  r.Int("sm", &p.sm, 0, 1000);
  r.String("kv_type", &kv_type);
  r.Enum("isa", IsaNames(), &p.isa);
  r.Enum("numeric", ClassNames(), &p.numeric);
  r.Int("tp", &p.tp, 1, 1024);
  r.Int("pp", &p.pp, 1, 1024);
  r.Int("tp_rank", &p.tp_rank, 0, 1023);
  r.Int("pp_rank", &p.pp_rank, 0, 1023);
  r.Int("first_layer", &p.first_layer, 0, 1024);
  r.Int("n_layers", &p.n_layers, 1, 1024);
  r.Int("hidden", &p.hidden, 1);
  r.Int("n_heads", &p.n_heads, 1, 1 << 16);
  r.Int("n_kv_heads", &p.n_kv_heads, 1, 1 << 16);
  r.Int("head_dim", &p.head_dim, 2, 256);
  r.Int("rotary_dim", &p.rotary_dim, 0, 256);
  r.Int("vocab", &p.vocab, 1);
  r.Float("norm_eps", &p.norm_eps);
  r.Float("q_scale", &p.q_scale);
  r.Int("page_size", &p.page_size, 16, 256);
  r.Int("logits_buffer", &p.logits_buffer);
  const Json& weights = r.Array("weights");
  const Json& buffers = r.Array("buffers");
  const Json& ops = r.Array("ops");
  const Json& tactics = r.Array("tactics");
  LATHE_RETURN_IF_ERROR(r.Done());
  LATHE_ASSIGN_OR_RETURN(p.kv_type, FloatType(kv_type, w));
  for (const Json& entry : weights) {
    LATHE_ASSIGN_OR_RETURN(WeightDef def, WeightFromJson(entry, w + ": weight"));
    p.weights.push_back(std::move(def));
  }
  for (const Json& entry : buffers) {
    BufferDef b;
    FieldReader br(entry, w + ": buffer");
    br.String("name", &b.name);
    br.Int64("bytes_per_row", &b.bytes_per_row, 64, int64_t{1} << 32);
    br.Bool("logit_rows", &b.logit_rows);
    LATHE_RETURN_IF_ERROR(br.Done());
    p.buffers.push_back(std::move(b));
  }
  for (const Json& entry : ops) {
    LATHE_ASSIGN_OR_RETURN(const PlanOp op, OpFromJson(entry, w + ": op"));
    p.ops.push_back(op);
  }
  for (const Json& entry : tactics) {
    LATHE_ASSIGN_OR_RETURN(GemmTactic t, TacticsFromJson(entry, w + ": tactic"));
    p.tactics.push_back(std::move(t));
  }
  return p;
}

Status VerifyPlan(const Plan& plan, uint64_t weight_blob_bytes) {
  for (const auto& [name, value] : {std::pair{"n_layers", plan.n_layers},
                                    {"hidden", plan.hidden},
                                    {"n_heads", plan.n_heads},
                                    {"n_kv_heads", plan.n_kv_heads},
                                    {"head_dim", plan.head_dim},
                                    {"vocab", plan.vocab}})
    if (value < 1) return Error(StatusCode::kCorrupt, "plan: '%s' is missing or not positive", name);
  if (!std::isfinite(plan.norm_eps) || !std::isfinite(plan.q_scale))
    return {StatusCode::kCorrupt, "plan: 'norm_eps' or 'q_scale' is not finite"};
  if (plan.on_cuda() != OnTensorCores(plan.numeric))
    return {StatusCode::kCorrupt, "plan: the numeric class is not one of its device"};
  if (plan.on_cuda() && plan.kv_type != DType::kF8E4M3 && plan.kv_type != KvType(plan.numeric))
    return {StatusCode::kCorrupt, "plan: keys and values have a type that the numeric class does not read"};
  if (plan.ops.empty()) return {StatusCode::kCorrupt, "plan: there are no ops"};
  if (plan.tp_rank >= plan.tp || plan.pp_rank >= plan.pp)
    return {StatusCode::kCorrupt, "plan: rank out of range"};
  if (plan.page_size % 16 != 0 || plan.head_dim % 2 != 0 || plan.rotary_dim > plan.head_dim ||
      plan.rotary_dim % 2 != 0 || plan.n_heads % plan.n_kv_heads != 0)
    return {StatusCode::kCorrupt, "plan: head or page sizes do not fit together"};
  LATHE_RETURN_IF_ERROR(VerifyWeights(plan, weight_blob_bytes));
  for (const BufferDef& b : plan.buffers)
    if (b.bytes_per_row < 64 || b.bytes_per_row % 64 != 0)
      return Error(StatusCode::kCorrupt, "buffer '%s' is empty or not aligned", b.name.c_str());
  for (const GemmTactic& t : plan.tactics) {
    int before = 0;
    for (const TacticBucket& b : t.buckets)
      if (std::exchange(before, b.max_m) >= b.max_m || t.N < 1 || t.K < 1)
        return Error(StatusCode::kCorrupt, "plan: the tactic for (%lld, %lld) has buckets out of order",
                     static_cast<long long>(t.N), static_cast<long long>(t.K));
  }
  for (size_t i = 0; i < plan.ops.size(); ++i)
    LATHE_RETURN_IF_ERROR(OpVerifier(plan, static_cast<int>(i)).Check());
  const bool last = plan.pp_rank == plan.pp - 1;
  if (last != (plan.logits_buffer >= 0) || plan.logits_buffer >= static_cast<int>(plan.buffers.size()))
    return {StatusCode::kCorrupt, "plan: the last pipeline rank, and only it, has logits"};
  if (last) {
    const BufferDef& b = plan.buffers[static_cast<size_t>(plan.logits_buffer)];
    if (!b.logit_rows || b.bytes_per_row < int64_t{plan.vocab} * 4)
      return {StatusCode::kCorrupt, "plan: the logits buffer is too small"};
  }
  return Status::Ok();
}

}  // namespace lathe
