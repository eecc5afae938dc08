// The bounded queue: how many sequences and tokens may be in the house, in all and for each key.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "serve/seams.h"

namespace lathe::serve {

struct AdmissionLimits {
  uint64_t max_requests = 4096;
  uint64_t max_tokens = uint64_t{1} << 30;
};

// Thread-safe; a lock and a few additions per call. Tickets may outlive it.
//
// A request counts with its longest possible answer until its ticket goes. Tokens a minute of a key are a
// bucket of that size, refilled evenly: what a request reserves is taken at admission, and not given back.
class AdmissionControl final : public Admission {
 public:
  enum class State { kStarting, kOpen, kDraining };
  struct Counts {
    uint64_t requests = 0, tokens = 0, admitted = 0, refused = 0;
  };

  explicit AdmissionControl(const AdmissionLimits& limits);
  ~AdmissionControl() override;
  std::shared_ptr<Ticket> Admit(const Principal& who, int requests, uint64_t tokens,
                                Refusal* refusal) override;

  void SetState(State state);
  State state() const;
  Counts counts() const;

 private:
  struct Book;  // shared with the tickets
  class Held;
  const AdmissionLimits limits_;
  const std::shared_ptr<Book> book_;
};

}  // namespace lathe::serve
