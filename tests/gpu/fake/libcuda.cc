// A libcuda.so.1 without a device, for LATHE_LIBCUDA: the fake driver of the unit tests under the names of
// the real one, with kernels that compute on the host. The program itself then runs on a "GPU" on any
// machine.
//
// FAKE_CUDA_MEMORY   bytes of the device (default 1 GiB)
// FAKE_CUDA_CONTEXT  bytes that opening it takes in each process (default 16 MiB)
// FAKE_CUDA_SHARED   a file: processes that name the same one share the device's memory, and what one of them
//                    held is free when it is gone
// FAKE_CUDA_VERSION  of the interface (default 13000); FAKE_CUDA_SM (default 90)
// FAKE_CUDA_IDLE=1   kernels but sampling compute nothing
// CUDA_VISIBLE_DEVICES, set and empty: no device
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "platform/cuda/testing/fake_driver.h"
#include "runtime/exec/cuda/testing/host_kernels.h"

namespace lathe::cuda::testing {
namespace {

int64_t Setting(const char* name, int64_t value) {
  const char* text = std::getenv(name);
  return text != nullptr && *text != '\0' ? std::atoll(text) : value;
}

// What each process holds of the device.
class Ledger {
 public:
  Ledger() {
    const char* path = std::getenv("FAKE_CUDA_SHARED");
    fd_ = path != nullptr && *path != '\0' ? open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600) : -1;
    if (fd_ < 0) return;
    LATHE_CHECK_EQ(ftruncate(fd_, sizeof(Row) * kRows), 0);
    void* memory = mmap(nullptr, sizeof(Row) * kRows, PROT_READ | PROT_WRITE, MAP_SHARED, fd_, 0);
    LATHE_CHECK(memory != MAP_FAILED);
    rows_ = static_cast<Row*>(memory);
  }
  // False when that is more than there is; negative gives back.
  bool Take(int64_t bytes) {
    const Lock lock(fd_);
    if (bytes > 0 && Used() + bytes > total()) return false;
    Mine()->bytes += bytes;
    return true;
  }
  int64_t free() {
    const Lock lock(fd_);
    return total() - Used();
  }
  int64_t total() const { return total_; }

 private:
  struct Row {
    int64_t pid, bytes;
  };
  struct Lock {
    explicit Lock(int fd) : fd(fd) {
      if (fd >= 0) flock(fd, LOCK_EX);
    }
    ~Lock() {
      if (fd >= 0) flock(fd, LOCK_UN);
    }
    const int fd;
  };
  static constexpr int kRows = 64;

  int64_t Used() {
    int64_t sum = 0;
    for (int i = 0; i < kRows; ++i) {
      if (rows_[i].pid != 0 && kill(static_cast<pid_t>(rows_[i].pid), 0) != 0) rows_[i] = {};
      sum += rows_[i].bytes;
    }
    return sum;
  }
  Row* Mine() {
    Row* none = nullptr;
    for (int i = 0; i < kRows; ++i) {
      if (rows_[i].pid == getpid()) return &rows_[i];
      if (rows_[i].pid == 0 && none == nullptr) none = &rows_[i];
    }
    LATHE_CHECK(none != nullptr);
    none->pid = getpid();
    return none;
  }

  const int64_t total_ = Setting("FAKE_CUDA_MEMORY", int64_t{1} << 30);
  Row own_[kRows] = {};
  Row* rows_ = own_;
  int fd_ = -1;
};

Ledger& Memory() {
  static Ledger& ledger = *new Ledger;
  return ledger;
}

std::recursive_mutex& Mutex() {
  static auto& mutex = *new std::recursive_mutex;
  return mutex;
}

abi::Result Alloc(abi::DevicePtr* pointer, size_t bytes) {
  if (!Memory().Take(static_cast<int64_t>(bytes))) return abi::kErrorOutOfMemory;
  constexpr size_t kHeader = 256, kPoisoned = size_t{64} << 20;  // larger ones stay untouched
  auto* memory = static_cast<char*>(std::aligned_alloc(256, (kHeader + bytes + 255) / 256 * 256));
  std::memcpy(memory, &bytes, sizeof bytes);
  std::memset(memory + kHeader, 0xcd, std::min(bytes, kPoisoned));
  *pointer = reinterpret_cast<abi::DevicePtr>(memory + kHeader);
  return abi::kSuccess;
}

abi::Result Free(abi::DevicePtr pointer) {
  char* memory = reinterpret_cast<char*>(pointer) - 256;
  size_t bytes = 0;
  std::memcpy(&bytes, memory, sizeof bytes);
  Memory().Take(-static_cast<int64_t>(bytes));
  std::free(memory);
  return abi::kSuccess;
}

// What libnvrtc.cc beside this writes.
abi::Result LoadKernel(abi::Module* module, const void* image) {
  static const auto base = FakeDriver::Table().module_load_data;
  KernelSource source;
  std::string_view text = static_cast<const char*>(image);
  if (!text.starts_with("fake cubin\n")) return 200;  // CUDA_ERROR_INVALID_IMAGE
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), line.size() + 1));
    const auto value = [&](std::string_view key) {
      return line.starts_with(key) ? std::string(line.substr(key.size())) : std::string();
    };
    if (!value("file=").empty()) source.file = value("file=");
    if (!value("-DLATHE_ENTRY=").empty())
      source.entry = value("-DLATHE_ENTRY=");
    else if (!value("-DLATHE_THREADS=").empty())
      source.threads = std::stoi(value("-DLATHE_THREADS="));
    else if (!value("-D").empty())
      source.defines.push_back(value("-D"));
  }
  const bool idle = Setting("FAKE_CUDA_IDLE", 0) != 0 && source.file != "sample.cu";
  if (!idle) HostKernels::Install({source});
  return base(module, image);
}

abi::DriverTable MakeTable() {
  FakeDriver& fake = FakeDriver::Get();
  fake.version = static_cast<int>(Setting("FAKE_CUDA_VERSION", 13000));
  const auto sm = static_cast<int>(Setting("FAKE_CUDA_SM", 90));
  fake.devices[0] = {.name = "Fake GPU",
                     .major = sm / 10,
                     .minor = sm % 10,
                     .memory = static_cast<size_t>(Memory().total())};
  const char* visible = std::getenv("CUDA_VISIBLE_DEVICES");
  if (visible != nullptr && *visible == '\0') fake.init_result = abi::kErrorNoDevice;
  abi::DriverTable t = FakeDriver::Table();
  t.mem_alloc = Alloc;
  t.mem_free = Free;
  t.mem_get_info = [](size_t* free, size_t* total) {
    *free = static_cast<size_t>(std::max<int64_t>(0, Memory().free()));
    *total = static_cast<size_t>(Memory().total());
    return abi::kSuccess;
  };
  t.primary_ctx_retain = [](abi::Context* context, abi::Device) {
    static const int64_t bytes = Setting("FAKE_CUDA_CONTEXT", 16 << 20);
    if (!Memory().Take(bytes)) return abi::kErrorOutOfMemory;
    *context = &FakeDriver::Get();
    return abi::kSuccess;
  };
  t.primary_ctx_release = [](abi::Device) {
    Memory().Take(-Setting("FAKE_CUDA_CONTEXT", 16 << 20));
    return abi::kSuccess;
  };
  t.module_load_data = LoadKernel;
  t.event_record = [](abi::Event event, abi::Stream) {
    *static_cast<double*>(event) = NowSeconds() * 1e6;
    return abi::kSuccess;
  };
  return t;
}

const abi::DriverTable& Table() {
  static const abi::DriverTable& table = *new abi::DriverTable(MakeTable());
  return table;
}

// The fake driver is for one thread at a time; here any may call.
template <auto kMember, typename Function>
struct Locked;
template <auto kMember, typename... A>
struct Locked<kMember, abi::Result (*)(A...)> {
  static abi::Result Call(A... a) {
    static std::recursive_mutex& mutex = Mutex();
    const std::lock_guard lock(mutex);
    static const abi::DriverTable& table = Table();
    // Kept for tests that look; nobody does here.
    if (auto& launches = FakeDriver::Get().launches; launches.size() > 4096) launches.clear();
    return (table.*kMember)(a...);
  }
};

}  // namespace
}  // namespace lathe::cuda::testing

// Each function of the table under its C name, which is bound to the instance above when it is looked up.
namespace lathe::cuda::abi {
#define LATHE_FAKE_EXPORT_(member, symbol, parameters)                                 \
  extern "C" decltype(DriverTable::member) lathe_fake_resolve_##member() {             \
    return testing::Locked<&DriverTable::member, decltype(DriverTable::member)>::Call; \
  }                                                                                    \
  extern "C" Result lathe_fake_##member parameters __asm__(symbol)                     \
      __attribute__((ifunc("lathe_fake_resolve_" #member), visibility("default")));
LATHE_CUDA_DRIVER_FUNCTIONS(LATHE_FAKE_EXPORT_)
#undef LATHE_FAKE_EXPORT_
}  // namespace lathe::cuda::abi
