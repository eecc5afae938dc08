#include "kernels/cuda/gemm_table.h"

#include <algorithm>
#include <tuple>

namespace lathe::cuda {
namespace {

constexpr const char* kTypes[] = {"bf16", "f16", "e4m3"};
constexpr const char* kEpilogues[] = {"f32", "bf16", "add", "silu", "f16", "silu_f16"};

auto Key(const GemmProblem& p) { return std::tuple(p.n, p.k, p.type, p.epilogue, p.m); }

template <size_t kCount>
int IndexOf(const char* const (&names)[kCount], const std::string& name) {
  const auto* at = std::find(std::begin(names), std::end(names), name);
  return at == std::end(names) ? -1 : static_cast<int>(at - std::begin(names));
}

// A whole number in [1, 2^30], or 0.
int PositiveInt(const Json& row, const char* key) {
  const auto at = row.find(key);
  if (at == row.end() || !at->is_number_integer()) return 0;
  const int64_t value = at->get<int64_t>();
  return value >= 1 && value <= (1 << 30) ? static_cast<int>(value) : 0;
}

std::string Text(const Json& row, const char* key) {
  const auto at = row.find(key);
  return at != row.end() && at->is_string() ? at->get<std::string>() : std::string();
}

Expected<GemmChoice> ReadRow(const Json& row) {
  if (!row.is_object()) return Error(StatusCode::kCorrupt, "a row of the table is no object");
  GemmChoice choice;
  const int type = IndexOf(kTypes, Text(row, "type")), epilogue = IndexOf(kEpilogues, Text(row, "epilogue"));
  choice.problem.m = PositiveInt(row, "m");
  choice.problem.n = PositiveInt(row, "n");
  choice.problem.k = PositiveInt(row, "k");
  if (type < 0 || epilogue < 0 || choice.problem.m == 0 || choice.problem.n == 0 || choice.problem.k == 0) {
    return Error(StatusCode::kCorrupt, "type, epilogue, m, n or k is missing or wrong");
  }
  choice.problem.type = static_cast<GemmType>(type);
  choice.problem.epilogue = static_cast<GemmEpilogue>(epilogue);
  LATHE_ASSIGN_OR_RETURN(choice.tactic, ParseGemmTactic(Text(row, "tactic")));
  const auto us = row.find("us");
  if (us != row.end() && us->is_number()) choice.us = us->get<double>();
  return choice;
}

}  // namespace

void GemmTable::Add(const GemmChoice& choice) {
  const auto at = std::lower_bound(
      choices_.begin(), choices_.end(), choice,
      [](const GemmChoice& a, const GemmChoice& b) { return Key(a.problem) < Key(b.problem); });
  if (at != choices_.end() && Key(at->problem) == Key(choice.problem)) {
    *at = choice;
  } else {
    choices_.insert(at, choice);
  }
}

const GemmChoice* GemmTable::Find(const GemmProblem& problem) const {
  const auto at =
      std::lower_bound(choices_.begin(), choices_.end(), problem,
                       [](const GemmChoice& a, const GemmProblem& b) { return Key(a.problem) < Key(b); });
  if (at == choices_.end()) return nullptr;
  GemmProblem same = at->problem;
  same.m = problem.m;
  return Key(same) == Key(problem) ? &*at : nullptr;
}

Json GemmTable::ToJson() const {
  Json rows = Json::array();
  for (const GemmChoice& c : choices_) {
    rows.push_back({{"type", kTypes[static_cast<int>(c.problem.type)]},
                    {"epilogue", kEpilogues[static_cast<int>(c.problem.epilogue)]},
                    {"m", c.problem.m},
                    {"n", c.problem.n},
                    {"k", c.problem.k},
                    {"tactic", ToString(c.tactic)},
                    {"us", c.us}});
  }
  return rows;
}

Expected<GemmTable> GemmTable::FromJson(const Json& json) {
  if (!json.is_array()) return Error(StatusCode::kCorrupt, "the table of matrix products is no array");
  GemmTable table;
  for (size_t i = 0; i < json.size(); ++i) {
    const Expected<GemmChoice> choice = ReadRow(json[i]);
    if (!choice.ok()) return choice.status().WithContext(StrFormat("matrix product %zu", i));
    table.Add(*choice);
  }
  return table;
}

Expected<GemmTable> TuneGemms(GemmMeasurer& measurer, const std::vector<GemmProblem>& products,
                              int max_tokens) {
  std::vector<GemmProblem> problems;
  for (GemmProblem problem : products) {
    for (const int m : kGemmTokenBuckets) {
      problem.m = std::min(m, max_tokens);
      problems.push_back(problem);
      if (m >= max_tokens) break;
    }
  }
  LATHE_RETURN_IF_ERROR(measurer.Prepare(problems));
  GemmTable table;
  for (const GemmProblem& problem : problems) {
    LATHE_ASSIGN_OR_RETURN(const GemmMeasurement measurement, measurer.Measure(problem));
    if (measurement.timings.empty()) {
      return Error(StatusCode::kUnsupported,
                   "no kernel computes a matrix product of n %d and k %d (n must be a "
                   "multiple of 16, k of 64)",
                   problem.n, problem.k);
    }
    table.Add({problem, measurement.timings.front().tactic, measurement.timings.front().us});
  }
  return table;
}

}  // namespace lathe::cuda
