// Text inside of SVG and HTML.
#pragma once

#include <string>
#include <string_view>

namespace lathe::cli {

// `text` as content of an element or of a quoted attribute: markup escaped, control characters as blanks.
std::string EscapeMarkup(std::string_view text);

// An SVG text element. `anchor`: "start", "middle" or "end"; `cls`: its class, or "".
std::string SvgText(double x, double y, const char* anchor, std::string_view text, const char* cls = "");

}  // namespace lathe::cli
