// A throughput-latency plot as SVG.
#pragma once

#include <string>
#include <vector>

#include "serving/summary.h"

namespace lathe::cli {

// Two panels over output tokens a second: time to first token and time between tokens, p50 and p99, one point
// a level, labelled. Readable on light and dark ground.
std::string RenderPlot(const std::vector<Summary>& summaries, const std::string& title);

// Round numbers from 0 that cover [0, top] in at most `most` steps of 1, 2 or 5 times a power of ten; at
// least two.
std::vector<double> Ticks(double top, int most);

}  // namespace lathe::cli
