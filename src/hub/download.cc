#include "hub/download.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>

#include "base/clock.h"
#include "base/file.h"
#include "hub/partial_file.h"

namespace lathe::hub {
namespace {

constexpr uint64_t kMinPiece = 8 << 20, kMaxPiece = 64 << 20;
constexpr uint64_t kTellEvery = 4 << 20;  // bytes between entries in the record of a partial file
constexpr uint64_t kCountsAsProgress = 64 << 10;
// Large files come over three connections, and over all only while these bring less than this a second: then
// the way is what holds them up, and not this machine, to which more connections are more work. One of three
// is hashing.
constexpr int kConnectionsWhenFast = 3;
constexpr double kFast = 300e6;
constexpr int kTriesOfContent = 2;  // of a file whose hash is wrong
constexpr double kMeasureSeconds = 0.1;
constexpr auto kPollTime = std::chrono::milliseconds(100);

// One file on its way.
struct Transfer {
  RemoteFile file;
  std::optional<BlobLock> lock;
  std::unique_ptr<PartialFile> partial;
  int in_flight = 0;            // pieces being fetched
  int tries = 0;                // of the whole content
  bool whole_only = false;      // the server does not serve ranges
  std::optional<Url> location;  // where the hub's redirect led last
};

bool IsLarge(const Transfer& transfer) { return transfer.file.size > kMinPiece; }

uint64_t PieceSize(uint64_t size, int connections) {
  return std::clamp(size / (static_cast<uint64_t>(connections) * 8), kMinPiece, kMaxPiece);
}

// "bytes 100-199/1000" -> 100 and 1000; false when it is something else. An unknown size ("*") is `size`.
bool ParseContentRange(std::string_view text, uint64_t size, uint64_t* begin, uint64_t* total) {
  unsigned long long first = 0, last = 0;
  char rest[32] = "";
  if (std::sscanf(std::string(text.substr(0, 120)).c_str(), "bytes %llu-%llu/%31s", &first, &last, rest) != 3)
    return false;
  *begin = first;
  *total = std::string_view(rest) == "*" ? size : std::strtoull(rest, nullptr, 10);
  return true;
}

class Downloader {
 public:
  Downloader(HubApi& api, const RepoName& repo, const std::string& commit, const DownloadOptions& options)
      : api_(api), repo_(repo), commit_(commit), options_(options), cache_(api.config().cache_dir, repo) {}

  Status Run(std::vector<RemoteFile> files);

 private:
  friend class PieceSink;
  enum class Opened { kActive, kThere, kTaken };
  struct Piece {
    Transfer* transfer;
    uint64_t begin, end;
  };

  Status CheckSpace(const std::vector<RemoteFile>& files);
  void Work();
  std::optional<Piece> NextPiece();
  std::optional<Piece> ClaimActive();
  Expected<Opened> Open(Transfer* transfer);
  Status FetchPiece(const Piece& piece);
  Status FetchOnce(const Piece& piece, uint64_t* offset, Backoff* backoff);
  Status AnswerFault(const HttpResponse& response, Transfer* transfer, bool was_located, Backoff* backoff);
  Status Complete(Transfer* transfer);
  void Fail(Status status);
  std::string Where(const Transfer& transfer) const { return transfer.file.path + " of " + repo_.Id(); }

  HubApi& api_;
  const RepoName& repo_;
  const std::string& commit_;
  const DownloadOptions& options_;
  const RepoCache cache_;
  std::atomic<uint64_t> done_bytes_{0};
  uint64_t total_bytes_ = 0;

  std::mutex mutex_;  // guards what follows
  std::condition_variable changed_;
  std::vector<std::unique_ptr<Transfer>> transfers_;
  std::deque<Transfer*> todo_, taken_;  // not begun; those that another process holds
  std::vector<Transfer*> active_;
  int opening_ = 0, workers_ = 0;
  int large_in_flight_ = 0;  // pieces of large files
  int large_allowed_ = kConnectionsWhenFast;
  bool polling_ = false;
  Status fault_;
};

// Puts one piece where it belongs.
class PieceSink final : public BodySink {
 public:
  PieceSink(Downloader& owner, Transfer* transfer, std::string asked, uint64_t end, uint64_t* offset)
      : owner_(owner),
        transfer_(transfer),
        asked_(std::move(asked)),
        end_(end),
        offset_(offset),
        told_(*offset) {}

  Expected<bool> OnHead(const HttpResponse& response) override {
    const uint64_t size = transfer_->file.size;
    uint64_t begin = 0, total = size;
    if (response.status == 206) {
      if (!ParseContentRange(response.Header("content-range"), size, &begin, &total) || begin != *offset_)
        return Error(StatusCode::kUnavailable, "%s answers with another range than it was asked for",
                     response.url.Shown().c_str());
    } else if (response.status == 200) {
      if (const std::string_view length = response.Header("content-length"); !length.empty())
        total = std::strtoull(std::string(length).c_str(), nullptr, 10);
      skip_ = *offset_;
      if (*offset_ > 0) {
        const std::lock_guard lock(owner_.mutex_);
        transfer_->whole_only = true;
      }
    } else {
      return false;
    }
    if (total != size)
      return Error(
          StatusCode::kCorrupt,
          "%s has %llu bytes by the hub's list, but the server has %llu; the upload is damaged: ask the "
          "repository's owner to upload it again, or name an older revision",
          owner_.Where(*transfer_).c_str(), static_cast<unsigned long long>(size),
          static_cast<unsigned long long>(total));
    if (response.url.ToString() != asked_) {
      const std::lock_guard lock(owner_.mutex_);
      transfer_->location = response.url;
    }
    return true;
  }

  Status OnBody(std::string_view bytes) override {
    const uint64_t skipped = std::min<uint64_t>(skip_, bytes.size());
    skip_ -= skipped;
    bytes.remove_prefix(skipped);
    const uint64_t wanted = std::min<uint64_t>(bytes.size(), end_ - *offset_);
    LATHE_RETURN_IF_ERROR(transfer_->partial->Write(*offset_, bytes.substr(0, wanted)));
    *offset_ += wanted;
    owner_.done_bytes_ += wanted;
    if (*offset_ - told_ >= kTellEvery) LATHE_RETURN_IF_ERROR(Tell());
    if (wanted < bytes.size()) return {StatusCode::kUnavailable, "more came than was asked for"};
    return Status::Ok();
  }

  Status Tell() {
    if (*offset_ == told_) return Status::Ok();
    const uint64_t from = std::exchange(told_, *offset_);
    return transfer_->partial->Done(from, *offset_);
  }

 private:
  Downloader& owner_;
  Transfer* transfer_;
  const std::string asked_;  // the address that the request began with
  const uint64_t end_;
  uint64_t* offset_;
  uint64_t told_, skip_ = 0;
};

Status Downloader::CheckSpace(const std::vector<RemoteFile>& files) {
  uint64_t wanted = 0;
  for (const RemoteFile& file : files) {
    if (FileExists(cache_.BlobPath(file.etag))) continue;
    uint64_t there = 0;
    if (FileExists(cache_.PartialPath(file.etag)))
      there = RangeLog::Load(cache_.RangesPath(file.etag), file.size).Covered();
    wanted += file.size - there;
  }
  LATHE_ASSIGN_OR_RETURN(const uint64_t room, options_.free_bytes(cache_.root()));
  if (wanted <= room) return Status::Ok();
  return Error(
      StatusCode::kResourceExhausted,
      "%s needs %s more, but the disk of '%s' has %s free; make room, or set HF_HUB_CACHE to another disk",
      repo_.Id().c_str(), SizeText(wanted).c_str(), api_.config().cache_dir.c_str(), SizeText(room).c_str());
}

Status Downloader::Run(std::vector<RemoteFile> files) {
  for (RemoteFile& file : files)
    if (file.etag.empty()) LATHE_RETURN_IF_ERROR(api_.FillIn(repo_, commit_, &file));
  LATHE_RETURN_IF_ERROR(CheckSpace(files));
  LATHE_RETURN_IF_ERROR(cache_.Prepare(commit_));
  for (RemoteFile& file : files) {
    total_bytes_ += file.size;
    transfers_.push_back(std::make_unique<Transfer>());
    transfers_.back()->file = std::move(file);
    todo_.push_back(transfers_.back().get());
  }
  const int threads = std::max(1, options_.connections);
  workers_ = threads;
  std::vector<std::thread> workers;
  for (int i = 0; i < threads; ++i) workers.emplace_back([this] { Work(); });
  std::unique_lock lock(mutex_);
  double measured_at = NowSeconds();
  uint64_t measured_bytes = done_bytes_;
  while (workers_ > 0) {
    changed_.wait_for(lock, kPollTime);
    DownloadProgress now{done_bytes_, total_bytes_, ""};
    const double time = NowSeconds();
    if (time - measured_at >= kMeasureSeconds) {
      const double rate =
          static_cast<double>(static_cast<int64_t>(now.done_bytes - measured_bytes)) / (time - measured_at);
      large_allowed_ = rate >= kFast ? kConnectionsWhenFast : threads;
      measured_at = time;
      measured_bytes = now.done_bytes;
    }
    if (!taken_.empty() && active_.empty() && todo_.empty()) now.waiting_for = taken_.front()->file.path;
    lock.unlock();
    if (options_.progress && !options_.progress(now)) Fail({StatusCode::kCancelled, "stopped"});
    lock.lock();
  }
  lock.unlock();
  for (std::thread& worker : workers) worker.join();
  api_.stop() = false;
  return fault_;
}

void Downloader::Fail(Status status) {
  const std::lock_guard lock(mutex_);
  if (fault_.ok()) fault_ = std::move(status);
  api_.stop() = true;
  changed_.notify_all();
}

void Downloader::Work() {
  while (const auto piece = NextPiece()) {
    const Status fetched = FetchPiece(*piece);
    std::unique_lock lock(mutex_);
    Transfer* transfer = piece->transfer;
    --transfer->in_flight;
    if (IsLarge(*transfer)) --large_in_flight_;
    if (transfer->in_flight == 0 && transfer->whole_only) transfer->partial->Unclaim();
    const bool last = fetched.ok() && transfer->in_flight == 0 && transfer->partial->Complete();
    if (last) std::erase(active_, transfer);
    lock.unlock();
    const Status status = last ? Complete(transfer) : fetched;
    if (!status.ok()) Fail(status);
    changed_.notify_all();
  }
  const std::lock_guard lock(mutex_);
  --workers_;
  changed_.notify_all();
}

// Under mutex_.
std::optional<Downloader::Piece> Downloader::ClaimActive() {
  for (Transfer* transfer : active_) {
    if (transfer->whole_only && transfer->in_flight > 0) continue;
    if (IsLarge(*transfer) && large_in_flight_ >= large_allowed_) continue;
    const uint64_t limit =
        transfer->whole_only ? transfer->file.size : PieceSize(transfer->file.size, options_.connections);
    if (const auto gap = transfer->partial->Claim(limit)) {
      ++transfer->in_flight;
      if (IsLarge(*transfer)) ++large_in_flight_;
      return Piece{transfer, gap->first, gap->second};
    }
  }
  return std::nullopt;
}

std::optional<Downloader::Piece> Downloader::NextPiece() {
  std::unique_lock lock(mutex_);
  while (fault_.ok()) {
    if (auto piece = ClaimActive()) return piece;
    if (!todo_.empty()) {
      Transfer* transfer = todo_.front();
      todo_.pop_front();
      ++opening_;
      lock.unlock();
      const auto opened = Open(transfer);
      if (!opened.ok()) Fail(opened.status());
      lock.lock();
      --opening_;
      if (opened.ok() && *opened == Opened::kActive) active_.push_back(transfer);
      if (opened.ok() && *opened == Opened::kTaken) taken_.push_back(transfer);
      changed_.notify_all();
      continue;
    }
    if (active_.empty() && opening_ == 0 && taken_.empty() && !polling_) return std::nullopt;
    if (!taken_.empty() && !polling_) {
      polling_ = true;
      changed_.wait_for(lock, kPollTime);
      polling_ = false;
      todo_.swap(taken_);
    } else {
      changed_.wait_for(lock, kPollTime);
    }
  }
  return std::nullopt;
}

Expected<Downloader::Opened> Downloader::Open(Transfer* transfer) {
  const RemoteFile& file = transfer->file;
  const std::string blob = cache_.BlobPath(file.etag);
  for (bool locked = false;; locked = true) {
    if (FileExists(blob)) {
      LATHE_ASSIGN_OR_RETURN(const uint64_t size, FileSize(blob));
      if (size == file.size) {
        LATHE_RETURN_IF_ERROR(cache_.Link(commit_, file.path, file.etag));
        transfer->lock.reset();
        done_bytes_ += file.size;
        return Opened::kThere;
      }
      if (locked && ::unlink(blob.c_str()) != 0)
        return Error(StatusCode::kIo, "'%s' has a wrong size and cannot be removed", blob.c_str());
    }
    if (locked) break;
    LATHE_ASSIGN_OR_RETURN(transfer->lock, BlobLock::Try(cache_.LockPath(file.etag)));
    if (!transfer->lock) return Opened::kTaken;
  }
  LATHE_ASSIGN_OR_RETURN(transfer->partial, PartialFile::Open(cache_, file));
  done_bytes_ += transfer->partial->Covered();
  if (transfer->partial
          ->Complete()) {  // of an empty file, or left by a process that ended at the last moment
    LATHE_RETURN_IF_ERROR(Complete(transfer));
    return Opened::kThere;
  }
  return Opened::kActive;
}

Status Downloader::Complete(Transfer* transfer) {
  const Status finished = transfer->partial->Finish(Where(*transfer));
  transfer->partial.reset();
  if (finished.ok()) {
    LATHE_RETURN_IF_ERROR(cache_.Link(commit_, transfer->file.path, transfer->file.etag));
    transfer->lock.reset();
    return Status::Ok();
  }
  transfer->lock.reset();
  if (finished.code() != StatusCode::kCorrupt || ++transfer->tries >= kTriesOfContent) return finished;
  done_bytes_ -= transfer->file.size;
  const std::lock_guard lock(mutex_);
  transfer->location.reset();
  todo_.push_back(transfer);
  return Status::Ok();
}

Status Downloader::FetchPiece(const Piece& piece) {
  Backoff backoff(api_.config(), &api_.stop());
  const uint64_t enough = std::min(kCountsAsProgress, piece.transfer->file.size / 32);
  for (uint64_t offset = piece.begin; offset < piece.end;) {
    const uint64_t before = offset;
    LATHE_RETURN_IF_ERROR(FetchOnce(piece, &offset, &backoff));
    if (offset - before > enough) backoff.Reset();
  }
  return Status::Ok();
}

// One request. Ok: there may be more to do, from *offset on.
Status Downloader::FetchOnce(const Piece& piece, uint64_t* offset, Backoff* backoff) {
  Transfer* transfer = piece.transfer;
  const uint64_t before = *offset;
  HttpRequest request;
  bool located = false;
  {
    const std::lock_guard lock(mutex_);
    located = transfer->location.has_value();
    request.url = located ? *transfer->location : api_.ResolveUrl(repo_, commit_, transfer->file.path);
  }
  if (*offset > 0 || piece.end < transfer->file.size)
    request.headers.emplace_back("Range",
                                 StrFormat("bytes=%llu-%llu", static_cast<unsigned long long>(*offset),
                                           static_cast<unsigned long long>(piece.end - 1)));
  PieceSink sink(*this, transfer, request.url.ToString(), piece.end, offset);
  const auto response = api_.http().Send(request, &sink);
  LATHE_RETURN_IF_ERROR(sink.Tell());
  if (*offset == piece.end) return Status::Ok();
  if (!response.ok()) {
    if (response.status().code() != StatusCode::kUnavailable) return response.status();
    const Status fault = response.status().WithContext(Where(*transfer));
    return *offset > before ? Status::Ok() : backoff->Wait(fault);
  }
  if (response->status == 200 || response->status == 206)
    return backoff->Wait(
        Error(StatusCode::kUnavailable, "%s: the answer ended early", Where(*transfer).c_str()));
  return AnswerFault(*response, transfer, located, backoff);
}

Status Downloader::AnswerFault(const HttpResponse& response, Transfer* transfer, bool was_located,
                               Backoff* backoff) {
  const Status fault = ErrorOf(response, api_.config(), repo_, Where(*transfer));
  if (IsTransient(response.status)) return backoff->Wait(fault, RetryAfter(response));
  if (response.status == 416)
    return Error(
        StatusCode::kCorrupt,
        "%s is shorter on the server than the hub's list says; the upload is damaged: ask the repository's "
        "owner to upload it again, or name an older revision",
        Where(*transfer).c_str());
  const bool from_cdn = response.url.Origin() != api_.config().endpoint.Origin();
  if ((was_located || from_cdn) && response.status >= 400 && response.status < 500) {
    // A signed address that has run out: the hub has a new one.
    const std::lock_guard lock(mutex_);
    transfer->location.reset();
  } else {
    return fault;
  }
  return backoff->Wait(fault);
}

}  // namespace

Status Download(HubApi& api, const RepoName& repo, const std::string& commit, std::vector<RemoteFile> files,
                const DownloadOptions& options) {
  return Downloader(api, repo, commit, options).Run(std::move(files));
}

}  // namespace lathe::hub
