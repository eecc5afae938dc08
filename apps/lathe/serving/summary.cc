#include "serving/summary.h"

#include <algorithm>
#include <iterator>
#include <numeric>

#include "base/status.h"
#include "terminal/format.h"
#include "terminal/table.h"

namespace lathe::cli {
namespace {

struct SpreadRow {
  const char* name;
  const char* key;
  const Spread Summary::*spread;
};

constexpr SpreadRow kRows[] = {{"first token (TTFT), ms", "ttft_ms", &Summary::first},
                               {"between tokens (ITL), ms", "itl_ms", &Summary::gap},
                               {"per token (TPOT), ms", "tpot_ms", &Summary::per_token},
                               {"whole (E2E), ms", "e2e_ms", &Summary::whole}};

std::string Ms(double ms) { return StrFormat(ms < 10 ? "%.2f" : "%.1f", ms); }

Json SpreadToJson(const Spread& spread) {
  Json out{{"count", spread.count}, {"mean", spread.mean}};
  for (size_t i = 0; i < spread.at.size(); ++i) out[kSpreadColumns[i].first] = spread.at[i];
  return out;
}

Json LevelToJson(const LoadLevel& level) {
  if (level.rate > 0) return Json{{"rate", level.rate}};
  return Json{{"concurrency", level.concurrency}};
}

}  // namespace

Spread MakeSpread(std::vector<double> seconds) {
  Spread out;
  out.count = seconds.size();
  for (double& value : seconds) value *= 1e3;
  if (!seconds.empty()) {
    out.mean = std::accumulate(seconds.begin(), seconds.end(), 0.0) / static_cast<double>(seconds.size());
  }
  std::vector<double> ps;
  for (const auto& [name, p] : kSpreadColumns) ps.push_back(p);
  out.at = Percentiles(std::move(seconds), ps);
  return out;
}

Summary Summarise(const LoadResult& result) {
  Summary out;
  out.level = result.level;
  out.stopped = result.stopped;
  out.seconds = result.end - result.begin;
  std::vector<double> first, gap, per_token, whole, lag;
  for (const Outcome& request : result.outcomes) {
    lag.push_back(request.sent - request.scheduled);
    if (!request.good()) {
      ++out.failed;
      ++out.errors[request.error];
      out.error_samples.emplace(request.error, request.detail);
      continue;
    }
    ++out.good;
    out.output_tokens += static_cast<uint64_t>(request.tokens());
    out.prompt_tokens += static_cast<uint64_t>(std::max(0, request.prompt_tokens));
    out.tokens_from_usage = out.tokens_from_usage && request.completion_tokens >= 0;
    if (request.tokens() < request.asked_tokens) ++out.short_outputs;
    whole.push_back(request.end - request.scheduled);
    if (request.events == 0) continue;
    first.push_back(request.first - request.scheduled);
    gap.insert(gap.end(), request.gaps.begin(), request.gaps.end());
    if (request.tokens() > 1) per_token.push_back((request.last - request.first) / (request.tokens() - 1));
  }
  if (out.good == 0) out.tokens_from_usage = false;
  if (!gap.empty()) out.longest_gap = *std::max_element(gap.begin(), gap.end());
  out.first = MakeSpread(std::move(first));
  out.gap = MakeSpread(std::move(gap));
  out.per_token = MakeSpread(std::move(per_token));
  out.whole = MakeSpread(std::move(whole));
  out.lag = MakeSpread(std::move(lag));
  return out;
}

std::string LevelName(const LoadLevel& level) {
  return level.rate > 0 ? StrFormat("%g requests/s", level.rate) : StrFormat("%d at once", level.concurrency);
}

std::string RenderSummary(const Summary& summary) {
  std::vector<Table::Column> columns{{""}, {"mean", Align::kRight}};
  for (const auto& [name, p] : kSpreadColumns) columns.push_back({name, Align::kRight});
  Table times(std::move(columns));
  for (const SpreadRow& row : kRows) {
    const Spread& spread = summary.*row.spread;
    if (spread.count == 0) continue;
    std::vector<std::string> cells{row.name, Ms(spread.mean)};
    for (const double value : spread.at) cells.push_back(Ms(value));
    times.AddRow(std::move(cells));
  }
  Table totals({{""}, {"", Align::kRight}});
  const char* const counted = summary.tokens_from_usage ? "server's usage" : "events with text";
  totals.AddRow({"requests", StrFormat("%s good, %s failed", FormatCount(summary.good).c_str(),
                                       FormatCount(summary.failed).c_str())});
  if (summary.stopped > 0) totals.AddRow({"stopped by Ctrl-C", FormatCount(summary.stopped)});
  totals.AddRow({"seconds", StrFormat("%.2f", summary.seconds)});
  totals.AddRow({"requests/s", StrFormat("%.2f", summary.Rate(summary.good))});
  totals.AddRow({"output tokens/s", StrFormat("%.1f", summary.Rate(summary.output_tokens))});
  if (summary.tokens_from_usage) {
    totals.AddRow(
        {"all tokens/s", StrFormat("%.1f", summary.Rate(summary.output_tokens + summary.prompt_tokens))});
    totals.AddRow({"prompt tokens", FormatCount(summary.prompt_tokens)});
  }
  totals.AddRow({"output tokens", FormatCount(summary.output_tokens)});
  totals.AddRow({"tokens counted by", counted});
  if (summary.short_outputs > 0) {
    totals.AddRow({"ended before their max_tokens", FormatCount(summary.short_outputs)});
  }
  totals.AddRow({"longest gap, ms", Ms(summary.longest_gap * 1e3)});
  if (summary.level.rate > 0) totals.AddRow({"sent late by, ms, p99", Ms(summary.lag.at[3])});
  std::string out = times.Render() + totals.Render();
  if (summary.errors.empty()) return out;
  Table faults({{"fault"}, {"requests", Align::kRight}, {"the first says"}});
  for (const auto& [kind, count] : summary.errors) {
    faults.AddRow({kind, FormatCount(count), summary.error_samples.at(kind).substr(0, 100)});
  }
  return out + faults.Render();
}

std::string RenderSweep(const std::vector<Summary>& summaries) {
  Table table({{"load"},
               {"requests/s", Align::kRight},
               {"output tok/s", Align::kRight},
               {"TTFT p50, ms", Align::kRight},
               {"TTFT p99", Align::kRight},
               {"ITL p50, ms", Align::kRight},
               {"ITL p99", Align::kRight},
               {"longest gap", Align::kRight},
               {"failed", Align::kRight}});
  for (const Summary& summary : summaries) {
    table.AddRow({LevelName(summary.level), StrFormat("%.2f", summary.Rate(summary.good)),
                  StrFormat("%.1f", summary.Rate(summary.output_tokens)), Ms(summary.first.at[0]),
                  Ms(summary.first.at[3]), Ms(summary.gap.at[0]), Ms(summary.gap.at[3]),
                  Ms(summary.longest_gap * 1e3), FormatCount(summary.failed)});
  }
  return table.Render();
}

Json SummaryToJson(const Summary& summary) {
  Json out = LevelToJson(summary.level);
  out["good"] = summary.good;
  out["failed"] = summary.failed;
  out["stopped"] = summary.stopped;
  out["errors"] = Json::object();
  for (const auto& [kind, count] : summary.errors) {
    out["errors"][kind] = Json{{"count", count}, {"first", summary.error_samples.at(kind)}};
  }
  out["seconds"] = summary.seconds;
  out["requests_per_second"] = summary.Rate(summary.good);
  out["output_tokens"] = summary.output_tokens;
  out["output_tokens_per_second"] = summary.Rate(summary.output_tokens);
  out["tokens_counted_by"] = summary.tokens_from_usage ? "usage" : "events";
  out["prompt_tokens"] = summary.tokens_from_usage ? Json(summary.prompt_tokens) : Json(nullptr);
  out["short_outputs"] = summary.short_outputs;
  for (const SpreadRow& row : kRows) out[row.key] = SpreadToJson(summary.*row.spread);
  out["longest_gap_ms"] = summary.longest_gap * 1e3;
  out["sent_late_ms"] = SpreadToJson(summary.lag);
  return out;
}

Json OutcomesToJson(const LoadResult& result) {
  Json out = Json::array();
  for (const Outcome& request : result.outcomes) {
    out.push_back(
        Json{{"scheduled_s", request.scheduled - result.begin},
             {"sent_s", request.sent - result.begin},
             {"first_s", request.events > 0 ? Json(request.first - result.begin) : Json(nullptr)},
             {"end_s", request.end - result.begin},
             {"events", request.events},
             {"prompt_tokens", request.prompt_tokens >= 0 ? Json(request.prompt_tokens) : Json(nullptr)},
             {"output_tokens", request.tokens()},
             {"gaps_s", request.gaps},
             {"error", request.good() ? Json(nullptr) : Json(request.error)}});
  }
  return out;
}

}  // namespace lathe::cli
