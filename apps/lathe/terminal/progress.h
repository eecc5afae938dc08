// A progress bar on a terminal; a few plain lines where there is none.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "terminal/terminal.h"

namespace lathe::cli {

enum class Unit { kBytes, kItems };

// One line of at most `width` columns: "label  [####----]  42%  1.20 GB  350 MB/s  ETA 4 s". What does not
// fit is left out, the label last. `seconds` since the start of this stage.
std::string RenderProgress(std::string_view label, uint64_t done, uint64_t total, Unit unit, double seconds,
                           int width);

// Draws on `fd`: redrawn in place at most ten times a second on a terminal; elsewhere one line after 10, 20,
// 40, 80, ... seconds, so that a log of a long build shows life and a short one nothing. Not thread-safe. The
// destructor wipes the bar.
class Progress {
 public:
  explicit Progress(int fd);
  ~Progress() { Clear(); }
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // A stage is known by its label; a new one starts the clock anew. total 0: unknown.
  void Update(std::string_view label, uint64_t done, uint64_t total, Unit unit);
  // Wipes the bar, so that other text can be written.
  void Clear();

 private:
  int fd_;
  Terminal terminal_;
  std::string label_;
  double stage_start_ = 0;
  double last_draw_ = 0;
  double log_wait_ = 10;
  bool drawn_ = false;
};

}  // namespace lathe::cli
