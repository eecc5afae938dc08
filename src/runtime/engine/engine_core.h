// The engine behind include/lathe/engine.h, put together from its parts. Threads, owners and invariants:
// docs/contracts/engine.md.
#pragma once

#include <atomic>
#include <functional>
#include <memory>

#include "lathe/engine.h"
#include "runtime/engine/text_model.h"
#include "runtime/step/step.h"

namespace lathe {

// Sequences that run at once unless told otherwise.
inline constexpr int kDefaultSequences = 256;

// What Engine::Load reads from a file, and what tests put together themselves.
struct EngineParts {
  std::unique_ptr<StepExecutor> executor;
  std::unique_ptr<TextModel> text;
  ModelInfo info;
  SamplingParams defaults;
  // Checks the weights while requests already run; may return early, with Ok, when `stop` becomes true. What
  // it finds ends the engine like a fault of the device.
  std::function<Status(const std::atomic<bool>& stop)> verify;
  std::shared_ptr<const void> keep_alive;  // mapped files and the like; dropped after executor and text
};

// Starts the engine's thread. `options` that are zero are chosen here; what the executor can hold bounds
// them.
std::unique_ptr<Engine> MakeEngine(EngineParts parts, const EngineOptions& options);

}  // namespace lathe
