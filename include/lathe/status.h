// Outcome of an operation that can fail because of a user, a file, a configuration or the system.
//
// lathe never throws across a function boundary of its own. A fault that somebody outside can cause is a
// `Status` (or `Expected<T>`, a value or a Status); a broken invariant of our own is a LATHE_CHECK
// (src/base/check.h). A message is one sentence that says what was expected, what was found, where, and
// what to do about it.
//
// Thread-safety: values; distinct objects may be used from distinct threads.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace lathe {

enum class StatusCode {
  kOk = 0,
  kInvalidArgument,    // the caller's value is out of its range or of the wrong kind
  kNotFound,           // a file, tensor, key or model is missing
  kCorrupt,            // bytes that contradict themselves: truncated, bad checksum, bad structure
  kUnsupported,        // well-formed, but nothing lathe can run
  kMismatch,           // an engine or shard that belongs to another machine, model or version
  kResourceExhausted,  // memory, disk, queue or KV budget
  kIo,                 // the operating system said no
  kCancelled,
  kDeadlineExceeded,
  kUnavailable,  // shutting down, device lost
  kInternal,     // should not happen; reported rather than hidden
};

// "invalid argument", "not found", ... as shown in messages and logs.
std::string_view ToString(StatusCode code);

class [[nodiscard]] Status {
 public:
  Status() = default;  // ok
  Status(StatusCode code, std::string message) : code_(code), message_(std::move(message)) {}

  static Status Ok() { return {}; }
  bool ok() const { return code_ == StatusCode::kOk; }
  StatusCode code() const { return code_; }
  const std::string& message() const { return message_; }

  // The same fault, told with the place it happened in front: "PREFIX: message".
  Status WithContext(std::string_view prefix) const {
    if (ok()) return *this;
    return {code_, std::string(prefix) + ": " + message_};
  }

 private:
  StatusCode code_ = StatusCode::kOk;
  std::string message_;
};

// A value or the Status that says why there is none. Never holds an ok Status without a value.
template <typename T>
class [[nodiscard]] Expected {
 public:
  Expected(T value) : value_(std::move(value)) {}         // NOLINT(google-explicit-constructor)
  Expected(Status status) : status_(std::move(status)) {  // NOLINT(google-explicit-constructor)
    if (status_.ok()) status_ = {StatusCode::kInternal, "Expected built from an ok Status"};
  }

  bool ok() const { return value_.has_value(); }
  explicit operator bool() const { return ok(); }
  const Status& status() const { return status_; }

  T& value() & { return *value_; }
  const T& value() const& { return *value_; }
  T&& value() && { return *std::move(value_); }
  T& operator*() & { return *value_; }
  const T& operator*() const& { return *value_; }
  T&& operator*() && { return *std::move(value_); }
  T* operator->() { return &*value_; }
  const T* operator->() const { return &*value_; }

 private:
  std::optional<T> value_;
  Status status_;
};

}  // namespace lathe
