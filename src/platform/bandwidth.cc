#include "platform/bandwidth.h"

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>

#include "base/clock.h"
#include "platform/cpu_info.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace lathe {
namespace {

constexpr size_t kChunk = 4096;

// Each reader folds n chunks into one word, so that no load can be left out.
using ReadFn = uint64_t (*)(const char* data, size_t n_chunks);

uint64_t ReadPortable(const char* data, size_t n_chunks) {
  uint64_t lanes[8] = {};
  for (size_t c = 0; c < n_chunks; ++c, data += kChunk)
    for (size_t i = 0; i < kChunk; i += sizeof(lanes)) {
      uint64_t words[8];
      std::memcpy(words, data + i, sizeof(words));
      for (int j = 0; j < 8; ++j) lanes[j] ^= words[j];
    }
  uint64_t out = 0;
  for (uint64_t lane : lanes) out ^= lane;
  return out;
}

#if defined(__x86_64__)
[[gnu::target("avx2")]] uint64_t ReadAvx2(const char* data, size_t n_chunks) {
  __m256i acc[4] = {};
  for (size_t c = 0; c < n_chunks; ++c, data += kChunk)
    for (size_t i = 0; i < kChunk; i += 128)
      for (int j = 0; j < 4; ++j)
        acc[j] =
            _mm256_xor_si256(acc[j], _mm256_loadu_si256(reinterpret_cast<const __m256i*>(data + i + 32 * j)));
  const __m256i sum = _mm256_xor_si256(_mm256_xor_si256(acc[0], acc[1]), _mm256_xor_si256(acc[2], acc[3]));
  uint64_t words[4];
  std::memcpy(words, &sum, sizeof(words));
  return words[0] ^ words[1] ^ words[2] ^ words[3];
}

[[gnu::target("avx512f")]] uint64_t ReadAvx512(const char* data, size_t n_chunks) {
  __m512i acc[4] = {};
  for (size_t c = 0; c < n_chunks; ++c, data += kChunk)
    for (size_t i = 0; i < kChunk; i += 256)
      for (int j = 0; j < 4; ++j) acc[j] = _mm512_xor_si512(acc[j], _mm512_loadu_si512(data + i + 64 * j));
  const __m512i sum = _mm512_xor_si512(_mm512_xor_si512(acc[0], acc[1]), _mm512_xor_si512(acc[2], acc[3]));
  uint64_t words[8];
  std::memcpy(words, &sum, sizeof(words));
  uint64_t out = 0;
  for (uint64_t word : words) out ^= word;
  return out;
}

// 16 independent chains cover the latency of the unit; the loop is counted in multiply-adds per chain.
constexpr int kChains = 16;

[[gnu::target("avx512f")]] float FmaAvx512(int64_t rounds) {
  __m512 acc[kChains];
  for (int i = 0; i < kChains; ++i) acc[i] = _mm512_set1_ps(static_cast<float>(i));
  const __m512 a = _mm512_set1_ps(0.5f), b = _mm512_set1_ps(0.25f);
  for (int64_t r = 0; r < rounds; ++r)
    for (int i = 0; i < kChains; ++i) acc[i] = _mm512_fmadd_ps(acc[i], a, b);
  __m512 sum = acc[0];
  for (int i = 1; i < kChains; ++i) sum = _mm512_add_ps(sum, acc[i]);
  return _mm512_cvtss_f32(sum);
}

[[gnu::target("avx512f,avx512bf16,avx512bw,avx512vl,avx512dq")]] float DotAvx512(int64_t rounds) {
  __m512 acc[kChains];
  for (int i = 0; i < kChains; ++i) acc[i] = _mm512_set1_ps(static_cast<float>(i));
  const __m512bh a = reinterpret_cast<__m512bh>(_mm512_set1_epi32(0x3e803e80));
  for (int64_t r = 0; r < rounds; ++r)
    for (int i = 0; i < kChains; ++i) acc[i] = _mm512_dpbf16_ps(acc[i], a, a);
  __m512 sum = acc[0];
  for (int i = 1; i < kChains; ++i) sum = _mm512_add_ps(sum, acc[i]);
  return _mm512_cvtss_f32(sum);
}

[[gnu::target("avx2,fma")]] float FmaAvx2(int64_t rounds) {
  constexpr int kRegisters = 12;
  __m256 acc[kRegisters];
  for (int i = 0; i < kRegisters; ++i) acc[i] = _mm256_set1_ps(static_cast<float>(i));
  const __m256 a = _mm256_set1_ps(0.5f), b = _mm256_set1_ps(0.25f);
  for (int64_t r = 0; r < rounds; ++r)
    for (int i = 0; i < kRegisters; ++i) acc[i] = _mm256_fmadd_ps(acc[i], a, b);
  __m256 sum = acc[0];
  for (int i = 1; i < kRegisters; ++i) sum = _mm256_add_ps(sum, acc[i]);
  return _mm256_cvtss_f32(sum);
}
#endif

float FmaPortable(int64_t rounds) {
  float acc[16];
  for (int i = 0; i < 16; ++i) acc[i] = static_cast<float>(i);
  for (int64_t r = 0; r < rounds; ++r)
    for (float& lane : acc) lane = lane * 0.5f + 0.25f;
  float sum = 0;
  for (float lane : acc) sum += lane;
  return sum;
}

ReadFn PickReader() {
#if defined(__x86_64__)
  if (GetCpuInfo().features.avx512) return ReadAvx512;
  if (GetCpuInfo().features.avx2) return ReadAvx2;
#endif
  return ReadPortable;
}

// GFLOP/s of the team running `fn`, each round worth `flops` a thread.
double TimeFlops(Team& team, float (*fn)(int64_t), double flops, double milliseconds) {
  constexpr int kRuns = 5;
  std::atomic<uint32_t> sink{0};
  const auto time = [&](int64_t rounds) {
    const double start = NowSeconds();
    team.Run([&](int) { sink.fetch_add(static_cast<uint32_t>(fn(rounds)), std::memory_order_relaxed); });
    return NowSeconds() - start;
  };
  int64_t rounds = 4096;
  while (time(rounds) * 1e3 < milliseconds / 2) rounds *= 2;
  double best = 0;
  for (int run = 0; run < kRuns; ++run)
    best = std::max(best, flops * static_cast<double>(rounds) * team.size() / time(rounds));
  return best / 1e9;
}

}  // namespace

double MeasureReadBandwidth(Team& team, size_t bytes, int runs, double budget_ms) {
  const double deadline = NowSeconds() + budget_ms * 1e-3;
  const size_t threads = static_cast<size_t>(team.size());
  const size_t per_thread = std::max(bytes / threads / kChunk, size_t{1}) * kChunk;
  const size_t total = per_thread * threads;
  void* memory = mmap(nullptr, total, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return 0;
  // Engines map files with small pages but are read with long streams; large pages show the memory's own
  // speed.
  (void)madvise(memory, total, MADV_HUGEPAGE);
  char* base = static_cast<char*>(memory);
  const auto part = [&](int index) { return base + static_cast<size_t>(index) * per_thread; };
  team.Run([&](int index) { std::memset(part(index), index + 1, per_thread); });
  const ReadFn read = PickReader();
  std::atomic<uint64_t> sink{0};
  double best = 0;
  for (int run = 0; run == 0 || (run < runs && NowSeconds() < deadline); ++run) {
    const double start = NowSeconds();
    team.Run([&](int index) {
      sink.fetch_xor(read(part(index), per_thread / kChunk), std::memory_order_relaxed);
    });
    best = std::max(best, static_cast<double>(total) / (NowSeconds() - start));
  }
  munmap(memory, total);
  return best / 1e9;
}

PeakFlops MeasurePeakFlops(Team& team, double milliseconds) {
  PeakFlops peak;
#if defined(__x86_64__)
  const CpuFeatures& f = GetCpuInfo().features;
  if (f.avx512) {
    peak.f32_fma = TimeFlops(team, FmaAvx512, 2.0 * 16 * kChains, milliseconds);
  } else if (f.avx2 && f.fma) {
    peak.f32_fma = TimeFlops(team, FmaAvx2, 2.0 * 8 * 12, milliseconds);
  }
  if (f.avx512_bf16) peak.bf16_dot = TimeFlops(team, DotAvx512, 4.0 * 16 * kChains, milliseconds);
#endif
  if (peak.f32_fma == 0) peak.f32_fma = TimeFlops(team, FmaPortable, 2.0 * 16, milliseconds);
  return peak;
}

}  // namespace lathe
