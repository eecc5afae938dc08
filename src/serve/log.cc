#include "serve/log.h"

#include <spdlog/async.h>
#include <spdlog/async_logger.h>
#include <spdlog/sinks/stdout_sinks.h>

#include <atomic>
#include <chrono>
#include <ctime>
#include <memory>
#include <mutex>

#include "base/status.h"
#include "serve/quote.h"

namespace lathe::serve {
namespace {

constexpr size_t kQueuedLines = 8192;

struct Sink {
  std::shared_ptr<spdlog::details::thread_pool> pool;
  std::shared_ptr<spdlog::async_logger> logger;
  bool json = false;
};

std::mutex g_mutex;
// Guarded by g_mutex. Never destroyed: in a fork of a process that logs, the thread to be joined is not
// there.
std::shared_ptr<Sink>& g_sink = *new std::shared_ptr<Sink>;
std::atomic<int> g_level{static_cast<int>(LogLevel::kOff)};  // least level that is written

std::shared_ptr<Sink> CurrentSink() {
  const std::lock_guard lock(g_mutex);
  return g_sink;
}

const char* Name(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug: return "debug";
    case LogLevel::kInfo: return "info";
    case LogLevel::kWarn: return "warn";
    case LogLevel::kError: return "error";
    case LogLevel::kOff: break;
  }
  return "off";
}

std::string Timestamp(int64_t unix_ms) {
  const std::time_t seconds = unix_ms / 1000;
  std::tm utc{};
  gmtime_r(&seconds, &utc);
  return StrFormat("%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", utc.tm_year + 1900, utc.tm_mon + 1, utc.tm_mday,
                   utc.tm_hour, utc.tm_min, utc.tm_sec, static_cast<int>(unix_ms % 1000));
}

bool NeedsQuotes(std::string_view text) {
  for (const char c : text) {
    if (c <= ' ' || c == '"' || c == '=' || c == '\\' || c >= 0x7f) return true;
  }
  return text.empty();
}

std::string FormatValue(const LogField& field, bool json) {
  if (const auto* text = std::get_if<std::string_view>(&field.value)) {
    return json || NeedsQuotes(*text) ? QuoteJson(*text) : std::string(*text);
  }
  if (const auto* number = std::get_if<int64_t>(&field.value)) return std::to_string(*number);
  if (const auto* flag = std::get_if<bool>(&field.value)) return *flag ? "true" : "false";
  return StrFormat("%.6g", std::get<double>(field.value));
}

}  // namespace

std::string FormatLogLine(int64_t unix_ms, LogLevel level, std::string_view event,
                          std::initializer_list<LogField> fields, bool json) {
  std::string line;
  line.reserve(256);
  if (json) {
    line += "{\"ts\":\"" + Timestamp(unix_ms) + "\",\"level\":\"" + Name(level) +
            "\",\"event\":" + QuoteJson(event);
  } else {
    line += Timestamp(unix_ms) + " " + Name(level) + " " + std::string(event);
  }
  for (const LogField& field : fields) {
    const auto* text = std::get_if<std::string_view>(&field.value);
    if (text != nullptr && text->empty()) continue;
    line += json ? "," + QuoteJson(field.name) + ":" : " " + std::string(field.name) + "=";
    line += FormatValue(field, json);
  }
  if (json) line += '}';
  return line;
}

void StartLog(const LogOptions& options) {
  auto sink = std::make_shared<Sink>();
  sink->json = options.json;
  sink->pool = std::make_shared<spdlog::details::thread_pool>(kQueuedLines, 1);
  sink->logger =
      std::make_shared<spdlog::async_logger>("lathe", std::make_shared<spdlog::sinks::stderr_sink_mt>(),
                                             sink->pool, spdlog::async_overflow_policy::overrun_oldest);
  sink->logger->set_pattern("%v");
  sink->logger->set_level(spdlog::level::trace);
  sink->logger->set_error_handler([](const std::string&) {});  // nowhere left to complain
  const std::lock_guard lock(g_mutex);
  g_sink = std::move(sink);
  g_level.store(static_cast<int>(options.level));
}

void StopLog() {
  std::shared_ptr<Sink> last;
  {
    const std::lock_guard lock(g_mutex);
    g_level.store(static_cast<int>(LogLevel::kOff));
    last = std::move(g_sink);
    g_sink.reset();
  }
  if (last == nullptr) return;
  last->logger->flush();
  last.reset();  // the pool's destructor writes what waits and joins its thread
}

bool LogEnabled(LogLevel level) { return static_cast<int>(level) >= g_level.load(std::memory_order_relaxed); }

void Log(LogLevel level, std::string_view event, std::initializer_list<LogField> fields) {
  if (!LogEnabled(level)) return;
  const std::shared_ptr<Sink> sink = CurrentSink();
  if (sink == nullptr) return;
  const auto now = std::chrono::duration_cast<std::chrono::milliseconds>(
                       std::chrono::system_clock::now().time_since_epoch())
                       .count();
  sink->logger->log(spdlog::level::info,
                    spdlog::string_view_t(FormatLogLine(now, level, event, fields, sink->json)));
}

}  // namespace lathe::serve
