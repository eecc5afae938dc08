// A request whose output is taken by the calling thread, with the times at which it came.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "lathe/engine.h"

namespace lathe::cli {

// When the tokens of one request came, in monotonic seconds.
struct StreamTimes {
  double submitted = 0;
  double first_token = 0;  // 0: none came
  double last_token = 0;

  double ToFirst() const { return first_token > 0 ? first_token - submitted : 0; }
  // From the first token to the last one.
  double Decoding() const { return last_token - first_token; }
};

// The engine's thread puts deltas into a queue and is never held up by a slow reader. One reader.
class Stream {
 public:
  // Submits. Errors: Engine::Submit's.
  static Expected<std::unique_ptr<Stream>> Start(Engine& engine, Request request);
  // Cancels what is still running and waits for its last delta.
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  // The next delta, or nullopt after `timeout_seconds` without one. Not to be called after `done`.
  std::optional<OutputDelta> Next(double timeout_seconds);
  // The last delta has been taken.
  bool done() const { return done_; }
  void Cancel();
  // Final once done.
  StreamTimes times() const;

 private:
  struct Shared;
  Stream(Engine& engine, std::shared_ptr<Shared> shared);
  Engine& engine_;
  std::shared_ptr<Shared> shared_;  // the callback's half outlives this object if it must
  RequestId id_ = 0;
  bool done_ = false;
};

}  // namespace lathe::cli
