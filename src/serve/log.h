// The server's log: one event a line, plain or JSON, on standard error. Fields are ids, names, counts and
// times; prompts, outputs and keys have no way in. spdlog stands behind it, in log.cc alone.
#pragma once

#include <concepts>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <variant>

namespace lathe::serve {

enum class LogLevel { kDebug, kInfo, kWarn, kError, kOff };

struct LogOptions {
  LogLevel level = LogLevel::kInfo;
  bool json = false;
};

struct LogField {
  std::string_view name;
  std::variant<std::string_view, int64_t, double, bool> value;

  LogField(std::string_view n, std::string_view v) : name(n), value(v) {}
  LogField(std::string_view n, const char* v) : name(n), value(std::string_view(v)) {}
  LogField(std::string_view n, const std::string& v) : name(n), value(std::string_view(v)) {}
  LogField(std::string_view n, double v) : name(n), value(v) {}
  LogField(std::string_view n, bool v) : name(n), value(v) {}
  template <std::integral T>
  LogField(std::string_view n, T v) : name(n), value(static_cast<int64_t>(v)) {}
};

// One line, without its end: {"ts":"2026-01-31T10:00:00.123Z","level":"info","event":...} or the same as
// TIME LEVEL EVENT NAME=VALUE... `unix_ms` is the time shown. Pure; empty strings are left out.
std::string FormatLogLine(int64_t unix_ms, LogLevel level, std::string_view event,
                          std::initializer_list<LogField> fields, bool json);

// Before this is called nothing is logged. Starts a thread that writes, so that a full pipe behind standard
// error never holds up the caller of Log: beyond 8192 lines waiting, the oldest are dropped and counted.
void StartLog(const LogOptions& options);
// Writes what waits, ends the thread. Log is silent afterwards.
void StopLog();

// Any thread; microseconds.
void Log(LogLevel level, std::string_view event, std::initializer_list<LogField> fields);
bool LogEnabled(LogLevel level);

}  // namespace lathe::serve
