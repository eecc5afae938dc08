#include "terminal/help.h"

#include <algorithm>

namespace lathe::cli {
namespace {

constexpr size_t kHelpColumn = 30;

// "  left ......  text text text" with continuation lines under the text.
std::string TwoColumns(const std::string& left, const std::string& text, size_t width) {
  std::string out = "  " + left;
  if (out.size() + 2 > kHelpColumn) {
    out += "\n" + std::string(kHelpColumn, ' ');
  } else {
    out.resize(kHelpColumn, ' ');
  }
  const size_t room = std::max<size_t>(width > kHelpColumn ? width - kHelpColumn : 0, 24);
  size_t used = 0;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find(' ', at), text.size());
    const size_t word = end - at;
    if (used > 0 && used + 1 + word > room) {
      out += "\n" + std::string(kHelpColumn, ' ');
      used = 0;
    } else if (used > 0) {
      out += ' ';
      ++used;
    }
    out.append(text, at, word);
    used += word;
    at = end + 1;
  }
  return out + "\n";
}

std::string Section(const char* title, const std::vector<HelpOption>& entries, const Style& style,
                    size_t width) {
  if (entries.empty()) return "";
  std::string out = "\n" + style.Bold(title) + "\n";
  for (const HelpOption& entry : entries) {
    std::string text = entry.help;
    if (!entry.shown_default.empty()) text += " [default: " + entry.shown_default + "]";
    if (entry.required && !entry.kind.empty()) text += " [required]";
    out += TwoColumns(entry.names + (entry.kind.empty() ? "" : " " + entry.kind), text, width);
  }
  return out;
}

}  // namespace

std::string RenderHelp(const HelpPage& page, const Style& style, int width) {
  const auto columns = static_cast<size_t>(std::max(width, 40));
  std::string usage = page.name;
  for (const HelpOption& argument : page.arguments) {
    usage += argument.required ? " " + argument.names : " [" + argument.names + "]";
  }
  if (!page.commands.empty()) usage += " COMMAND";
  if (!page.options.empty()) usage += " [OPTIONS]";
  std::string out = page.description + "\n\n" + style.Bold("Usage:") + " " + usage + "\n";
  out += Section("Commands:", page.commands, style, columns);
  out += Section("Arguments:", page.arguments, style, columns);
  out += Section("Options:", page.options, style, columns);
  if (!page.example.empty()) out += "\n" + style.Bold("Example:") + "\n  " + page.example + "\n";
  return out;
}

}  // namespace lathe::cli
