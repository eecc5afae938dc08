// Checks of our own invariants: print the condition, the values and the place, then abort.
//
// Only for bugs of lathe itself. Anything that input can cause is a Status (include/lathe/status.h).
#pragma once

#include <cstdio>
#include <cstdlib>
#include <sstream>
#include <string>

namespace lathe::internal {

[[noreturn]] inline void CheckFailed(const char* file, int line, const std::string& what) {
  std::fprintf(stderr, "lathe: internal error at %s:%d: %s\n", file, line, what.c_str());
  std::abort();
}

template <typename A, typename B>
[[noreturn]] void CheckOpFailed(const char* file, int line, const char* text, const A& a, const B& b) {
  std::ostringstream out;
  out << text << " (" << a << " vs " << b << ")";
  CheckFailed(file, line, out.str());
}

}  // namespace lathe::internal

#define LATHE_CHECK(condition)                                                         \
  do {                                                                                 \
    if (!(condition)) [[unlikely]]                                                     \
      ::lathe::internal::CheckFailed(__FILE__, __LINE__, "check failed: " #condition); \
  } while (false)

#define LATHE_CHECK_OP_(a, op, b)                                                                        \
  do {                                                                                                   \
    const auto& check_a_ = (a);                                                                          \
    const auto& check_b_ = (b);                                                                          \
    if (!(check_a_ op check_b_)) [[unlikely]]                                                            \
      ::lathe::internal::CheckOpFailed(__FILE__, __LINE__, "check failed: " #a " " #op " " #b, check_a_, \
                                       check_b_);                                                        \
  } while (false)

#define LATHE_CHECK_EQ(a, b) LATHE_CHECK_OP_(a, ==, b)
#define LATHE_CHECK_NE(a, b) LATHE_CHECK_OP_(a, !=, b)
#define LATHE_CHECK_LE(a, b) LATHE_CHECK_OP_(a, <=, b)
#define LATHE_CHECK_LT(a, b) LATHE_CHECK_OP_(a, <, b)
#define LATHE_CHECK_GE(a, b) LATHE_CHECK_OP_(a, >=, b)
#define LATHE_CHECK_GT(a, b) LATHE_CHECK_OP_(a, >, b)
