// Live bytes of one render: every string and container made while rendering holds a Charge against the
// render's Budget and gives it back when it dies.
#pragma once

#include <cstddef>
#include <utility>

namespace lathe::tmpl {

// Not thread-safe: one per render. Must outlive the charges made against it.
struct Budget {
  size_t limit = 0;
  size_t used = 0;
  size_t Left() const { return used < limit ? limit - used : 0; }
};

class Charge {
 public:
  Charge() = default;
  // A null budget (constants of a parsed template) charges nobody.
  Charge(Budget* budget, size_t bytes) : budget_(budget), bytes_(bytes) {
    if (budget_ != nullptr) budget_->used += bytes_;
  }
  Charge(Charge&& other) noexcept
      : budget_(std::exchange(other.budget_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
  Charge& operator=(Charge&& other) noexcept {
    std::swap(budget_, other.budget_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~Charge() {
    if (budget_ != nullptr) budget_->used -= bytes_;
  }

 private:
  Budget* budget_ = nullptr;
  size_t bytes_ = 0;
};

}  // namespace lathe::tmpl
