#include "compare/report.h"

#include <algorithm>

#include "base/status.h"
#include "compare/chart.h"
#include "terminal/format.h"
#include "terminal/markup.h"
#include "terminal/table.h"

namespace lathe::cli {
namespace {

constexpr char kPageHead[] = R"(<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<style>
:root{--ink:#1c2226;--soft:#67727a;--line:#dde3e7;--ground:#fff;--card:#f4f7f8;--accent:#0b7285}
@media(prefers-color-scheme:dark){:root{--ink:#e3e6e8;--soft:#98a2a9;--line:#33393d;--ground:#181a1b;--card:#212527;--accent:#3bc9db}}
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--ground);max-width:980px;margin:2rem auto;padding:0 1rem}
h1{font-size:1.6rem;margin:0}h2{font-size:1.1rem;margin:2.2rem 0 .6rem}
.sub{color:var(--soft);margin:.2rem 0 1.4rem}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(200px,1fr));gap:.8rem}
.card{background:var(--card);border-radius:.6rem;padding:.9rem 1rem}
.card b{display:block;font-size:1.9rem;line-height:1.2;color:var(--accent)}
.card span{color:var(--soft);font-size:.85rem;display:block}
svg{width:100%;height:auto;border:1px solid var(--line);border-radius:.6rem;margin:.5rem 0}
.scroll{overflow-x:auto}table{border-collapse:collapse;font-size:.85rem;width:100%;font-variant-numeric:tabular-nums}
th,td{padding:.3rem .6rem;border-bottom:1px solid var(--line);text-align:right;white-space:nowrap}
th:first-child,td:first-child,th:nth-child(2),td:nth-child(2){text-align:left}th{color:var(--soft);font-weight:600}
td.why{white-space:normal;color:var(--soft);text-align:left}
pre{background:var(--card);padding:.8rem 1rem;border-radius:.6rem;overflow-x:auto;font-size:.85rem}
</style>
)";

// A ratio for the head of the page: against the best of the others, which leaves least to boast of.
struct Headline {
  double times = 0;
  std::string what, ours, theirs;
};

Headline HeadlineOf(const Comparison& comparison, const CompareMetric& metric, size_t index,
                    const std::string& what) {
  Headline out;
  const CaseResult& ours = comparison.contenders[0].cases[index];
  for (size_t who = 1; who < comparison.contenders.size(); ++who) {
    const CaseResult& theirs = comparison.contenders[who].cases[index];
    const double times = TimesBetter(metric, ours, theirs);
    if (times <= 0 || (out.times > 0 && times >= out.times)) continue;
    out = {times, what, FormatFigure(MedianOf(ours.*metric.samples)) + " " + metric.unit,
           FormatFigure(MedianOf(theirs.*metric.samples)) + ", " + comparison.contenders[who].name};
  }
  return out;
}

Headline StartupHeadline(const Comparison& comparison) {
  Headline out;
  const double ours = MedianOf(comparison.contenders[0].startup_seconds);
  for (size_t who = 1; who < comparison.contenders.size() && ours > 0; ++who) {
    const double theirs = MedianOf(comparison.contenders[who].startup_seconds);
    if (theirs > 0 && (out.times == 0 || theirs / ours < out.times)) {
      out = {theirs / ours, "from nothing to the first token", FormatSeconds(ours),
             FormatSeconds(theirs) + ", " + comparison.contenders[who].name};
    }
  }
  return out;
}

// One stream and the largest batch that another also ran, of the shortest prompt; the first token of the
// longest.
std::vector<Headline> HeadlinesOf(const Comparison& comparison) {
  std::vector<Headline> out{HeadlineOf(
      comparison, kCompareMetrics[0], 0,
      "tokens a second, " + InputName(comparison.cases[0]) + ", " + BatchName(comparison.cases[0]))};
  Headline batch, first;
  for (size_t i = 0; i < comparison.cases.size(); ++i) {
    const CompareCase& c = comparison.cases[i];
    const std::string name = InputName(c) + ", " + BatchName(c);
    if (c.input == comparison.cases[0].input && i > 0) {
      const Headline now = HeadlineOf(comparison, kCompareMetrics[0], i, "tokens a second, " + name);
      if (now.times > 0) batch = now;
    }
    if (c.batch == comparison.cases[0].batch) {
      const Headline now = HeadlineOf(comparison, kCompareMetrics[1], i, "to the first token, " + name);
      if (now.times > 0) first = now;
    }
  }
  out.push_back(batch);
  out.push_back(first);
  out.push_back(StartupHeadline(comparison));
  std::erase_if(out, [](const Headline& headline) { return headline.times <= 0; });
  return out;
}

std::string RenderCards(const Comparison& comparison) {
  std::string out = "<div class=\"cards\">\n";
  for (const Headline& headline : HeadlinesOf(comparison)) {
    out += "<div class=\"card\"><b>" + FormatFigure(headline.times) + " ×</b>" + EscapeMarkup(headline.what) +
           "<span>" + EscapeMarkup(headline.ours) + " against " + EscapeMarkup(headline.theirs) +
           "</span></div>\n";
  }
  return out + "</div>\n";
}

std::string Row(const std::string& cell, const std::vector<std::string>& cells) {
  std::string out = "<tr>";
  for (const std::string& text : cells) out += "<" + cell + ">" + EscapeMarkup(text) + "</" + cell + ">";
  return out + "</tr>\n";
}

// Every figure, with the range of its samples.
std::string RenderNumbers(const Comparison& comparison) {
  std::vector<std::string> head{"case", "who"};
  for (const CompareMetric& metric : kCompareMetrics)
    head.push_back(std::string(metric.title) + ", " + metric.unit);
  head.insert(head.end(), {"memory", "samples"});
  std::string out = "<div class=\"scroll\"><table>\n" + Row("th", head);
  for (size_t i = 0; i < comparison.cases.size(); ++i) {
    for (const ContenderResult& contender : comparison.contenders) {
      const CaseResult& result = contender.cases[i];
      const std::string name = InputName(comparison.cases[i]) + ", " + BatchName(comparison.cases[i]);
      if (!result.missing.empty() && result.first_ms.empty()) {
        out += "<tr><td>" + EscapeMarkup(name) + "</td><td>" + EscapeMarkup(contender.name) +
               "</td><td class=\"why\" colspan=\"5\">" + EscapeMarkup(result.missing) + "</td></tr>\n";
        continue;
      }
      std::vector<std::string> cells{name, contender.name};
      for (const CompareMetric& metric : kCompareMetrics) {
        const auto& samples = result.*metric.samples;
        if (samples.empty()) {
          cells.push_back("");
          continue;
        }
        const auto [low, high] = std::minmax_element(samples.begin(), samples.end());
        cells.push_back(FormatFigure(MedianOf(samples)) +
                        (samples.size() > 1 ? StrFormat(" (%s to %s)", FormatFigure(*low).c_str(),
                                                        FormatFigure(*high).c_str())
                                            : ""));
      }
      cells.push_back(result.memory_bytes > 0 ? FormatBytes(static_cast<double>(result.memory_bytes)) : "");
      cells.push_back(std::to_string(result.first_ms.size()));
      out += Row("td", cells);
    }
  }
  return out + "</table></div>\n";
}

std::string RenderMethod(const Comparison& comparison) {
  std::string out = "<ul>\n";
  const auto item = [&out](const std::string& text) { out += "<li>" + EscapeMarkup(text) + "</li>\n"; };
  item(StrFormat(
      "%d rounds, in which the contenders take turns, each alone on the machine and in an order that turns; "
      "in a "
      "round a case is warmed up and then repeated %d times, or until its time is up. Figures are medians.",
      comparison.rounds, comparison.repeats));
  item(
      "Prompts are random token ids, the same for all, never the same twice; answers are greedy and of fixed "
      "length, with "
      "the end of text ignored. Nothing is taken from a prefix cache.");
  item(
      "First token: until the last prompt of the batch has its first token. Tokens a second: output tokens "
      "of the whole "
      "batch over the whole time, prompts included.");
  item(
      "Start-up: from starting the process to the first token of a prompt of 32 tokens; files are in the "
      "page cache, and "
      "this engine has been built before. Memory: the process's peak of resident memory (mapped weights "
      "count), or the GPU memory it holds, "
      "of which this engine takes what it is allowed to.");
  for (size_t who = 1; who < comparison.contenders.size(); ++who) {
    const Agreement agreement = AgreeOnFirstTokens(comparison.contenders[0], comparison.contenders[who]);
    if (agreement.total == 0) continue;
    item(
        StrFormat("%s has the same first token in %s of %s prompts (random prompts make near ties; other "
                  "types round otherwise).",
                  comparison.contenders[who].name.c_str(), FormatCount(agreement.same).c_str(),
                  FormatCount(agreement.total).c_str()));
  }
  for (const ContenderResult& contender : comparison.contenders)
    item(contender.name + ": " + contender.detail);
  return out + "</ul>\n";
}

}  // namespace

std::string RenderReport(const Comparison& comparison) {
  std::string others;
  for (size_t who = 1; who < comparison.contenders.size(); ++who) {
    others += (who > 1 ? " and " : "") + comparison.contenders[who].name;
  }
  const std::string title = comparison.model + ": " + comparison.contenders[0].name + " beside " + others;
  std::string out = kPageHead;
  out += "<title>" + EscapeMarkup(title) + "</title></head><body>\n<h1>" + EscapeMarkup(title) + "</h1>\n";
  out += "<p class=\"sub\">" + EscapeMarkup(comparison.machine + " · " + comparison.date) + "</p>\n";
  out += RenderCards(comparison);
  for (const Chart& chart : ChartsOf(comparison)) out += RenderChart(chart);
  out += "<h2>Every number</h2>\n" + RenderNumbers(comparison);
  out += "<h2>How it was measured</h2>\n" + RenderMethod(comparison);
  out += "<h2>Again</h2>\n<pre>" + EscapeMarkup(comparison.command) + "</pre>\n</body></html>\n";
  return out;
}

std::string RenderTables(const Comparison& comparison) {
  std::string out;
  for (const CompareMetric& metric : kCompareMetrics) {
    std::vector<Table::Column> columns{{std::string(metric.title) + ", " + metric.unit}};
    for (const ContenderResult& contender : comparison.contenders) {
      columns.push_back({contender.name, Align::kRight});
      if (&contender != &comparison.contenders[0]) columns.push_back({"×", Align::kRight});
    }
    Table table(std::move(columns));
    for (size_t i = 0; i < comparison.cases.size(); ++i) {
      std::vector<std::string> row{InputName(comparison.cases[i]) + ", " + BatchName(comparison.cases[i])};
      for (const ContenderResult& contender : comparison.contenders) {
        const double value = MedianOf(contender.cases[i].*metric.samples);
        row.push_back(value > 0 ? FormatFigure(value) : "-");
        if (&contender == &comparison.contenders[0]) continue;
        const double times = TimesBetter(metric, comparison.contenders[0].cases[i], contender.cases[i]);
        row.push_back(times > 0 ? FormatFigure(times) : "");
      }
      table.AddRow(std::move(row));
    }
    out += (out.empty() ? "" : "\n") + table.Render();
  }
  return out;
}

}  // namespace lathe::cli
