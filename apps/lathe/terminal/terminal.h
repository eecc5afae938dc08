// What stands at the other end of a file descriptor: a person's terminal (colour, a width) or a pipe.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace lathe::cli {

struct Terminal {
  bool interactive = false;  // isatty
  bool colour = false;       // interactive, NO_COLOR is unset or empty, and TERM is not "dumb"
  int width = 80;            // columns; 80 where unknown
};

// Looks at `fd` now (the width of a window may change). Thread-safe.
Terminal DescribeTerminal(int fd);

// Text attributes; each returns its text unchanged when colour is off.
class Style {
 public:
  explicit Style(const Terminal& terminal) : on_(terminal.colour) {}
  std::string Bold(std::string_view text) const { return Wrap("1", text); }
  std::string Dim(std::string_view text) const { return Wrap("2", text); }
  std::string Green(std::string_view text) const { return Wrap("32", text); }
  std::string Red(std::string_view text) const { return Wrap("31", text); }

 private:
  std::string Wrap(const char* code, std::string_view text) const;
  bool on_;
};

// Columns that a terminal gives to `text` (UTF-8; broken bytes count one each).
size_t DisplayWidth(std::string_view text);

// `text` with control characters shown as \n, \t or \xNN, so that a token or a file name can never move the
// cursor. UTF-8 passes through.
std::string Printable(std::string_view text);

// `text` as a model or a stranger wrote it, made safe for a terminal: control characters other than newline
// and tab (C0, DEL, and C1 in UTF-8) become U+FFFD, so that it cannot send escape sequences.
std::string TerminalSafe(std::string_view text);

// Writes all of `text` to `fd` at once, going on after signals. False when the other end is gone.
bool WriteAll(int fd, std::string_view text);

}  // namespace lathe::cli
