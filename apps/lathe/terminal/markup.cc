#include "terminal/markup.h"

#include "base/status.h"

namespace lathe::cli {

std::string EscapeMarkup(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '"': out += "&quot;"; break;
      default: out += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
    }
  }
  return out;
}

std::string SvgText(double x, double y, const char* anchor, std::string_view text, const char* cls) {
  return StrFormat("<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\" class=\"%s\">", x, y, anchor, cls) +
         EscapeMarkup(text) + "</text>\n";
}

}  // namespace lathe::cli
