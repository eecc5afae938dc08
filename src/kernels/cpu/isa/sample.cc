// Vector passes over a row of logits.
#include "kernels/cpu/isa/kernels.h"
#include "kernels/cpu/isa/reduce.h"

namespace lathe::LATHE_ISA {
namespace {

constexpr float kInf = __builtin_inff();

LogitStats Stats(const float* values, int n, bool allow_minus_inf) {
  // v - v is 0 for finite v and NaN otherwise; -inf is taken out first where it is allowed.
  F largest = Set1(-kInf), strange = Zero();
  int i = 0;
  const auto look = [&](F v, F known) {
    largest = Max(v, largest);
    strange = Add(strange, Sub(known, known));
  };
  for (; i + kLanes <= n; i += kLanes) {
    const F v = Load(values + i);
    look(v, allow_minus_inf ? Max(Set1(-3e38f), v) : v);
  }
  if (i < n) {
    const F v = FillFrom(LoadN(values + i, n - i), n - i, Set1(-kInf));
    look(v, FillFrom(allow_minus_inf ? Max(Set1(-3e38f), v) : v, n - i, Zero()));
  }
  LogitStats stats;
  alignas(64) float lanes[kLanes];
  Store(lanes, strange);
  for (float lane : lanes) stats.finite = stats.finite && lane == 0;
  stats.max = MaxLane(largest);
  if (!stats.finite) return stats;
  // The maximum itself is found again: cheaper than carrying indices through the first pass.
  constexpr int kBlock = 16 * kLanes;
  int start = 0;
  for (; start + kBlock <= n; start += kBlock) {
    F block = Set1(-kInf);
    for (int j = 0; j < kBlock; j += kLanes) block = Max(Load(values + start + j), block);
    if (MaxLane(block) == stats.max) break;
  }
  while (start < n && values[start] != stats.max) ++start;
  stats.arg_max = start < n ? start : -1;
  return stats;
}

float MaxOf(const float* values, int n) {
  F largest = Set1(-kInf);
  int i = 0;
  for (; i + kLanes <= n; i += kLanes) largest = Max(Load(values + i), largest);
  if (i < n) largest = Max(FillFrom(LoadN(values + i, n - i), n - i, Set1(-kInf)), largest);
  return MaxLane(largest);
}

double SumExp(const float* values, int n, float max) {
  // f32 within a chunk, double across chunks: the error stays at that of one exp.
  constexpr int kChunk = 64 * kLanes;
  double total = 0;
  for (int start = 0; start < n; start += kChunk) {
    const int end = MinInt(n, start + kChunk);
    F acc = Zero();
    int i = start;
    for (; i + kLanes <= end; i += kLanes) acc = Add(acc, Exp(Sub(Load(values + i), Set1(max))));
    if (i < end) acc = Add(acc, FillFrom(Exp(Sub(LoadN(values + i, end - i), Set1(max))), end - i, Zero()));
    alignas(64) float lanes[kLanes];
    Store(lanes, acc);
    for (float lane : lanes) total += static_cast<double>(lane);
  }
  return total;
}

int Select(const float* values, int n, float limit, int32_t* ids, int room) {
  constexpr int kBlock = 4 * kLanes;
  int found = 0, i = 0;
  const auto scan = [&](int end) {
    for (; i < end; ++i)
      if (values[i] >= limit) {
        if (found < room) ids[found] = i;
        ++found;
      }
  };
  while (i + kBlock <= n) {
    F block = Load(values + i);
    for (int j = kLanes; j < kBlock; j += kLanes) block = Max(Load(values + i + j), block);
    if (MaxLane(block) >= limit)
      scan(i + kBlock);
    else
      i += kBlock;
  }
  scan(n);
  return found;
}

void Weigh(const float* values, const int32_t* ids, int n, float max, float temperature, uint32_t* weights) {
  const F largest = Set1(max), divisor = Set1(temperature);
  for (int i = 0; i < n; i += kLanes) {
    const int left = MinInt(kLanes, n - i);
    alignas(64) float gathered[kLanes] = {};
    if (ids)
      for (int j = 0; j < left; ++j) gathered[j] = values[ids[i + j]];
    else
      for (int j = 0; j < left; ++j) gathered[j] = values[i + j];
    alignas(64) uint32_t w[kLanes];
    StoreSampleWeights(w, Div(Sub(Load(gathered), largest), divisor));
    for (int j = 0; j < left; ++j) weights[i + j] = w[j];
  }
}

}  // namespace

const SampleFns kSampleFns = {Stats, MaxOf, SumExp, Select, Weigh};

}  // namespace lathe::LATHE_ISA
