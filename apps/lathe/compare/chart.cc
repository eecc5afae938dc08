#include "compare/chart.h"

#include <algorithm>

#include "base/status.h"
#include "terminal/format.h"
#include "terminal/markup.h"

namespace lathe::cli {
namespace {

constexpr int kWidth = 960, kLeft = 24, kBarsLeft = 150, kBarsWidth = 520;
constexpr int kBarHeight = 15, kBarStep = 19, kGroupGap = 10, kSectionHeight = 34;
constexpr size_t kColours = 5;

constexpr char kStyle[] =
    "<style>text{font:12px "
    "system-ui,sans-serif;fill:#222}.t{font-size:16px;font-weight:600}.s{font-size:13px;"
    "font-weight:600}.n{fill:#777}.v{font-variant-numeric:tabular-nums}"
    ".c0{fill:#0b7285}.c1{fill:#e8590c}.c2{fill:#9c36b5}.c3{fill:#5c940d}.c4{fill:#868e96}rect.bg{fill:#fff}"
    "@media(prefers-color-scheme:dark){text{fill:#ddd}.n{fill:#999}rect.bg{fill:#181a1b}.c0{fill:#3bc9db}"
    ".c1{fill:#ff922b}.c2{fill:#da77f2}.c3{fill:#a9e34b}}</style>\n";

std::string Colour(size_t series) { return "c" + std::to_string(std::min(series, kColours - 1)); }

double LongestOf(const ChartGroup& group) {
  double out = 0;
  for (const ChartBar& bar : group.bars) out = std::max(out, bar.value);
  return out;
}

// "12.3x slower" than the first bar, "" for the first one and where they are within 2 % of each other.
std::string NoteOf(double times_better) {
  if (times_better <= 0) return "";
  if (times_better > 1.02) return StrFormat("%s× slower", FormatFigure(times_better).c_str());
  if (times_better < 0.98) return StrFormat("%s× faster", FormatFigure(1 / times_better).c_str());
  return "the same";
}

Chart MetricChart(const Comparison& comparison, const CompareMetric& metric) {
  Chart chart{.file = metric.key,
              .title = StrFormat("%s (%s, %s is better)", metric.title, metric.unit,
                                 metric.more_is_better ? "more" : "less")};
  for (size_t i = 0; i < comparison.cases.size(); ++i) {
    const CompareCase& c = comparison.cases[i];
    const bool new_input = i == 0 || comparison.cases[i - 1].input != c.input;
    ChartGroup group{.section = new_input ? InputName(c) + StrFormat(", %d out", c.output) : "",
                     .label = BatchName(c)};
    for (size_t who = 0; who < comparison.contenders.size(); ++who) {
      const CaseResult& result = comparison.contenders[who].cases[i];
      const double value = MedianOf(result.*metric.samples);
      group.bars.push_back(
          {.series = who,
           .value = value,
           .text = value > 0 ? FormatFigure(value) : result.missing,
           .note = who == 0 ? "" : NoteOf(TimesBetter(metric, comparison.contenders[0].cases[i], result))});
    }
    chart.groups.push_back(std::move(group));
  }
  return chart;
}

// One bar a contender; value(contender) 0: unknown.
template <typename Value, typename Text>
void AddSingleGroup(const Comparison& comparison, const char* file, const char* title, const Value& value,
                    const Text& text, std::vector<Chart>* out) {
  Chart chart{.file = file, .title = title};
  ChartGroup group;
  const double ours = value(comparison.contenders[0]);
  for (size_t who = 0; who < comparison.contenders.size(); ++who) {
    const double theirs = value(comparison.contenders[who]);
    if (!(theirs > 0)) continue;
    group.bars.push_back({.series = who,
                          .value = theirs,
                          .text = text(theirs),
                          .note = who == 0 || !(ours > 0) ? "" : FormatFigure(theirs / ours) + "×"});
  }
  if (group.bars.empty()) return;
  chart.groups.push_back(std::move(group));
  out->push_back(std::move(chart));
}

uint64_t PeakMemory(const ContenderResult& contender) {
  uint64_t out = 0;
  for (const CaseResult& result : contender.cases) out = std::max(out, result.memory_bytes);
  return out;
}

}  // namespace

std::string RenderChart(const Chart& chart) {
  std::string body;
  double y = 28;
  body += SvgText(kLeft, y, "start", chart.title, "t");
  y += 24;
  double x = kLeft;
  for (size_t i = 0; i < chart.series.size(); ++i) {
    body += StrFormat("<rect x=\"%.1f\" y=\"%.1f\" width=\"11\" height=\"11\" rx=\"2\" class=\"%s\"/>\n", x,
                      y - 10, Colour(i).c_str());
    body += SvgText(x + 16, y, "start", chart.series[i]);
    x += 40 + 6.8 * static_cast<double>(chart.series[i].size());
  }
  y += 10;
  for (const ChartGroup& group : chart.groups) {
    if (!group.section.empty()) {
      y += kSectionHeight;
      body += SvgText(kLeft, y - 10, "start", group.section, "s");
    }
    y += kGroupGap;
    body += SvgText(kBarsLeft - 10, y + 11, "end", group.label);
    const double longest = LongestOf(group);
    for (const ChartBar& bar : group.bars) {
      const double width =
          longest > 0 ? std::max(bar.value / longest * kBarsWidth, bar.value > 0 ? 1.5 : 0.0) : 0;
      body += StrFormat("<rect x=\"%d\" y=\"%.1f\" width=\"%.1f\" height=\"%d\" rx=\"2\" class=\"%s\"/>\n",
                        kBarsLeft, y, width, kBarHeight, Colour(bar.series).c_str());
      const std::string text = bar.note.empty() ? bar.text : bar.text + "  ·  " + bar.note;
      body += SvgText(kBarsLeft + width + 8, y + 12, "start", text, bar.value > 0 ? "v" : "n");
      y += kBarStep;
    }
  }
  const int height = static_cast<int>(y) + 18;
  std::string out = StrFormat(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" role=\"img\">\n", kWidth, height);
  out += "<title>" + EscapeMarkup(chart.title) + "</title>\n";
  out += kStyle;
  out += StrFormat("<rect class=\"bg\" width=\"%d\" height=\"%d\"/>\n", kWidth, height);
  return out + body + "</svg>\n";
}

std::vector<Chart> ChartsOf(const Comparison& comparison) {
  std::vector<Chart> out;
  for (const CompareMetric& metric : kCompareMetrics) out.push_back(MetricChart(comparison, metric));
  AddSingleGroup(
      comparison, "startup", "From the start of the process to the first token (less is better)",
      [](const ContenderResult& contender) { return MedianOf(contender.startup_seconds); },
      [](double seconds) { return FormatSeconds(seconds); }, &out);
  AddSingleGroup(
      comparison, "memory", "Memory, highest over all cases (less is better)",
      [](const ContenderResult& contender) { return static_cast<double>(PeakMemory(contender)); },
      [](double bytes) { return FormatBytes(bytes); }, &out);
  for (Chart& chart : out) {
    for (const ContenderResult& contender : comparison.contenders) chart.series.push_back(contender.name);
  }
  return out;
}

}  // namespace lathe::cli
