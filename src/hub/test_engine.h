// What tests say of engines that are none.
#pragma once

#include <string>

#include "hub/engine_index.h"

namespace lathe::hub {

inline EngineEntry TestEngine(const std::string& target, const std::string& machine = "") {
  EngineEntry entry;
  entry.target = target;
  entry.machine = machine;
  entry.model = "tales-16m";
  entry.model_hash = "h";
  entry.dtype = "bf16";
  entry.builder = "0.1.0";
  entry.format = 3;
  entry.size = 10;
  entry.sha256 = std::string(64, 'a');
  entry.file = EngineFileName(entry);
  return entry;
}

}  // namespace lathe::hub
