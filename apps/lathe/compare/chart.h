// Bars of a comparison as SVG.
#pragma once

#include <string>
#include <vector>

#include "compare/comparison.h"

namespace lathe::cli {

// One contender's bar; `note` stands after its value. No bar where `value` is 0: then `text` says why.
struct ChartBar {
  size_t series = 0;  // which contender: its colour
  double value = 0;
  std::string text = {}, note = {};
};

// Bars that are compared with each other: the longest takes the whole width.
struct ChartGroup {
  std::string section = {};  // a headline before this group, or ""
  std::string label = {};
  std::vector<ChartBar> bars = {};
};

struct Chart {
  std::string file = {};  // without ".svg"
  std::string title = {};
  std::vector<std::string> series = {};
  std::vector<ChartGroup> groups = {};
};

// Readable on light and dark ground; `series` as a legend below the title.
std::string RenderChart(const Chart& chart);

// A chart a metric, then start-up and memory where anyone told them. Names of files: the metrics' keys,
// "startup", "memory".
std::vector<Chart> ChartsOf(const Comparison& comparison);

}  // namespace lathe::cli
