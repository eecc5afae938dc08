// A whole text through the model outside of batching, for evaluation.
#pragma once

#include <span>
#include <vector>

#include "base/status.h"
#include "lathe/engine.h"
#include "runtime/kv/kv_manager.h"
#include "runtime/step/step.h"

namespace lathe {

enum class DirectMode {
  kScore,   // nats of every token after the first
  kLogits,  // logits of every position
};

struct DirectResult {
  Status status;
  bool wants_pages = false;    // failed only because others hold the pages
  bool device_failed = false;  // status came from the executor
  Engine::Score score;
  std::vector<float> logits;  // (ids.size(), vocab)
};

// Runs `ids` (checked: at least one, each in the vocabulary) in chunks, on pages of `kv` that it gives back.
// On the thread that owns both, between steps.
DirectResult RunDirect(DirectMode mode, std::span<const TokenId> ids, StepExecutor* executor, KvManager* kv);

}  // namespace lathe
