#include "runtime/exec/cuda/upload_weights.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <mutex>
#include <thread>
#include <vector>

#include "platform/topology.h"

namespace lathe::cuda {
namespace {

// Long enough that starting a copy costs nothing, short enough that two a thread are no matter of memory.
constexpr uint64_t kChunk = uint64_t{8} << 20;
constexpr int kMostThreads = 8;

class Uploader {
 public:
  Uploader(const Device& device, const std::string& path, int fd, uint64_t offset, uint64_t bytes,
           abi::DevicePtr to, const std::function<void(uint64_t, uint64_t)>& progress)
      : device_(device), path_(path), fd_(fd), offset_(offset), bytes_(bytes), to_(to), progress_(progress) {}

  // Of one thread: chunks until there are none left, or somebody failed.
  void Work() {
    const Status status = Chunks();
    if (status.ok()) return;
    const std::lock_guard lock(mutex_);
    if (status_.ok()) status_ = status;
    next_ = bytes_;
  }
  const Status& status() const { return status_; }

 private:
  struct Slot {
    PinnedBuffer memory;
    Event copied;
    bool in_use = false;
  };

  Status Chunks() {
    LATHE_RETURN_IF_ERROR(device_.Bind());
    LATHE_ASSIGN_OR_RETURN(const Stream stream, NewStream(device_));
    Slot slots[2];
    for (Slot& slot : slots) {
      LATHE_ASSIGN_OR_RETURN(slot.memory, PinnedBuffer::Allocate(device_, static_cast<int64_t>(kChunk)));
      LATHE_ASSIGN_OR_RETURN(slot.copied, NewEvent(device_));
    }
    Status status = CopyAll(stream, slots);
    // Pinned memory must not go while a copy reads it.
    const Status end = Synchronize(stream);
    return status.ok() ? end : status;
  }

  Status CopyAll(const Stream& stream, Slot* slots) {
    for (int i = 0;; i ^= 1) {
      const uint64_t at = next_.fetch_add(kChunk);
      if (at >= bytes_) return Status::Ok();
      const uint64_t n = std::min(kChunk, bytes_ - at);
      Slot& slot = slots[i];
      if (slot.in_use)
        LATHE_RETURN_IF_ERROR(
            device_.Check(device_.api().event_synchronize(slot.copied.get()), "cuEventSynchronize"));
      LATHE_RETURN_IF_ERROR(Read(at, n, slot.memory.as<char>()));
      LATHE_RETURN_IF_ERROR(
          CopyToDevice(device_, to_ + at, slot.memory.as<char>(), static_cast<int64_t>(n), stream.get()));
      LATHE_RETURN_IF_ERROR(
          device_.Check(device_.api().event_record(slot.copied.get(), stream.get()), "cuEventRecord"));
      slot.in_use = true;
      if (!progress_) continue;
      const std::lock_guard lock(mutex_);
      progress_(done_ += n, bytes_);
    }
  }

  Status Read(uint64_t at, uint64_t n, char* to) const {
    for (uint64_t done = 0; done < n;) {
      const ssize_t got = pread(fd_, to + done, n - done, static_cast<off_t>(offset_ + at + done));
      if (got > 0) {
        done += static_cast<uint64_t>(got);
      } else if (got == 0 || errno != EINTR) {
        return Error(StatusCode::kIo, "engine '%s' cannot be read at byte %llu: %s", path_.c_str(),
                     static_cast<unsigned long long>(offset_ + at + done),
                     got == 0 ? "the file ends there" : std::strerror(errno));
      }
    }
    return Status::Ok();
  }

  const Device& device_;
  const std::string& path_;
  const int fd_;
  const uint64_t offset_, bytes_;
  const abi::DevicePtr to_;
  const std::function<void(uint64_t, uint64_t)>& progress_;
  std::atomic<uint64_t> next_{0};
  std::mutex mutex_;
  uint64_t done_ = 0;  // under mutex_
  Status status_;      // under mutex_
};

}  // namespace

Status UploadWeights(const Device& device, const std::string& path, uint64_t offset, uint64_t bytes,
                     abi::DevicePtr to, int threads,
                     const std::function<void(uint64_t done, uint64_t total)>& progress) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0)
    return Error(StatusCode::kIo, "engine '%s' cannot be opened: %s", path.c_str(), std::strerror(errno));
  posix_fadvise(fd, static_cast<off_t>(offset), static_cast<off_t>(bytes), POSIX_FADV_SEQUENTIAL);
  if (threads == 0) threads = std::min(kMostThreads, ReadTopology().usable_cpus());
  threads = static_cast<int>(
      std::clamp<uint64_t>((bytes + kChunk - 1) / kChunk, 1, static_cast<uint64_t>(threads)));
  Uploader uploader(device, path, fd, offset, bytes, to, progress);
  std::vector<std::thread> team;
  for (int i = 1; i < threads; ++i) team.emplace_back([&] { uploader.Work(); });
  uploader.Work();
  for (std::thread& thread : team) thread.join();
  close(fd);
  return uploader.status();
}

}  // namespace lathe::cuda
