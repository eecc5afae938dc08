#include "compare/comparison.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "terminal/format.h"

namespace lathe::cli {
namespace {

Json SamplesToJson(const std::vector<double>& samples) {
  if (samples.empty()) return nullptr;
  return Json{{"median", MedianOf(samples)},
              {"min", *std::min_element(samples.begin(), samples.end())},
              {"max", *std::max_element(samples.begin(), samples.end())},
              {"samples", samples}};
}

Json CaseToJson(const CompareCase& c, const CaseResult& result) {
  Json out{{"batch", c.batch}, {"input_len", c.input}, {"output_len", c.output}, {"fills", c.fills}};
  if (!result.missing.empty()) out["missing"] = result.missing;
  for (const CompareMetric& metric : kCompareMetrics) {
    out[metric.key] = SamplesToJson(result.*metric.samples);
  }
  out["memory_bytes"] = result.memory_bytes > 0 ? Json(result.memory_bytes) : Json(nullptr);
  return out;
}

}  // namespace

const CompareMetric kCompareMetrics[3] = {
    {"tokens_per_second", "Tokens a second", "tok/s", true, &CaseResult::tokens_per_second},
    {"first_token_ms", "First token", "ms", false, &CaseResult::first_ms},
    {"per_token_ms", "Each further token", "ms", false, &CaseResult::per_token_ms}};

double MedianOf(const std::vector<double>& samples) { return Percentile(samples, 0.5); }

double TimesBetter(const CompareMetric& metric, const CaseResult& ours, const CaseResult& theirs) {
  const double a = MedianOf(ours.*metric.samples), b = MedianOf(theirs.*metric.samples);
  if (!(a > 0) || !(b > 0)) return 0;
  return metric.more_is_better ? a / b : b / a;
}

std::string InputName(const CompareCase& c) {
  return FormatCount(static_cast<uint64_t>(c.input)) + " tokens in";
}

std::string BatchName(const CompareCase& c) {
  return "batch " + std::to_string(c.batch) + (c.fills ? " (full)" : "");
}

std::string FormatFigure(double value) {
  if (value >= 1000) return FormatCount(static_cast<uint64_t>(std::llround(value)));
  char text[32];
  std::snprintf(text, sizeof text,
                value >= 100  ? "%.0f"
                : value >= 10 ? "%.1f"
                : value >= 1  ? "%.2f"
                              : "%.3f",
                value);
  return text;
}

Agreement AgreeOnFirstTokens(const ContenderResult& a, const ContenderResult& b) {
  Agreement out;
  for (size_t i = 0; i < std::min(a.cases.size(), b.cases.size()); ++i) {
    const auto &x = a.cases[i].first_tokens, &y = b.cases[i].first_tokens;
    for (size_t j = 0; j < std::min(x.size(), y.size()); ++j) {
      ++out.total;
      if (x[j] == y[j]) ++out.same;
    }
  }
  return out;
}

Json ComparisonToJson(const Comparison& comparison) {
  Json contenders = Json::array();
  for (const ContenderResult& contender : comparison.contenders) {
    Json cases = Json::array();
    for (size_t i = 0; i < contender.cases.size(); ++i) {
      cases.push_back(CaseToJson(comparison.cases[i], contender.cases[i]));
    }
    const Agreement agreement = AgreeOnFirstTokens(comparison.contenders.front(), contender);
    contenders.push_back(Json{{"name", contender.name},
                              {"detail", contender.detail},
                              {"startup_seconds", SamplesToJson(contender.startup_seconds)},
                              {"same_first_tokens", {{"same", agreement.same}, {"of", agreement.total}}},
                              {"cases", std::move(cases)}});
  }
  return Json{{"benchmark", "compare"},
              {"model", comparison.model},
              {"command", comparison.command},
              {"date", comparison.date},
              {"config", {{"rounds", comparison.rounds}, {"repeats", comparison.repeats}}},
              {"contenders", std::move(contenders)}};
}

}  // namespace lathe::cli
