// lathe.json, the list of engines that lies beside them in a repository: who each is for, so that one machine
// fetches the one that fits it and no other.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace lathe::hub {

inline constexpr char kIndexFile[] = "lathe.json";

struct EngineEntry {
  std::string file;     // path in the repository
  std::string target;   // "cpu:avx512", "cuda:sm_90a"
  std::string machine;  // what it was measured on; "" when it was not
  std::string model, model_hash, dtype;
  std::string builder;  // lathe's version
  int format = 0;       // of the engine file
  int tp = 1, pp = 1;
  uint64_t size = 0;
  std::string sha256;
};

// Errors: kCorrupt for anything that is not such a list; other keys are let be.
Expected<std::vector<EngineEntry>> ParseEngineIndex(std::string_view text, const std::string& where);
std::string EngineIndexText(const std::vector<EngineEntry>& engines);

// `added` in place of what is for the same model, type, target and machine, or has the same file.
std::vector<EngineEntry> MergeEngines(std::vector<EngineEntry> present,
                                      const std::vector<EngineEntry>& added);

// "NAME-bf16-cpu-avx512-intel-xeon.lathe": what an engine is called in a repository, so that those of several
// machines can lie side by side.
std::string EngineFileName(const EngineEntry& engine);

// How well an engine fits a machine; below 0: not at all.
using Fitness = std::function<int(const EngineEntry&)>;
// The one that fits best; nullptr when none does.
const EngineEntry* BestEngine(const std::vector<EngineEntry>& engines, const Fitness& fitness);

}  // namespace lathe::hub
