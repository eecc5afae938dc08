#include "terminal/terminal.h"

#include <sys/ioctl.h>
#include <unistd.h>
#include <utf8proc.h>

#include <cerrno>
#include <cstdlib>

#include "base/status.h"

namespace lathe::cli {

Terminal DescribeTerminal(int fd) {
  Terminal out;
  out.interactive = isatty(fd) == 1;
  if (!out.interactive) return out;
  const char* no_color = std::getenv("NO_COLOR");
  const char* term = std::getenv("TERM");
  const bool dumb = term != nullptr && std::string_view(term) == "dumb";
  out.colour = (no_color == nullptr || *no_color == '\0') && !dumb;
  winsize size{};
  if (ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) out.width = size.ws_col;
  return out;
}

std::string Style::Wrap(const char* code, std::string_view text) const {
  if (!on_) return std::string(text);
  return StrFormat("\x1b[%sm%.*s\x1b[0m", code, static_cast<int>(text.size()), text.data());
}

size_t DisplayWidth(std::string_view text) {
  size_t width = 0;
  while (!text.empty()) {
    utf8proc_int32_t point = -1;
    const utf8proc_ssize_t used = utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                                                   static_cast<utf8proc_ssize_t>(text.size()), &point);
    if (used <= 0) {
      ++width;
      text.remove_prefix(1);
      continue;
    }
    width += static_cast<size_t>(utf8proc_charwidth(point));
    text.remove_prefix(static_cast<size_t>(used));
  }
  return width;
}

std::string Printable(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '\n') {
      out += "\\n";
    } else if (c == '\t') {
      out += "\\t";
    } else if (byte < 0x20 || byte == 0x7f) {
      out += StrFormat("\\x%02x", byte);
    } else {
      out += c;
    }
  }
  return out;
}

std::string TerminalSafe(std::string_view text) {
  static constexpr std::string_view kReplacement = "\xef\xbf\xbd";
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    const bool c0 = (byte < 0x20 && byte != '\n' && byte != '\t') || byte == 0x7f;
    const bool c1 = byte == 0xc2 && i + 1 < text.size() && static_cast<unsigned char>(text[i + 1]) >= 0x80 &&
                    static_cast<unsigned char>(text[i + 1]) < 0xa0;
    if (c0 || c1) {
      out += kReplacement;
      i += c1 ? 1 : 0;
    } else {
      out += text[i];
    }
  }
  return out;
}

bool WriteAll(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t n = write(fd, text.data(), text.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    text.remove_prefix(static_cast<size_t>(n));
  }
  return true;
}

}  // namespace lathe::cli
