#include "serve/server/signals.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>

#include "base/check.h"

namespace lathe::serve {
namespace {

constexpr int kSignals[] = {SIGTERM, SIGINT, SIGHUP};

// Touched by the handler: descriptors and lock-free flags only.
std::atomic<int> g_event{-1};
std::atomic<int> g_stops{0}, g_reloads{0};

void Note(int signal) {
  const int saved = errno;
  if (signal == SIGHUP) {
    g_reloads.fetch_add(1);
  } else if (g_stops.fetch_add(1) > 0) {
    _exit(128 + signal);
  }
  const uint64_t one = 1;
  (void)!write(g_event.load(), &one, sizeof one);
  errno = saved;
}

}  // namespace

Signals::Signals() {
  LATHE_CHECK_EQ(g_event.load(), -1);
  g_stops = 0;
  g_reloads = 0;
  g_event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  LATHE_CHECK(g_event.load() >= 0);
  struct sigaction action {};
  action.sa_handler = Note;
  sigemptyset(&action.sa_mask);
  action.sa_flags = SA_RESTART;
  for (int i = 0; i < 3; ++i) sigaction(kSignals[i], &action, &former_[i]);
}

Signals::~Signals() {
  for (int i = 0; i < 3; ++i) sigaction(kSignals[i], &former_[i], nullptr);
  close(g_event.exchange(-1));
}

Signals::Event Signals::Wait(double seconds) {
  if (g_reloads.exchange(0) > 0) return Event::kReload;
  pollfd wait{g_event.load(), POLLIN, 0};
  if (poll(&wait, 1, static_cast<int>(seconds * 1000)) > 0) {
    uint64_t count = 0;
    (void)!read(g_event.load(), &count, sizeof count);
  }
  if (g_stops.load() > 0) return Event::kStop;
  return g_reloads.exchange(0) > 0 ? Event::kReload : Event::kNone;
}

}  // namespace lathe::serve
