// KV pages in host memory on the device: what copies of them reach, and a prefix that comes back against one
// that is computed again. LATHE_OFFLOAD_MODEL names a checkpoint to take the times of; without it tales-16m
// is.
#include <algorithm>
#include <cstdlib>

#include "../e2e/determinism_check.h"
#include "base/clock.h"
#include "gpu_test_util.h"
#include "runtime/exec/cuda/page_mover.h"

namespace lathe {
namespace {

using cuda::PageGeometry;
using cuda::PageMover;

class GpuHostPages : public GpuTest {};

// Pages of an 8B model: 32 layers of 256 KiB.
class PageCopies : public GpuTest {
 protected:
  static constexpr int kLayers = 32, kPages = 160, kMoved = 64;
  static constexpr int64_t kBytes = 256 << 10;

  void SetUp() override {
    GpuTest::SetUp();
    if (IsSkipped()) return;
    device_ = *cuda::Device::Open(**cuda::Driver::Load(), 0);
    ASSERT_TRUE(device_->Bind().ok());
    pool_ = *cuda::DeviceBuffer::Allocate(*device_, kBytes * kLayers * kPages);
    stream_ = *cuda::NewStream(*device_);
    const double start = NowSeconds();
    auto mover = PageMover::Open(*device_, {.pool = pool_.address(),
                                            .layer_page_bytes = kBytes,
                                            .n_layers = kLayers,
                                            .n_pages = kPages,
                                            .n_host_pages = kMoved});
    ASSERT_TRUE(mover.ok()) << mover.status().message();
    mover_ = *std::move(mover);
    std::printf("%.0f MiB pinned in %.0f ms\n", Bytes(kMoved) / (1 << 20), (NowSeconds() - start) * 1e3);
  }
  static double Bytes(int pages) { return static_cast<double>(kBytes) * kLayers * pages; }
  cuda::abi::DevicePtr At(int page, int layer) const {
    return pool_.address() + static_cast<uint64_t>((int64_t{layer} * kPages + page) * kBytes);
  }
  // Page `first` + i of the device and page i of the host.
  void Move(int first, bool to_host) {
    Step step;
    for (int i = 0; i < kMoved; ++i) step.moves.push_back({first + i, i, to_host});
    const double start = NowSeconds();
    ASSERT_TRUE(mover_->BeforeStep(step, stream_.get()).ok());
    ASSERT_TRUE(mover_->AfterStep(step).ok());
    issued_ = NowSeconds() - start;
    ASSERT_TRUE(mover_->Drain().ok());
    seconds_ = NowSeconds() - start;
    ASSERT_TRUE(mover_->Done().ok());
  }
  void Print(const char* what) const {
    std::printf("%-28s %6.2f GB/s, issued in %.2f ms\n", what, Bytes(kMoved) / seconds_ * 1e-9,
                issued_ * 1e3);
  }

  std::unique_ptr<cuda::Device> device_;
  cuda::DeviceBuffer pool_;
  cuda::Stream stream_;
  std::unique_ptr<PageMover> mover_;
  double issued_ = 0, seconds_ = 0;
};

TEST_F(PageCopies, ArriveAndReachTheLink) {
  for (int page = 0; page < kMoved; ++page)
    for (int layer = 0; layer < kLayers; ++layer)
      ASSERT_TRUE(
          cuda::Fill(*device_, At(page, layer), static_cast<uint8_t>(page * 3 + layer), kBytes, stream_.get())
              .ok());
  ASSERT_TRUE(cuda::Synchronize(stream_).ok());
  for (int round = 0; round < 3; ++round) {
    Move(0, true);
    if (round > 0) Print("to host, a page a call");
    Move(80, false);
    if (round > 0) Print("to device, a page a call");
  }
  std::vector<uint8_t> got(kBytes);
  for (const int page : {0, 1, 37, kMoved - 1}) {
    for (int layer = 0; layer < kLayers; ++layer) {
      ASSERT_TRUE(cuda::CopyToHost(*device_, got.data(), At(80 + page, layer), kBytes, stream_.get()).ok());
      ASSERT_TRUE(cuda::Synchronize(stream_).ok());
      const auto want = static_cast<uint8_t>(page * 3 + layer);
      ASSERT_EQ(std::ranges::count(got, want), kBytes) << page << " " << layer;
    }
  }
}

// What the copies are measured against: one call for each layer of a page, and one for all bytes.
TEST_F(PageCopies, OtherWays) {
  auto host = cuda::PinnedBuffer::Allocate(*device_, kBytes * kLayers * kMoved);
  ASSERT_TRUE(host.ok()) << host.status().message();
  for (const bool whole : {false, true}) {
    for (const bool to_host : {true, false}) {
      for (int round = 0; round < 2; ++round) {
        const int64_t piece = whole ? kBytes * kLayers * kMoved : kBytes;
        const double start = NowSeconds();
        for (int64_t at = 0; at < kBytes * kLayers * kMoved; at += piece) {
          const auto i = static_cast<int>(at / kBytes);
          const auto address = whole ? pool_.address() : At(i / kLayers, i % kLayers);
          const Status status =
              to_host ? cuda::CopyToHost(*device_, host->as<char>() + at, address, piece, stream_.get())
                      : cuda::CopyToDevice(*device_, address, host->as<char>() + at, piece, stream_.get());
          ASSERT_TRUE(status.ok()) << status.message();
        }
        issued_ = NowSeconds() - start;
        ASSERT_TRUE(cuda::Synchronize(stream_).ok());
        seconds_ = NowSeconds() - start;
      }
      Print(StrFormat("to %s, %s", to_host ? "host" : "device", whole ? "all in one" : "a layer a call")
                .c_str());
    }
  }
}

const char* TimedModel() { return std::getenv("LATHE_OFFLOAD_MODEL"); }
std::string TimedEngine() {
  return BuiltEngine(TimedModel() != nullptr ? TimedModel() : TalesDir(), CudaSpec());
}
// Tokens of a prefix that fit its context.
int PrefixTokens() { return TimedModel() != nullptr ? 4096 : 1024; }

double Median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

// First tokens of prompts that differ from a known one in their last tokens: the rest is computed (never
// seen), on the device, or in host memory.
TEST_F(GpuHostPages, APrefixComesBackFasterThanItIsComputed) {
  constexpr int kRounds = 5, kTail = 8;
  auto engine = LoadEngine(TimedEngine(), {.max_context = 512});
  ASSERT_NE(engine, nullptr);
  const uint64_t token = engine->model().kv_bytes_per_token;
  engine.reset();
  const int prefix_tokens = PrefixTokens();
  engine = LoadEngine(TimedEngine(),
                      {.kv_bytes = token * static_cast<uint64_t>(prefix_tokens + 1024),
                       .host_kv_bytes = token * static_cast<uint64_t>((prefix_tokens + 1024) * (kRounds + 1)),
                       .max_context = prefix_tokens + 256});
  ASSERT_NE(engine, nullptr);
  Rng rng(3);
  std::vector<std::vector<TokenId>> prefixes;
  for (int i = 0; i < kRounds; ++i) prefixes.push_back(RandomIds(rng, prefix_tokens, engine->model().vocab));
  int found = 0;
  const auto milliseconds = [&](const std::vector<TokenId>& prefix) {
    std::vector<TokenId> ids = prefix;
    for (const TokenId id : RandomIds(rng, kTail, engine->model().vocab)) ids.push_back(id);
    const double start = NowSeconds();
    const Answer answer = RunAlone(*engine, GreedyRequest(Prompt::Ids(ids), 1));
    EXPECT_EQ(answer.ids.size(), 1u) << answer.error.message();
    found = answer.usage.cached_tokens;
    return (NowSeconds() - start) * 1e3;
  };
  std::vector<double> computed, restored, cached;
  for (int round = 0; round < 3; ++round) {
    for (const auto& prefix : prefixes) {
      (round == 0 ? computed : restored).push_back(milliseconds(prefix));
      EXPECT_EQ(found, round == 0 ? 0 : prefix_tokens);
      if (round == 0) continue;
      cached.push_back(milliseconds(prefix));
      EXPECT_EQ(found, prefix_tokens);
    }
  }
  const EngineStats stats = engine->Stats();
  EXPECT_EQ(stats.host_tokens, static_cast<uint64_t>(2 * kRounds * prefix_tokens));
  const double bytes = static_cast<double>(stats.page_bytes) * prefix_tokens / stats.page_size;
  std::printf("first token of %d tokens, ms: %.2f computed, %.2f from host memory (%.0f MiB), %.2f cached\n",
              prefix_tokens, Median(computed), Median(restored), bytes / (1 << 20), Median(cached));
  EXPECT_LT(Median(cached), Median(restored));
  if (TimedModel() != nullptr) {
    EXPECT_LT(Median(restored), Median(computed));
  }
}

// A sequence that decodes beside prefixes that come back: gaps between its tokens.
TEST_F(GpuHostPages, WhoDecodesHardlyNoticesPagesThatComeBack) {
  constexpr int kTokens = 300;
  const int prefix_tokens = PrefixTokens();
  auto engine = LoadEngine(TimedEngine(), {.max_context = 512});
  ASSERT_NE(engine, nullptr);
  const uint64_t token = engine->model().kv_bytes_per_token;
  engine.reset();
  engine = LoadEngine(TimedEngine(), {.kv_bytes = token * static_cast<uint64_t>(prefix_tokens + 2048),
                                      .host_kv_bytes = token * static_cast<uint64_t>(prefix_tokens * 6),
                                      .max_context = prefix_tokens + 256});
  ASSERT_NE(engine, nullptr);
  Rng rng(4);
  std::vector<std::vector<TokenId>> prefixes;
  for (int i = 0; i < 4; ++i) {
    prefixes.push_back(RandomIds(rng, prefix_tokens, engine->model().vocab));
    RunAlone(*engine, GreedyRequest(Prompt::Ids(prefixes.back()), 1));
  }
  for (const bool beside : {false, true}) {
    std::vector<double> times;
    const auto id =
        engine->Submit(GreedyRequest(Prompt::Ids(RandomIds(rng, 16, engine->model().vocab)), kTokens),
                       [&times](const OutputDelta&) { times.push_back(NowSeconds()); });
    ASSERT_TRUE(id.ok()) << id.status().message();
    for (int i = 0; beside && i < 4; ++i)
      RunAlone(*engine, GreedyRequest(Prompt::Ids(prefixes[static_cast<size_t>(i)]), 1));
    engine->WaitIdle();
    std::vector<double> gaps;
    for (size_t i = 1; i < times.size(); ++i) gaps.push_back((times[i] - times[i - 1]) * 1e3);
    std::printf("gaps between tokens %s, ms: %.2f median, %.2f largest\n",
                beside ? "beside 4 prefixes from host memory" : "alone", Median(gaps),
                *std::ranges::max_element(gaps));
  }
  EXPECT_GT(engine->Stats().host_tokens, 0u);
}

}  // namespace
}  // namespace lathe
