// What a comparison has measured so far, in a file: one that takes an hour goes on where it was interrupted.
#pragma once

#include <cstddef>
#include <string>

#include "base/status.h"
#include "compare/comparison.h"

namespace lathe::cli {

struct CompareState {
  Comparison comparison;
  std::string settings = {};  // all that must be the same to go on
  int vocab = 0;              // that prompts are drawn from
  size_t turn = 0;            // the next contender's, counted through all rounds
  size_t next = 0;            // its next case
  bool begun() const { return !comparison.contenders.empty(); }
};

// Written anew as a whole, so that it is never half of one.
Status SaveJournal(const std::string& path, const CompareState& state);

// kCorrupt with the path and what to do when it is not what SaveJournal writes.
Expected<CompareState> LoadJournal(const std::string& path);

}  // namespace lathe::cli
