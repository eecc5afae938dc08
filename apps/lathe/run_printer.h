// How `lathe run` shows what comes: as text, or as JSON lines.
#pragma once

#include <unistd.h>

#include <memory>
#include <string_view>

#include "generation.h"
#include "terminal/terminal.h"

namespace lathe::cli {

// Writes to standard output at once, a piece at a time.
class RunPrinter {
 public:
  virtual ~RunPrinter() = default;
  virtual void Print(const OutputDelta& delta) = 0;
  virtual void Finish(const Generation& generation) = 0;
  // False once standard output could not be written (a full disk).
  bool ok() const { return ok_; }

 protected:
  void WriteOut(std::string_view text) { ok_ = ok_ && WriteAll(STDOUT_FILENO, text); }

 private:
  bool ok_ = true;
};

struct PrinterOptions {
  int n = 1;
  bool logprobs = false;
  bool interactive = false;  // standard output is a terminal
};

// The text alone, ended by a newline. With n > 1 one continuation after another, each under a line
// "--- 2 of 3 ---". Log-probabilities, when there are any, follow as a table on stderr.
std::unique_ptr<RunPrinter> MakeTextPrinter(const Engine& engine, const PrinterOptions& options);

// {"event":"text","index":0,"text":...,"tokens":[{"id":..,"logprob":..,"top":[..]}]} for each piece,
// {"event":"end","index":0,"finish_reason":"stop"} for each continuation, {"event":"done","usage":..., times}
// last.
std::unique_ptr<RunPrinter> MakeJsonPrinter(const Engine& engine, const PrinterOptions& options);

}  // namespace lathe::cli
