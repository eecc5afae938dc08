// An engine that Python objects share, and that can be closed under them.
#pragma once

#include <memory>
#include <mutex>
#include <string>

#include "base/status.h"
#include "lathe/engine.h"
#include "open/open_model.h"
#include "serve/openai/prepare.h"

namespace lathe::python {

// Thread-safe.
class EngineCell {
 public:
  static std::shared_ptr<EngineCell> Create(OpenedModel opened);
  // As Close.
  ~EngineCell();

  // The engine, for the length of a call. Errors: kUnavailable once it is closed, or in a fork of the process
  // that opened it.
  Expected<std::shared_ptr<Engine>> Use() const;
  // Ends the engine: what runs is cancelled, and its threads are joined when the calls under way are over. In
  // a fork there is nothing to join, and it is leaked. Again: no effect.
  void Close();
  bool closed() const;

  const std::string& path() const { return path_; }  // of the engine file
  // What the model's chat template knows. Lives as long as the engine.
  Expected<const serve::Model*> Chat() const;

 private:
  explicit EngineCell(OpenedModel opened);
  bool in_fork() const;

  const std::string path_;
  const int fork_generation_;
  mutable std::mutex mutex_;
  std::shared_ptr<Engine> engine_;              // guarded by mutex_; null: closed
  mutable std::unique_ptr<serve::Model> chat_;  // guarded by mutex_, made when first wanted
};

// Closes what is still open: to be called before the interpreter ends.
void CloseAllEngines();

}  // namespace lathe::python
