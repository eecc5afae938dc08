#include "terminal/interrupt.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdint>

#include "base/check.h"

namespace lathe::cli {
namespace {

// An event counter rather than a flag: a read of the keyboard that is about to begin cannot miss it.
int g_event = -1;
struct sigaction g_former {};

void Note(int) {
  const int saved = errno;
  const uint64_t one = 1;
  (void)!write(g_event, &one, sizeof one);
  errno = saved;
}

}  // namespace

Interrupt::Interrupt() {
  LATHE_CHECK_EQ(g_event, -1);
  g_event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  LATHE_CHECK(g_event >= 0);
  struct sigaction action {};
  action.sa_handler = Note;
  sigemptyset(&action.sa_mask);
  action.sa_flags = SA_RESTART;
  sigaction(SIGINT, &action, &g_former);
}

Interrupt::~Interrupt() {
  sigaction(SIGINT, &g_former, nullptr);
  close(g_event);
  g_event = -1;
}

bool Interrupt::Taken() {
  uint64_t presses = 0;
  return read(g_event, &presses, sizeof presses) == sizeof presses;
}

int Interrupt::fd() const { return g_event; }

}  // namespace lathe::cli
