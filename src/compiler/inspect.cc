#include "compiler/inspect.h"

#include <algorithm>
#include <optional>
#include <vector>

#include "compiler/types.h"
#include "kernels/api/kernel.h"
#include "model/spec_json.h"
#include "plan/cuda/kernel_blob.h"
#include "plan/plan.h"
#include "platform/cuda/driver.h"

namespace lathe {
namespace {

using Row = std::vector<std::string>;

// Columns padded to their widest cell, two spaces apart; numbers (the columns of `right`) to the right.
std::string FormatTable(const std::vector<Row>& rows, const std::vector<bool>& right) {
  std::vector<size_t> widths(right.size(), 0);
  for (const Row& row : rows)
    for (size_t c = 0; c < row.size(); ++c) widths[c] = std::max(widths[c], row[c].size());
  std::string out;
  for (const Row& row : rows) {
    std::string line;
    for (size_t c = 0; c < row.size(); ++c) {
      const std::string pad(widths[c] - row[c].size(), ' ');
      line += (c > 0 ? "  " : "") + (right[c] ? pad + row[c] : row[c] + pad);
    }
    line.erase(line.find_last_not_of(' ') + 1);
    out += line + "\n";
  }
  return out;
}

std::string Bytes(uint64_t bytes) {
  const auto b = static_cast<double>(bytes);
  if (bytes >= uint64_t{1} << 30) return StrFormat("%.2f GiB", b / (1 << 30));
  if (bytes >= uint64_t{1} << 20) return StrFormat("%.1f MiB", b / (1 << 20));
  if (bytes >= uint64_t{10} << 10) return StrFormat("%.1f KiB", b / (1 << 10));
  return StrFormat("%llu B", static_cast<unsigned long long>(bytes));
}

Expected<std::vector<Plan>> ReadPlans(const EngineReader& engine) {
  std::vector<Plan> plans;
  for (int pp = 0; pp < engine.identity().pp; ++pp)
    for (int tp = 0; tp < engine.identity().tp; ++tp) {
      LATHE_ASSIGN_OR_RETURN(const std::string_view text, engine.TextBlob(RankBlobName("plan", tp, pp)));
      LATHE_ASSIGN_OR_RETURN(const Json json, ParseJson(text, engine.path()));
      LATHE_ASSIGN_OR_RETURN(Plan plan, PlanFromJson(json, engine.path()));
      plans.push_back(std::move(plan));
    }
  return plans;
}

// Absent in engines for CPUs.
Expected<std::optional<cuda::KernelBlob>> ReadKernels(const EngineReader& engine) {
  if (!engine.HasBlob("kernels")) return std::optional<cuda::KernelBlob>();
  LATHE_ASSIGN_OR_RETURN(const std::span<const std::byte> bytes, engine.Blob("kernels"));
  LATHE_ASSIGN_OR_RETURN(cuda::KernelBlob blob, cuda::KernelBlob::Parse(bytes, engine.path()));
  return std::optional(std::move(blob));
}

// "71 for sm_90a, for drivers of CUDA 13.0 and newer; none spills registers"
std::string KernelSummary(const cuda::KernelBlob& kernels) {
  const auto spills = [](const cuda::KernelBlob::Entry& e) { return e.resources.spill_bytes > 0; };
  const auto spilling = std::count_if(kernels.entries().begin(), kernels.entries().end(), spills);
  return StrFormat("%zu for %s, for drivers of CUDA %s and newer; %s", kernels.entries().size(),
                   kernels.target().c_str(), cuda::VersionText(kernels.driver()).c_str(),
                   spilling == 0 ? "none spills registers"
                                 : StrFormat("%d spill registers", static_cast<int>(spilling)).c_str());
}

Json ToJson(const cuda::KernelBlob& kernels) {
  Json out = {{"target", kernels.target()}, {"driver", kernels.driver()}, {"kernels", Json::array()}};
  for (const cuda::KernelBlob::Entry& e : kernels.entries())
    out["kernels"].push_back({{"entry", e.entry},
                              {"bytes", e.cubin.size()},
                              {"registers", e.resources.registers},
                              {"spill_bytes", e.resources.spill_bytes},
                              {"stack_bytes", e.resources.stack_bytes},
                              {"static_shared", e.resources.static_shared}});
  return out;
}

uint64_t KvBytesPerToken(const Plan& plan) {
  const KvLayout kv{plan.page_size, plan.n_kv_heads, plan.head_dim, plan.kv_type};
  return static_cast<uint64_t>(kv.PageBytes() / plan.page_size) * static_cast<uint64_t>(plan.n_layers);
}

uint64_t BufferBytes(const Plan& plan, bool logit_rows) {
  int64_t sum = 0;
  for (const BufferDef& buffer : plan.buffers)
    sum += buffer.logit_rows == logit_rows ? buffer.bytes_per_row : 0;
  return static_cast<uint64_t>(sum);
}

// What the passes did to the first rank's graph; "" for an engine that does not say.
std::string PassTable(const Json& build) {
  if (!build.is_object() || !build.contains("passes") || !build["passes"].is_array()) return "";
  std::vector<Row> rows;
  for (const Json& pass : build["passes"]) {
    const auto name = JsonString(pass, "name", "build");
    const auto before = JsonInt(pass, "ops_before", "build"), after = JsonInt(pass, "ops_after", "build");
    const auto seconds = JsonNumber(pass, "seconds", "build");
    if (!name.ok() || !before.ok() || !after.ok() || !seconds.ok()) return "";
    rows.push_back({"  " + *name, std::to_string(*before), "->", std::to_string(*after) + " ops",
                    StrFormat("%.2f ms", *seconds * 1e3)});
  }
  return "passes, in order\n" + FormatTable(rows, {false, true, false, true, true});
}

std::string RankName(const Plan& plan) { return StrFormat("tp%d.pp%d", plan.tp_rank, plan.pp_rank); }

std::string MatmulName(const Plan& plan, size_t tactic) {
  // The first op that uses it names it, without its layer: "qkv", "gate_up", "lm_head".
  for (const PlanOp& op : plan.ops) {
    if (op.tactic != static_cast<int>(tactic) || op.kind != PlanOpKind::kGemm) continue;
    const std::string& name = plan.weights[static_cast<size_t>(op.weight)].name;
    if (!name.starts_with("layers.")) return "lm_head";  // a tied model's weight is called "embed"
    return name.substr(name.rfind('.') + 1);
  }
  return "unused";
}

std::string BucketName(const GemmTactic& tactic, size_t i) {
  const int first = i == 0 ? 1 : tactic.buckets[i - 1].max_m + 1;
  const int last = tactic.buckets[i].max_m;
  if (i + 1 == tactic.buckets.size()) return StrFormat("%d..", first);
  return first == last ? std::to_string(first) : StrFormat("%d..%d", first, last);
}

}  // namespace

Expected<Json> DescribeEngine(const EngineReader& engine) {
  LATHE_ASSIGN_OR_RETURN(const std::vector<Plan> plans, ReadPlans(engine));
  Json out = {{"file", engine.path()},
              {"file_bytes", engine.file_bytes()},
              {"identity", ToJson(engine.identity())},
              {"model", engine.model()},
              {"ranks", Json::array()},
              {"build", engine.build_info()}};
  for (const Plan& plan : plans) {
    Json rank = {{"rank", RankName(plan)},
                 {"weight_bytes", plan.WeightBytes()},
                 {"buffer_bytes_per_token_row", BufferBytes(plan, false)},
                 {"buffer_bytes_per_logit_row", BufferBytes(plan, true)},
                 {"kv_bytes_per_token", KvBytesPerToken(plan)}};
    rank["plan"] = ToJson(plan);
    out["ranks"].push_back(std::move(rank));
  }
  LATHE_ASSIGN_OR_RETURN(const auto kernels, ReadKernels(engine));
  if (kernels) out["kernels"] = ToJson(*kernels);
  return out;
}

Expected<std::string> IdentityTable(const EngineReader& engine) {
  const EngineIdentity& id = engine.identity();
  LATHE_ASSIGN_OR_RETURN(const ModelSpec spec, ModelSpecFromJson(engine.model(), engine.path()));
  std::vector<Row> rows = {
      {"engine", engine.path() + " (" + Bytes(engine.file_bytes()) + ")"},
      {"model", StrFormat("%s (%s, %s)", id.model_name.c_str(), spec.family.c_str(), id.model_hash.c_str())},
      {"shape", StrFormat("%d layers, hidden %d, FFN %d, %d/%d heads of %d, vocabulary %d, %d positions",
                          spec.n_layers, spec.hidden, spec.ffn, spec.n_heads, spec.n_kv_heads, spec.head_dim,
                          spec.vocab, spec.max_positions)},
      {"weights", id.dtype + ", products " + id.numeric},
      {"target", id.target},
      {"tuned on", id.machine.empty() ? "not tuned" : id.machine},
      {"ranks", StrFormat("tensor %d x pipeline %d", id.tp, id.pp)},
      {"built by", "lathe " + id.builder}};
  LATHE_ASSIGN_OR_RETURN(const auto kernels, ReadKernels(engine));
  if (kernels) rows.push_back({"kernels", KernelSummary(*kernels)});
  return FormatTable(rows, {false, false});
}

Expected<std::string> MemoryTable(const EngineReader& engine) {
  LATHE_ASSIGN_OR_RETURN(const std::vector<Plan> plans, ReadPlans(engine));
  std::string out;
  for (const Plan& plan : plans) {
    out += StrFormat("rank %s, layers %d..%d\n", RankName(plan).c_str(), plan.first_layer,
                     plan.first_layer + plan.n_layers - 1);
    std::vector<Row> rows = {
        {"  weights", Bytes(plan.WeightBytes()), StrFormat("%zu tensors", plan.weights.size())},
        {"  KV cache", Bytes(KvBytesPerToken(plan)),
         StrFormat("a token, %s; pages of %d tokens", TypeName(plan.kv_type).c_str(), plan.page_size)},
        {"  buffers", Bytes(BufferBytes(plan, false)), "a row of a step"},
        {"", Bytes(BufferBytes(plan, true)), "a row of logits"}};
    for (const BufferDef& buffer : plan.buffers)
      rows.push_back({"    " + std::string(buffer.logit_rows ? "logits" : "rows"),
                      Bytes(static_cast<uint64_t>(buffer.bytes_per_row)), buffer.name});
    out += FormatTable(rows, {false, true, false});
  }
  return out + PassTable(engine.build_info());
}

Expected<std::string> TuningTable(const EngineReader& engine) {
  LATHE_ASSIGN_OR_RETURN(const std::vector<Plan> plans, ReadPlans(engine));
  std::vector<Row> rows = {{"matmul", "N", "K", "tokens", "kernel", "us", "% of roof", "roof"}};
  // Ranks of one tensor-parallel group share their shapes; those of the first of each stage are shown.
  std::vector<const GemmTactic*> shown;
  for (const Plan& plan : plans)
    for (size_t t = 0; t < plan.tactics.size(); ++t) {
      const GemmTactic& tactic = plan.tactics[t];
      const bool seen = std::any_of(shown.begin(), shown.end(), [&](const GemmTactic* other) {
        return other->N == tactic.N && other->K == tactic.K && other->silu_mul == tactic.silu_mul &&
               other->x_type == tactic.x_type;
      });
      if (seen) continue;
      shown.push_back(&tactic);
      for (size_t i = 0; i < tactic.buckets.size(); ++i) {
        const TacticBucket& b = tactic.buckets[i];
        const bool first = i == 0, measured = b.microseconds > 0;
        rows.push_back({first ? MatmulName(plan, t) : "", first ? std::to_string(tactic.N) : "",
                        first ? std::to_string(tactic.K) : "", BucketName(tactic, i), b.kernel,
                        measured ? StrFormat("%.1f", b.microseconds) : "-",
                        measured ? StrFormat("%.0f", b.roof_percent) : "-",
                        measured ? (b.memory_bound ? "memory" : "compute") : "-"});
      }
    }
  return FormatTable(rows, {false, true, true, true, false, true, true, false});
}

Expected<std::string> KernelTable(const EngineReader& engine) {
  LATHE_ASSIGN_OR_RETURN(const auto kernels, ReadKernels(engine));
  if (!kernels) return std::string("the kernels of an engine for CPUs are part of lathe\n");
  std::vector<Row> rows = {{"kernel", "registers", "spilled", "shared", "size"}};
  for (const cuda::KernelBlob::Entry& e : kernels->entries())
    rows.push_back({e.entry, std::to_string(e.resources.registers),
                    Bytes(static_cast<uint64_t>(e.resources.spill_bytes)),
                    Bytes(static_cast<uint64_t>(e.resources.static_shared)), Bytes(e.cubin.size())});
  return FormatTable(rows, {false, true, true, true, true});
}

}  // namespace lathe
