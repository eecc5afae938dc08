// What compiling a grammar may cost. Every stage charges it and stops at the first refusal. Time is that of
// the thread, so that a busy machine refuses nothing that an idle one takes.
#pragma once

#include <cstddef>

#include "base/clock.h"
#include "base/status.h"
#include "text/grammar/limits.h"

namespace lathe::grammar {

class Budget {
 public:
  explicit Budget(const GrammarLimits& limits)
      : limits_(limits), end_(ThreadSeconds() + limits.seconds), bytes_left_(limits.bytes) {}

  const GrammarLimits& limits() const { return limits_; }

  // Takes `bytes` of memory. kResourceExhausted when they or the time are gone. The clock is read now and
  // then.
  Status Take(size_t bytes) {
    if (bytes > bytes_left_) {
      return Error(StatusCode::kResourceExhausted,
                   "the grammar needs more than the %zu bytes allowed to compile one; make it smaller",
                   limits_.bytes);
    }
    bytes_left_ -= bytes;
    if (++calls_ % 256 == 0 && ThreadSeconds() > end_) {
      return Error(StatusCode::kResourceExhausted,
                   "the grammar takes longer than the %.0f ms allowed to compile one; make it smaller",
                   limits_.seconds * 1e3);
    }
    return Status::Ok();
  }
  double seconds_left() const { return end_ - ThreadSeconds(); }

 private:
  GrammarLimits limits_;
  double end_;
  size_t bytes_left_;
  size_t calls_ = 0;
};

}  // namespace lathe::grammar
