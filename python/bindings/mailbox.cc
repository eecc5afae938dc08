#include "mailbox.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <utility>

#include "base/clock.h"
#include "base/status.h"

namespace lathe::python {

Expected<std::shared_ptr<Mailbox>> Mailbox::Create(bool with_descriptor) {
  std::shared_ptr<Mailbox> mailbox(new Mailbox);
  if (!with_descriptor) return mailbox;
  mailbox->descriptor_ = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  if (mailbox->descriptor_ < 0)
    return Error(StatusCode::kIo, "cannot create an event descriptor: %s", std::strerror(errno));
  return mailbox;
}

Mailbox::~Mailbox() {
  if (descriptor_ >= 0) close(descriptor_);
}

void Mailbox::Announce(uint64_t key) {
  news_.push_back(key);
  if (news_.size() > 1) return;  // whoever takes the first takes all
  arrived_.notify_all();
  const uint64_t one = 1;
  if (descriptor_ >= 0) (void)!write(descriptor_, &one, sizeof one);
}

std::vector<uint64_t> Mailbox::Take(double seconds) {
  std::unique_lock lock(mutex_);
  if (seconds > 0 && news_.empty())
    arrived_.wait_for(lock, std::chrono::duration<double>(seconds), [this] { return !news_.empty(); });
  uint64_t count = 0;
  if (descriptor_ >= 0) (void)!read(descriptor_, &count, sizeof count);
  return std::exchange(news_, {});
}

RequestState::RequestState(std::shared_ptr<Mailbox> mailbox, uint64_t key, int n, bool streams)
    : mailbox_(std::move(mailbox)), key_(key), streams_(streams), taken_(static_cast<size_t>(n)) {
  outcome_.continuations.resize(static_cast<size_t>(n));
  outcome_.submitted = NowSeconds();
}

void RequestState::OnDelta(const OutputDelta& delta) {
  const double now = NowSeconds();
  const std::lock_guard lock(mailbox_->mutex_);
  const auto index = static_cast<size_t>(delta.index);
  Continuation& continuation = outcome_.continuations[index];
  continuation.text += delta.text;
  continuation.tokens.insert(continuation.tokens.end(), delta.tokens.begin(), delta.tokens.end());
  continuation.finish = delta.finish;
  if (delta.finish == FinishReason::kError && outcome_.error.ok()) outcome_.error = delta.error;
  if (!delta.tokens.empty()) {
    if (outcome_.first == 0) outcome_.first = now;
    outcome_.last = now;
  }
  if (!delta.prompt.empty()) outcome_.prompt = delta.prompt;
  if (!delta.embedding.empty()) outcome_.embedding = delta.embedding;
  outcome_.usage = delta.usage;
  if (delta.last) {
    outcome_.queued_seconds = delta.queued_seconds;
    ended_ = true;
  }
  if (!streams_) {
    if (ended_) mailbox_->Announce(key_);
    return;
  }
  if (!taken_[index].waits) {
    taken_[index].waits = true;
    ready_.push_back(delta.index);
  }
  if (announced_) return;
  announced_ = true;
  mailbox_->Announce(key_);
}

std::optional<Piece> RequestState::TakePiece() {
  const std::lock_guard lock(mailbox_->mutex_);
  announced_ = false;  // what comes from now on is news
  if (ready_.empty()) return std::nullopt;
  Piece piece;
  piece.index = ready_.front();
  ready_.pop_front();
  const Continuation& continuation = outcome_.continuations[static_cast<size_t>(piece.index)];
  Taken& taken = taken_[static_cast<size_t>(piece.index)];
  piece.text = continuation.text.substr(taken.text);
  piece.tokens.assign(continuation.tokens.begin() + static_cast<ptrdiff_t>(taken.tokens),
                      continuation.tokens.end());
  taken = {.text = continuation.text.size(), .tokens = continuation.tokens.size(), .waits = false};
  piece.finish = continuation.finish;
  piece.last = ended_ && ready_.empty();
  piece.usage = outcome_.usage;
  return piece;
}

bool RequestState::ended() {
  const std::lock_guard lock(mailbox_->mutex_);
  return ended_;
}

Outcome RequestState::Snapshot() {
  const std::lock_guard lock(mailbox_->mutex_);
  return outcome_;
}

}  // namespace lathe::python
