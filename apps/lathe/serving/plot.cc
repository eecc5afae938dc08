#include "serving/plot.h"

#include <algorithm>
#include <cmath>

#include "base/status.h"
#include "terminal/markup.h"

namespace lathe::cli {
namespace {

constexpr int kWidth = 960, kHeight = 420;
constexpr int kPanelWidth = 400, kPanelHeight = 280, kTop = 70;
constexpr int kLefts[] = {64, 544};
constexpr int kTicks = 6;

constexpr char kHead[] =
    "<style>text{font:12px "
    "sans-serif;fill:#222}.t{font-size:15px;font-weight:bold}.g{stroke:#8884}.a{stroke:#888}"
    ".p50{stroke:#0b7285;fill:#0b7285}.p99{stroke:#d9480f;fill:#d9480f}polyline{fill:none!important;stroke-"
    "width:2}"
    ".l{font-size:10px}rect.bg{fill:#fff}@media(prefers-color-scheme:dark){text{fill:#ddd}rect.bg{fill:#"
    "181a1b}"
    ".p50{stroke:#3bc9db;fill:#3bc9db}.p99{stroke:#ff922b;fill:#ff922b}}</style>\n";

struct Panel {
  const char* name;
  const Spread Summary::*spread;
};
constexpr Panel kPanels[] = {{"time to first token, ms", &Summary::first},
                             {"between tokens, ms", &Summary::gap}};

struct Line {
  const char* name;  // also its class
  size_t column;     // of kSpreadColumns
};
constexpr Line kLines[] = {{"p50", 0}, {"p99", 3}};

// Maps values to the panel's pixels.
struct Scale {
  double left, x_top, y_top;
  double X(double value) const { return left + value / x_top * kPanelWidth; }
  double Y(double value) const { return kTop + kPanelHeight - value / y_top * kPanelHeight; }
};

std::string RenderAxes(const Scale& scale, const std::vector<double>& x_ticks,
                       const std::vector<double>& y_ticks, const char* name) {
  std::string out = SvgText(scale.left, kTop - 12, "start", name);
  for (const double tick : y_ticks) {
    out += StrFormat("<line x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\" class=\"%s\"/>\n", scale.left,
                     scale.left + kPanelWidth, scale.Y(tick), scale.Y(tick), tick == 0 ? "a" : "g");
    out += SvgText(scale.left - 6, scale.Y(tick) + 4, "end", StrFormat("%g", tick));
  }
  for (const double tick : x_ticks) {
    out += SvgText(scale.X(tick), kTop + kPanelHeight + 18, "middle", StrFormat("%g", tick));
  }
  return out + SvgText(scale.left + kPanelWidth / 2.0, kTop + kPanelHeight + 38, "middle", "output tokens/s");
}

std::string RenderLine(const Scale& scale, const std::vector<Summary>& summaries, const Panel& panel,
                       const Line& line) {
  std::string points, marks;
  for (const Summary& summary : summaries) {
    const Spread& spread = summary.*panel.spread;
    if (spread.count == 0) continue;
    const double x = scale.X(summary.Rate(summary.output_tokens)), y = scale.Y(spread.at[line.column]);
    points += StrFormat("%.1f,%.1f ", x, y);
    marks += StrFormat("<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3.5\" class=\"%s\"/>\n", x, y, line.name);
    const LoadLevel& level = summary.level;
    if (line.column == 0) {
      marks +=
          SvgText(x, y + 14, "middle",
                  level.rate > 0 ? StrFormat("%g/s", level.rate) : std::to_string(level.concurrency), "l");
    }
  }
  return "<polyline class=\"" + std::string(line.name) + "\" points=\"" + points + "\"/>\n" + marks;
}

}  // namespace

std::vector<double> Ticks(double top, int most) {
  if (!(top > 0) || !std::isfinite(top)) top = 1;
  const double magnitude = std::pow(10, std::floor(std::log10(top / most)));
  double step = magnitude;
  for (const double factor : {1.0, 2.0, 5.0, 10.0}) {
    step = magnitude * factor;
    if (std::ceil(top / step - 1e-9) <= most) break;
  }
  std::vector<double> out;
  const int n = std::max(1, static_cast<int>(std::ceil(top / step - 1e-9)));
  for (int i = 0; i <= n; ++i) out.push_back(i * step);
  return out;
}

std::string RenderPlot(const std::vector<Summary>& summaries, const std::string& title) {
  std::string out = StrFormat(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" role=\"img\">\n", kWidth, kHeight);
  out += "<title>" + EscapeMarkup(title) + "</title>\n";
  out += kHead;
  out += StrFormat("<rect class=\"bg\" width=\"%d\" height=\"%d\"/>\n", kWidth, kHeight);
  out += SvgText(kLefts[0], 28, "start", title, "t");
  double x_top = 0;
  for (const Summary& summary : summaries) x_top = std::max(x_top, summary.Rate(summary.output_tokens));
  const std::vector<double> x_ticks = Ticks(x_top, kTicks);
  for (size_t p = 0; p < std::size(kPanels); ++p) {
    double y_top = 0;
    for (const Summary& summary : summaries) {
      for (const Line& line : kLines) y_top = std::max(y_top, (summary.*kPanels[p].spread).at[line.column]);
    }
    const std::vector<double> y_ticks = Ticks(y_top, kTicks);
    const Scale scale{static_cast<double>(kLefts[p]), x_ticks.back(), y_ticks.back()};
    out += RenderAxes(scale, x_ticks, y_ticks, kPanels[p].name);
    for (const Line& line : kLines) out += RenderLine(scale, summaries, kPanels[p], line);
    for (size_t i = 0; i < std::size(kLines); ++i) {
      const double x = scale.left + kPanelWidth - 90 + 48.0 * static_cast<double>(i);
      out +=
          StrFormat("<circle cx=\"%.1f\" cy=\"%d\" r=\"4\" class=\"%s\"/>\n", x, kTop - 16, kLines[i].name);
      out += SvgText(x + 8, kTop - 12, "start", kLines[i].name);
    }
  }
  const char* const note = "numbers at the points: requests at once, or requests a second";
  out += SvgText(kLefts[0], kHeight - 12, "start", note, "l");
  return out + "</svg>\n";
}

}  // namespace lathe::cli
