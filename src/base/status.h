// Helpers around include/lathe/status.h: formatted constructors and early-return macros.
#pragma once

#include <string>

#include "lathe/status.h"

namespace lathe {

// printf into a string.
[[gnu::format(printf, 1, 2)]] std::string StrFormat(const char* format, ...);

// printf into the message of a Status of `code`.
[[gnu::format(printf, 2, 3)]] Status Error(StatusCode code, const char* format, ...);

}  // namespace lathe

#define LATHE_CONCAT_INNER_(a, b) a##b
#define LATHE_CONCAT_(a, b) LATHE_CONCAT_INNER_(a, b)

// Returns from the enclosing function when `expr` (a Status) is not ok.
#define LATHE_RETURN_IF_ERROR(expr)                \
  do {                                             \
    ::lathe::Status status_macro_ = (expr);        \
    if (!status_macro_.ok()) return status_macro_; \
  } while (false)

// LATHE_ASSIGN_OR_RETURN(auto x, F()): x = value of the Expected, or returns its Status.
#define LATHE_ASSIGN_OR_RETURN(lhs, expr) \
  LATHE_ASSIGN_OR_RETURN_IMPL_(LATHE_CONCAT_(expected_macro_, __LINE__), lhs, expr)
#define LATHE_ASSIGN_OR_RETURN_IMPL_(tmp, lhs, expr) \
  auto tmp = (expr);                                 \
  if (!tmp.ok()) return tmp.status();                \
  lhs = std::move(tmp).value()
