#include "plan/plan.h"

#include <gtest/gtest.h>

#include <functional>
#include <limits>

#include "base/rng.h"

namespace lathe {
namespace {

// Indices into TinyPlan's tables, in the order in which it makes them.
enum Buf { kResidual, kDelta, kNormed, kQkv, kQ, kAttn, kGated, kSelected, kLogits };
enum Op { kOpEmbed, kOpNorm, kOpQkv, kOpRope, kOpAttention, kOpDown, kOpAdd, kOpGateUp, kOpGather, kOpHead };

// One layer with hidden 64, 2 heads of 32, 1 kv head, vocabulary 100: every op of a one-rank plan.
Plan TinyPlan() {
  Plan p;
  p.isa = Isa::kAvx2;
  p.numeric = NumericClass::kBf16Dot;  // bf16 activations: widths differ from f32
  p.n_layers = 1;
  p.hidden = 64;
  p.n_heads = 2;
  p.n_kv_heads = 1;
  p.head_dim = p.rotary_dim = 32;
  p.vocab = 100;
  p.norm_eps = 1e-5f;
  p.q_scale = 0.17677669f;
  uint64_t offset = 0;
  const auto weight = [&](const char* name, WeightLayout layout, int64_t N, int64_t K) {
    WeightDef w{.name = name, .layout = layout, .N = N, .K = K, .offset = offset};
    w.type = layout == WeightLayout::kVector ? DType::kF32 : DType::kBf16;
    const int64_t padded = layout == WeightLayout::kPanels ? (N + 63) / 64 * 64 : N;
    w.bytes = static_cast<uint64_t>(padded * K * SizeOf(w.type));
    offset = (offset + w.bytes + 63) / 64 * 64;
    p.weights.push_back(w);
    return static_cast<int>(p.weights.size()) - 1;
  };
  const int embed = weight("embed", WeightLayout::kTable, 100, 64);
  const int gain = weight("layers.0.attn_norm", WeightLayout::kVector, 64, 1);
  const int qkv = weight("layers.0.qkv", WeightLayout::kPanels, 128, 64);
  const int qkv_bias = weight("layers.0.qkv_bias", WeightLayout::kVector, 128, 1);
  const int q_gain = weight("layers.0.q_norm", WeightLayout::kVector, 32, 1);
  const int down = weight("layers.0.down", WeightLayout::kPanels, 64, 64);
  const int gate_up = weight("layers.0.gate_up", WeightLayout::kPanels, 256, 64);
  const int head = weight("lm_head", WeightLayout::kPanels, 100, 64);
  const auto buffer = [&](const char* name, int64_t bytes, bool logit_rows = false) {
    p.buffers.push_back({name, bytes, logit_rows});
  };
  buffer("residual", 256);
  buffer("delta", 256);
  buffer("normed", 128);
  buffer("qkv", 512);
  buffer("q", 128);
  buffer("attn", 128);
  buffer("gated", 256);
  buffer("selected", 256, true);
  buffer("logits", 448, true);
  p.logits_buffer = kLogits;
  const auto tactic = [&](int w, bool silu_mul, DType x_type) {
    p.tactics.push_back({p.weights[static_cast<size_t>(w)].N,
                         p.weights[static_cast<size_t>(w)].K,
                         silu_mul,
                         x_type,
                         {{1, "gemv", 2.5, 91.5, true}, {512, "gemm", 100, 75, false}}});
    return static_cast<int>(p.tactics.size()) - 1;
  };
  const auto gemm = [&](int in, int out, int w, bool silu_mul = false, bool logit_rows = false) {
    return PlanOp{.kind = PlanOpKind::kGemm,
                  .in = in,
                  .out = out,
                  .weight = w,
                  .tactic = tactic(w, silu_mul, logit_rows ? DType::kF32 : DType::kBf16),
                  .silu_mul = silu_mul,
                  .logit_rows = logit_rows};
  };
  p.ops.push_back({.kind = PlanOpKind::kEmbed, .out = kResidual, .weight = embed});
  p.ops.push_back({.kind = PlanOpKind::kRmsNorm,
                   .in = kResidual,
                   .out = kNormed,
                   .gain = gain,
                   .out_type = DType::kBf16});
  p.ops.push_back(gemm(kNormed, kQkv, qkv));
  p.ops.back().bias = qkv_bias;
  p.ops.push_back({.kind = PlanOpKind::kRopeAppend, .layer = 0, .in = kQkv, .out = kQ, .gain = q_gain});
  p.ops.push_back({.kind = PlanOpKind::kAttention,
                   .layer = 0,
                   .in = kQ,
                   .out = kAttn,
                   .window = 128,
                   .out_type = DType::kBf16});
  p.ops.push_back(gemm(kAttn, kDelta, down));
  p.ops.push_back({.kind = PlanOpKind::kRmsNorm, .in = kResidual, .in2 = kDelta});
  p.ops.push_back(gemm(kNormed, kGated, gate_up, true));
  p.ops.back().out_type = DType::kBf16;
  p.ops.push_back(
      {.kind = PlanOpKind::kRmsNorm, .in = kResidual, .out = kSelected, .gain = gain, .logit_rows = true});
  p.ops.push_back(gemm(kSelected, kLogits, head, false, true));
  return p;
}

constexpr uint64_t kBlobBytes = 1 << 20;

TEST(PlanJson, RoundTrip) {
  const Plan plan = TinyPlan();
  const Json json = ToJson(plan);
  const auto again = PlanFromJson(*ParseJson(DumpJson(json), "plan"), "plan");
  ASSERT_TRUE(again.ok()) << again.status().message();
  EXPECT_EQ(DumpJson(ToJson(*again)), DumpJson(json));
  EXPECT_EQ(again->isa, Isa::kAvx2);
  EXPECT_EQ(again->numeric, NumericClass::kBf16Dot);
  EXPECT_EQ(again->q_scale, plan.q_scale);
  EXPECT_EQ(again->ops[kOpAttention].window, 128);
  EXPECT_EQ(again->ops[kOpHead].kind, PlanOpKind::kGemm);
  EXPECT_EQ(again->tactics[0].buckets[1].kernel, "gemm");
  EXPECT_EQ(again->weights[2].offset, plan.weights[2].offset);
  EXPECT_EQ(again->WeightBytes(), plan.WeightBytes());
  EXPECT_TRUE(VerifyPlan(*again, kBlobBytes).ok());
}

TEST(PlanJson, WritesOnlyWhatDiffersFromTheDefault) {
  EXPECT_EQ(DumpJson(ToJson(TinyPlan())["ops"][kOpEmbed]), R"({"op":"embed","out":0,"weight":0})");
}

TEST(PlanJson, RefusesWhatItDoesNotKnow) {
  struct Case {
    const char* what;
    std::function<void(Json*)> edit;
    const char* named;  // in the message
  };
  const Case cases[] = {
      {"no object", [](Json* j) { *j = Json::array(); }, "object"},
      {"key", [](Json* j) { (*j)["batch"] = 4; }, "'batch'"},
      {"key of a weight", [](Json* j) { (*j)["weights"][0]["scales"] = 4; }, "'scales'"},
      {"key of a buffer", [](Json* j) { (*j)["buffers"][0]["rows"] = 4; }, "'rows'"},
      {"key of an op", [](Json* j) { (*j)["ops"][0]["alpha"] = 4; }, "'alpha'"},
      {"key of a tactic", [](Json* j) { (*j)["tactics"][0]["M"] = 4; }, "'M'"},
      {"key of a bucket", [](Json* j) { (*j)["tactics"][0]["buckets"][0]["ns"] = 4; }, "'ns'"},
      {"isa", [](Json* j) { (*j)["isa"] = "mmx"; }, "'mmx'"},
      {"numeric class", [](Json* j) { (*j)["numeric"] = "int4"; }, "'int4'"},
      {"no isa", [](Json* j) { j->erase("isa"); }, "isa"},
      {"op", [](Json* j) { (*j)["ops"][1]["op"] = "conv"; }, "'conv'"},
      {"op of no kind", [](Json* j) { (*j)["ops"][1].erase("op"); }, "op"},
      {"layout", [](Json* j) { (*j)["weights"][0]["layout"] = "tiles"; }, "'tiles'"},
      {"weight type", [](Json* j) { (*j)["weights"][0]["type"] = "i8"; }, "'i8'"},
      {"text for a number", [](Json* j) { (*j)["hidden"] = "64"; }, "'hidden'"},
      {"fraction", [](Json* j) { (*j)["hidden"] = 64.5; }, "'hidden'"},
      {"negative", [](Json* j) { (*j)["hidden"] = -64; }, "'hidden'"},
      {"too large", [](Json* j) { (*j)["vocab"] = int64_t{1} << 40; }, "'vocab'"},
      {"beyond int64", [](Json* j) { (*j)["weights"][0]["bytes"] = ~uint64_t{0}; }, "'bytes'"},
      {"narrow buffer", [](Json* j) { (*j)["buffers"][0]["bytes_per_row"] = 4; }, "'bytes_per_row'"},
      {"number for a flag", [](Json* j) { (*j)["ops"][7]["silu_mul"] = 1; }, "'silu_mul'"},
      {"ops of another type", [](Json* j) { (*j)["ops"] = 3; }, "'ops'"},
      {"op of another type", [](Json* j) { (*j)["ops"][2] = 3; }, "object"},
      {"buckets of another type", [](Json* j) { (*j)["tactics"][0]["buckets"] = 3; }, "'buckets'"},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.what);
    Json json = ToJson(TinyPlan());
    c.edit(&json);
    const auto plan = PlanFromJson(json, "m.lathe");
    ASSERT_FALSE(plan.ok());
    EXPECT_NE(plan.status().message().find(c.named), std::string::npos) << plan.status().message();
    EXPECT_EQ(plan.status().message().rfind("m.lathe", 0), 0u) << plan.status().message();
  }
}

// Every top-level key may be absent from a hostile file: then reader or verifier refuse it, unless its
// default is a meaning of its own.
TEST(PlanJson, MissingKeysAreRefusedOrHaveAMeaning) {
  const Json json = ToJson(TinyPlan());
  for (const auto& [key, value] : json.items()) {
    Json without = json;
    without.erase(key);
    const auto plan = PlanFromJson(without, "plan");
    const bool refused = !plan.ok() || !VerifyPlan(*plan, kBlobBytes).ok();
    const bool optional = key == "tp" || key == "pp" || key == "tp_rank" || key == "pp_rank" ||
                          key == "first_layer" || key == "rotary_dim" || key == "norm_eps" ||
                          key == "q_scale" || key == "page_size" || key == "sm" || key == "kv_type";
    EXPECT_EQ(refused, !optional) << key;
  }
}

TEST(VerifyPlan, AcceptsEveryOp) {
  Plan plan = TinyPlan();
  ASSERT_TRUE(VerifyPlan(plan, kBlobBytes).ok()) << VerifyPlan(plan, kBlobBytes).message();
  // The first of two pipeline ranks, tensor-parallel: no logits, but every op of communication.
  plan.pp = 2;
  plan.tp = 2;
  plan.logits_buffer = -1;
  const PlanOp comm[] = {
      {.kind = PlanOpKind::kAllReduce, .in = kDelta},
      {.kind = PlanOpKind::kAllGather, .in = kDelta, .out = kQkv, .weight = 5},
      {.kind = PlanOpKind::kSelect, .in = kResidual, .out = kSelected, .columns = 64, .logit_rows = true},
      {.kind = PlanOpKind::kRmsNorm,
       .in = kSelected,
       .in2 = kLogits,  // any buffer of logit rows that is wide enough
       .logit_rows = true},
      {.kind = PlanOpKind::kSend, .in = kResidual, .peer = 1},
      {.kind = PlanOpKind::kRecv, .out = kResidual, .peer = 1}};
  plan.ops.insert(plan.ops.end(), std::begin(comm), std::end(comm));
  EXPECT_TRUE(VerifyPlan(plan, kBlobBytes).ok()) << VerifyPlan(plan, kBlobBytes).message();
}

TEST(VerifyPlan, NamesWhatDoesNotFit) {
  struct Case {
    const char* what;
    std::function<void(Plan*)> edit;
    const char* named;  // in the message
  };
  const auto op = [](int index, std::function<void(PlanOp*)> edit) {
    return [=](Plan* p) { edit(&p->ops[static_cast<size_t>(index)]); };
  };
  const Case cases[] = {
      // The plan as a whole.
      {"tp rank", [](Plan* p) { p->tp_rank = 1; }, "rank"},
      {"pp rank", [](Plan* p) { p->pp_rank = 1; }, "rank"},
      {"no kv heads", [](Plan* p) { p->n_kv_heads = 0; }, "n_kv_heads"},
      {"heads and kv heads", [](Plan* p) { p->n_kv_heads = 3; }, "sizes"},
      {"odd head_dim", [](Plan* p) { p->head_dim = 31; }, "sizes"},
      {"rotary_dim over head_dim", [](Plan* p) { p->rotary_dim = 64; }, "sizes"},
      {"odd rotary_dim", [](Plan* p) { p->rotary_dim = 3; }, "sizes"},
      {"page size", [](Plan* p) { p->page_size = 24; }, "sizes"},
      {"eps", [](Plan* p) { p->norm_eps = std::numeric_limits<float>::infinity(); }, "norm_eps"},
      {"no logits on the last rank", [](Plan* p) { p->logits_buffer = -1; }, "logits"},
      {"logits on another rank", [](Plan* p) { p->pp = 2; }, "logits"},
      {"no such logits buffer", [](Plan* p) { p->logits_buffer = 99; }, "logits"},
      {"logits in step rows", [](Plan* p) { p->logits_buffer = kQkv; }, "logits"},
      {"narrow logits", [](Plan* p) { p->logits_buffer = kSelected; }, "logits"},
      {"unaligned buffer", [](Plan* p) { p->buffers[kQkv].bytes_per_row = 520; }, "'qkv'"},
      {"empty buffer", [](Plan* p) { p->buffers[kQkv].bytes_per_row = 0; }, "'qkv'"},
      {"buckets out of order", [](Plan* p) { p->tactics[0].buckets[1].max_m = 1; }, "out of order"},
      {"bucket for no rows", [](Plan* p) { p->tactics[0].buckets[0].max_m = 0; }, "out of order"},
      // Weights.
      {"weight of other bytes", [](Plan* p) { p->weights[2].bytes -= 2; }, "layers.0.qkv"},
      {"unaligned weight", [](Plan* p) { p->weights[7].offset += 2; }, "lm_head"},
      {"weight beyond the blob", [](Plan* p) { p->weights[7].offset = kBlobBytes; }, "lm_head"},
      {"offset overflows", [](Plan* p) { p->weights[7].offset = ~uint64_t{63}; }, "lm_head"},
      {"weights overlap", [](Plan* p) { p->weights[7].offset -= 64; }, "overlap"},
      {"matrix type", [](Plan* p) { p->weights[0].type = DType::kF32, p->weights[0].bytes *= 2,
                                    p->weights[0].offset = 1 << 19; }, "another type"},
      {"gain as a matrix", [](Plan* p) { p->weights[1].layout = WeightLayout::kTable; }, "f32 vector"},
      {"embedding as a vector", [](Plan* p) { p->weights[0].layout = WeightLayout::kVector,
                                              p->weights[0].bytes = 200; }, "matrix"},
      // embed
      {"embed: no weight", op(kOpEmbed, [](PlanOp* o) { o->weight = -1; }), "'weight'"},
      {"embed: weight out of range", op(kOpEmbed, [](PlanOp* o) { o->weight = 99; }), "'weight'"},
      {"embed: other vocabulary", [](Plan* p) { p->vocab = 101; }, "embed"},
      {"embed: no out", op(kOpEmbed, [](PlanOp* o) { o->out = -1; }), "'out'"},
      {"embed: narrow out", op(kOpEmbed, [](PlanOp* o) { o->out = kNormed; }), "256"},
      {"embed: logit rows out", op(kOpEmbed, [](PlanOp* o) { o->out = kLogits; }), "other rows"},
      // rmsnorm
      {"norm: no in", op(kOpNorm, [](PlanOp* o) { o->in = 99; }), "'in'"},
      {"norm: narrow in", op(kOpNorm, [](PlanOp* o) { o->in = kNormed; }), "'in'"},
      {"norm: narrow in2", op(kOpNorm, [](PlanOp* o) { o->in2 = kNormed; }), "'in2'"},
      {"norm: f32 into a bf16 buffer", op(kOpNorm, [](PlanOp* o) { o->out_type = DType::kF32; }), "'out'"},
      {"norm: no gain", op(kOpNorm, [](PlanOp* o) { o->gain = -1; }), "'gain'"},
      {"norm: gain of another width", op(kOpNorm, [](PlanOp* o) { o->gain = 4; }), "q_norm"},
      {"norm: nothing to do", op(kOpNorm, [](PlanOp* o) { o->out = -1; }), "nothing"},
      {"norm: step rows into logit rows", op(kOpNorm, [](PlanOp* o) { o->out = kSelected; }), "other rows"},
      {"norm: gathers and adds", op(kOpGather, [](PlanOp* o) { o->in2 = kDelta; }), "logit rows"},
      // gemm
      {"gemm: no weight", op(kOpQkv, [](PlanOp* o) { o->weight = -1; }), "'weight'"},
      {"gemm: weight not packed", op(kOpQkv, [](PlanOp* o) { o->weight = 0; }), "laid out"},
      {"gemm: narrow in", [](Plan* p) { p->buffers[kNormed].bytes_per_row = 64; }, "'out'"},
      {"gemm: narrow out", op(kOpQkv, [](PlanOp* o) { o->out = kNormed; }), "512"},
      {"gemm: bias of another width", op(kOpQkv, [](PlanOp* o) { o->bias = 1; }), "attn_norm"},
      {"gemm: no tactic", op(kOpQkv, [](PlanOp* o) { o->tactic = 9; }), "'tactic'"},
      {"gemm: tactic of another shape", op(kOpQkv, [](PlanOp* o) { o->tactic = 1; }), "shape"},
      {"gemm: tactic without kernels", [](Plan* p) { p->tactics[0].buckets.clear(); }, "shape"},
      {"gemm: silu_mul of odd panels", op(kOpDown, [](PlanOp* o) { o->silu_mul = true; }), "pairs"},
      {"gemm: logit rows from step rows", op(kOpHead, [](PlanOp* o) { o->in = kNormed; }), "other rows"},
      {"gemm: step rows into logits", op(kOpHead, [](PlanOp* o) { o->logit_rows = false; }), "other rows"},
      // rope_append, attention
      {"rope: no layer", op(kOpRope, [](PlanOp* o) { o->layer = -1; }), "layer"},
      {"rope: another rank's layer", op(kOpRope, [](PlanOp* o) { o->layer = 1; }), "layer 1"},
      {"rope: narrow in", op(kOpRope, [](PlanOp* o) { o->in = kDelta; }), "'in'"},
      {"rope: narrow out", [](Plan* p) { p->buffers[kQ].bytes_per_row = 64; }, "'out'"},
      {"rope: q gain", op(kOpRope, [](PlanOp* o) { o->gain = 1; }), "attn_norm"},
      {"rope: k gain", op(kOpRope, [](PlanOp* o) { o->gain2 = 99; }), "'gain2'"},
      {"attention: layer", op(kOpAttention, [](PlanOp* o) { o->layer = 7; }), "layer 7"},
      {"attention: in", op(kOpAttention, [](PlanOp* o) { o->in = -1; }), "'in'"},
      {"attention: logit rows from step rows", op(kOpAttention, [](PlanOp* o) { o->logit_rows = true; }),
       "other rows"},
      // select
      {"select: no columns",
       [](Plan* p) {
         p->ops.push_back(
             {.kind = PlanOpKind::kSelect, .in = kResidual, .out = kSelected, .logit_rows = true});
       },
       "selects nothing"},
      {"select: not of logit rows",
       [](Plan* p) {
         p->ops.push_back({.kind = PlanOpKind::kSelect, .in = kResidual, .out = kSelected, .columns = 64});
       },
       "selects nothing"},
      {"select: narrow out",
       [](Plan* p) {
         p->ops.push_back({.kind = PlanOpKind::kSelect,
                           .in = kQkv,
                           .out = kSelected,
                           .columns = 65,
                           .logit_rows = true});
       },
       "'out'"},
      {"attention: narrow out", [](Plan* p) { p->buffers[kAttn].bytes_per_row = 64; }, "'out'"},
      // communication
      {"all_reduce: narrow", [](Plan* p) { p->ops.push_back({.kind = PlanOpKind::kAllReduce, .in = kNormed}); },
       "'in'"},
      {"all_gather: no weight",
       [](Plan* p) { p->ops.push_back({.kind = PlanOpKind::kAllGather, .in = kDelta, .out = kQkv}); }, "'weight'"},
      {"all_gather: narrow out",
       [](Plan* p) {
         p->ops.push_back({.kind = PlanOpKind::kAllGather, .in = kDelta, .out = kDelta, .weight = 5});
       },
       "'out'"},
      {"send: peer", [](Plan* p) { p->ops.push_back({.kind = PlanOpKind::kSend, .in = kDelta, .peer = 1}); },
       "peer 1"},
      {"send: narrow", [](Plan* p) { p->ops.push_back({.kind = PlanOpKind::kSend, .in = kQ, .peer = 0}); }, "'in'"},
      {"recv: peer", [](Plan* p) { p->ops.push_back({.kind = PlanOpKind::kRecv, .out = kDelta, .peer = -1}); },
       "peer -1"},
      {"recv: narrow", [](Plan* p) { p->ops.push_back({.kind = PlanOpKind::kRecv, .out = kQ, .peer = 0}); },
       "'out'"},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.what);
    Plan plan = TinyPlan();
    c.edit(&plan);
    const Status status = VerifyPlan(plan, kBlobBytes);
    ASSERT_FALSE(status.ok());
    EXPECT_EQ(status.code(), StatusCode::kCorrupt);
    EXPECT_NE(status.message().find(c.named), std::string::npos) << status.message();
  }
}

// TinyPlan's model for a GPU, with e4m3 weights: 105 rows of logits are padded to 112.
Plan TinyCudaPlan() {
  Plan p = TinyPlan();
  p.sm = 90;
  p.isa = Isa::kPortable;
  p.numeric = NumericClass::kFp8Tensor;
  p.page_size = 64;
  p.vocab = 105;
  const std::vector<WeightDef> weights = std::exchange(p.weights, {});
  uint64_t offset = 0;
  for (WeightDef w : weights) {
    const bool layer = w.layout == WeightLayout::kPanels && w.name != "lm_head";
    if (w.N == 100) w.N = 105;
    if (w.layout == WeightLayout::kPanels) w.layout = WeightLayout::kRows;
    if (layer) w.type = DType::kF8E4M3;
    const int64_t rows = w.layout == WeightLayout::kRows ? (w.N + 15) / 16 * 16 : w.N;
    w.offset = offset;
    w.bytes = static_cast<uint64_t>(rows * w.K * SizeOf(w.type));
    offset += (w.bytes + 63) / 64 * 64;
    p.weights.push_back(w);
  }
  // At the end, so that the numbers of the others stay.
  for (size_t i = 0; i < weights.size(); ++i) {
    if (p.weights[i].type != DType::kF8E4M3) continue;
    p.weights[i].scale = static_cast<int>(p.weights.size());
    p.weights.push_back({.name = "scale", .N = p.weights[i].N, .offset = offset});
    p.weights.back().bytes = static_cast<uint64_t>(p.weights[i].N) * 4;
    offset += (p.weights.back().bytes + 63) / 64 * 64;
  }
  p.buffers.push_back({"quantized", 128, false});
  const int quantized = static_cast<int>(p.buffers.size()) - 1;
  p.ops[kOpNorm].out_type = DType::kF8E4M3;  // 64 values and a scale fit into 128 bytes
  p.ops[kOpDown].in = quantized;
  p.ops.insert(p.ops.begin() + kOpDown, {.kind = PlanOpKind::kQuantize,
                                         .in = kAttn,
                                         .out = quantized,
                                         .weight = p.ops[kOpDown].weight,
                                         .out_type = DType::kF8E4M3});
  for (GemmTactic& tactic : p.tactics) tactic.x_type = DType::kF8E4M3;
  p.tactics.back() = {105, 64, false, DType::kBf16, {{1, "stream", 0, 0, true}}};
  p.ops[kOpGather + 1].out_type = DType::kBf16;
  return p;
}

TEST(VerifyPlan, CudaPlans) {
  const Plan good = TinyCudaPlan();
  ASSERT_TRUE(VerifyPlan(good, kBlobBytes).ok()) << VerifyPlan(good, kBlobBytes).message();
  const auto again = PlanFromJson(ToJson(good), "plan");
  ASSERT_TRUE(again.ok()) << again.status().message();
  EXPECT_EQ(DumpJson(ToJson(*again)), DumpJson(ToJson(good)));
  EXPECT_EQ(again->weights[2].scale, good.weights[2].scale);

  constexpr size_t kQuantize = kOpDown, kQkvWeight = 2;
  const struct {
    const char* what;
    void (*edit)(Plan*);
    const char* named;
  } cases[] = {
      {"cpu class", [](Plan* p) { p->numeric = NumericClass::kBf16Dot; }, "numeric class"},
      {"gpu class on a cpu", [](Plan* p) { p->sm = 0; }, "numeric class"},
      {"panels", [](Plan* p) { p->weights[kQkvWeight].layout = WeightLayout::kPanels; }, "laid out"},
      {"rows without padding", [](Plan* p) { p->weights[7].bytes -= 64; }, "does not fit its shape"},
      {"e4m3 without scales", [](Plan* p) { p->weights[kQkvWeight].scale = -1; }, "'scale' names no weight"},
      {"scales of another matrix", [](Plan* p) { ++p->weights[kQkvWeight].scale; }, "'scale' is (64, 1)"},
      {"scales that are a matrix", [](Plan* p) { p->weights[kQkvWeight].scale = kQkvWeight; }, "(128, 1)"},
      {"logits without padding", [](Plan* p) { p->buffers[kLogits].bytes_per_row = 384; }, "448 are needed"},
      {"no room for scales", [](Plan* p) { p->buffers[kNormed].bytes_per_row = 64; }, "68 are needed"},
      {"quantize: no weight", [](Plan* p) { p->ops[kQuantize].weight = -1; }, "'weight'"},
      {"quantize: narrow out", [](Plan* p) { p->buffers.back().bytes_per_row = 64; }, "68 are needed"},
      {"quantize: not of the class",
       [](Plan* p) {
         p->numeric = NumericClass::kBf16Tensor;
         for (WeightDef& w : p->weights)
           if (w.K > 1) w.type = DType::kBf16;
       },
       ""},
      {"f16 pages", [](Plan* p) { p->kv_type = DType::kF16; }, "keys and values"},
      {"f16 rows", [](Plan* p) { p->ops[kOpGather + 1].out_type = DType::kF16; }, "another 16-bit type"},
      {"f16 class, bf16 weights",
       [](Plan* p) {
         p->numeric = NumericClass::kFp8F16Tensor, p->kv_type = DType::kF16;
         for (PlanOp& op : p->ops)
           if (op.out_type == DType::kBf16) op.out_type = DType::kF16;
       },
       "has another type"},
      {"bf16 tactic for e4m3", [](Plan* p) { p->tactics[0].x_type = DType::kBf16; }, "another type"},
      {"f32 tactic", [](Plan* p) { p->tactics.back().x_type = DType::kF32; }, "another type"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.what);
    Plan plan = good;
    c.edit(&plan);
    const Status status = VerifyPlan(plan, kBlobBytes);
    ASSERT_FALSE(status.ok());
    EXPECT_EQ(status.code(), StatusCode::kCorrupt);
    EXPECT_NE(status.message().find(c.named), std::string::npos) << status.message();
  }
}

TEST(VerifyPlan, SmallBlobIsRefused) {
  const Plan plan = TinyPlan();
  const WeightDef& last = plan.weights.back();
  EXPECT_TRUE(VerifyPlan(plan, last.offset + last.bytes).ok());
  EXPECT_FALSE(VerifyPlan(plan, last.offset + last.bytes - 1).ok());
}

// Numbers of a plan replaced at random: reader and verifier answer, and what they accept prints and reads
// again.
TEST(PlanJson, RandomNumbersNeverGetThroughHalf) {
  const int64_t kValues[] = {-2,        -1,       0, 1, 2, 15, 16, 64, 65, 1 << 16, 1 << 28, int64_t{1} << 33,
                             INT64_MAX, INT64_MIN};
  Rng rng(3);
  const Json json = ToJson(TinyPlan());
  int accepted = 0;
  for (int i = 0; i < 4000; ++i) {
    Json bad = json;
    Json* at = &bad;
    while (at->is_structured() && !at->empty()) {
      auto it = at->begin();
      std::advance(it, static_cast<std::ptrdiff_t>(rng.Below(at->size())));
      at = &*it;
    }
    *at = kValues[rng.Below(std::size(kValues))];
    const auto plan = PlanFromJson(bad, "plan");
    if (!plan.ok() || !VerifyPlan(*plan, kBlobBytes).ok()) continue;
    ++accepted;
    EXPECT_TRUE(PlanFromJson(ToJson(*plan), "plan").ok());
  }
  EXPECT_GT(accepted, 20);
  EXPECT_LT(accepted, 2000);
}

}  // namespace
}  // namespace lathe
