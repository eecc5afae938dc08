#include "terminal/interrupt.h"

#include <atomic>
#include <csignal>

#include "base/check.h"

namespace lathe::cli {
namespace {

std::atomic<bool> g_pressed{false};
static_assert(std::atomic<bool>::is_always_lock_free, "set from a signal handler");
struct sigaction g_former {};
bool g_installed = false;

}  // namespace

Interrupt::Interrupt() {
  LATHE_CHECK(!g_installed);
  g_installed = true;
  g_pressed = false;
  struct sigaction action {};
  action.sa_handler = [](int) { g_pressed = true; };
  sigemptyset(&action.sa_mask);
  action.sa_flags = 0;  // no SA_RESTART: a read of the keyboard has to come back
  sigaction(SIGINT, &action, &g_former);
}

Interrupt::~Interrupt() {
  sigaction(SIGINT, &g_former, nullptr);
  g_installed = false;
}

bool Interrupt::Taken() { return g_pressed.exchange(false); }
bool Interrupt::Pending() const { return g_pressed; }

}  // namespace lathe::cli
