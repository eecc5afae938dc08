// The layout of a command's help: usage, arguments, options with their defaults, an example.
#pragma once

#include <string>
#include <vector>

#include "terminal/terminal.h"

namespace lathe::cli {

struct HelpOption {
  std::string names;  // "-n, --n", "--seed", "MODEL"
  std::string kind;   // "N", "TEXT"; "" for flags
  std::string help;
  std::string shown_default;  // "" shows none
  bool required = false;
};

struct HelpPage {
  std::string name;  // "lathe bench latency"
  std::string description;
  std::string example;
  std::vector<HelpOption> arguments, options, commands;
};

// Wrapped to `width` columns.
std::string RenderHelp(const HelpPage& page, const Style& style, int width);

}  // namespace lathe::cli
