// A comparison as one HTML page, and as tables for a terminal.
#pragma once

#include <string>

#include "compare/comparison.h"

namespace lathe::cli {

// One file, nothing fetched: headline ratios, charts, every number, how it was measured, how to do it again.
std::string RenderReport(const Comparison& comparison);

// A table a metric: cases down, contenders across, with how many times better the first is.
std::string RenderTables(const Comparison& comparison);

}  // namespace lathe::cli
