// What the engine's thread hands to Python, without ever waiting for Python: it appends under a mutex that is
// held for a few instructions, and wakes whoever waits, once, when there was nothing yet to be taken.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "lathe/engine.h"

namespace lathe::python {

class RequestState;

// Where requests announce that they have something new. Several requests share one (a batch, or all streams
// of an event loop). Thread-safe.
class Mailbox {
 public:
  // with_descriptor: wakes through a file descriptor that an event loop can watch, beside Wait().
  static Expected<std::shared_ptr<Mailbox>> Create(bool with_descriptor);
  ~Mailbox();
  Mailbox(const Mailbox&) = delete;
  Mailbox& operator=(const Mailbox&) = delete;

  int descriptor() const { return descriptor_; }  // readable while there is something to take; -1: none
  // Keys of the requests with news since the last call, each once, in order; empties the list. Waits up to
  // `seconds` while there are none.
  std::vector<uint64_t> Take(double seconds);

 private:
  friend class RequestState;
  Mailbox() = default;
  void Announce(uint64_t key);  // mutex_ is held

  std::mutex mutex_;  // guards the states of its requests, too
  std::condition_variable arrived_;
  std::vector<uint64_t> news_;  // guarded by mutex_
  int descriptor_ = -1;
};

// One of the n continuations of a request, as far as it has come.
struct Continuation {
  std::string text;
  std::vector<TokenOutput> tokens;
  FinishReason finish = FinishReason::kNone;
};

// The whole of a request, once it has ended.
struct Outcome {
  std::vector<Continuation> continuations;
  std::vector<TokenOutput> prompt;
  std::vector<float> embedding;
  Usage usage;
  Status error;                               // of a continuation that failed
  double submitted = 0, first = 0, last = 0;  // monotonic seconds; first and last of its tokens, 0: none came
  double queued_seconds = 0;
};

// What is new of one continuation.
struct Piece {
  int index = 0;
  std::string text;
  std::vector<TokenOutput> tokens;
  FinishReason finish = FinishReason::kNone;
  bool last = false;  // of the whole request
  Usage usage;        // so far
};

// The meeting place of one request: the engine's thread fills it, any other takes out. Holds no Python
// object, so that it may die on either side.
class RequestState {
 public:
  // streams: announced with every delta; else only when the request has ended.
  RequestState(std::shared_ptr<Mailbox> mailbox, uint64_t key, int n, bool streams);

  uint64_t key() const { return key_; }
  Mailbox& mailbox() { return *mailbox_; }

  // The callback of Engine::Submit.
  void OnDelta(const OutputDelta& delta);
  // The next piece that nobody has taken; what came meanwhile for the same continuation is in it.
  std::optional<Piece> TakePiece();
  bool ended();
  // After its end.
  const Outcome& outcome() const { return outcome_; }
  // The same text, tokens and finish reasons so far, of a request that may still run.
  Outcome Snapshot();

 private:
  struct Taken {
    size_t text = 0, tokens = 0;  // of a continuation, by TakePiece
    bool waits = false;           // in ready_
  };

  const std::shared_ptr<Mailbox> mailbox_;
  const uint64_t key_;
  const bool streams_;
  // Guarded by the mailbox's mutex.
  Outcome outcome_;
  std::vector<Taken> taken_;
  std::deque<int> ready_;  // continuations with news
  bool ended_ = false, announced_ = false;
};

}  // namespace lathe::python
