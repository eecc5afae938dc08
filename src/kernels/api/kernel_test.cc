#include "kernels/api/kernel.h"

#include <gtest/gtest.h>

namespace lathe {
namespace {

TEST(Cost, GemmCountsPaddedWeightsOnce) {
  const GemmParams p{.M = 3, .N = 100, .K = 33};
  const Cost fma = CostOf(p, NumericClass::kBf16Fma);
  EXPECT_EQ(fma.flops, 2.0 * 3 * 100 * 33);
  EXPECT_EQ(fma.bytes, 128 * 34 * 2 + 3 * 33 * 4 + 3 * 100 * 4);
  EXPECT_EQ(CostOf(p, NumericClass::kF32).bytes, 128 * 34 * 4 + 3 * 33 * 4 + 3 * 100 * 4);
  EXPECT_EQ(CostOf(p, NumericClass::kBf16Dot).bytes, 128 * 34 * 2 + 3 * 33 * 2 + 3 * 100 * 4);
}

TEST(Cost, GemmSiluMulWritesHalf) {
  GemmParams p{.M = 2, .N = 256, .K = 64};
  p.silu_mul = true;
  p.y_type = DType::kBf16;
  EXPECT_EQ(CostOf(p, NumericClass::kBf16Fma).bytes, 256 * 64 * 2 + 2 * 64 * 4 + 2 * 128 * 2);
}

TEST(Cost, LargeShapesDoNotOverflow) {
  const GemmParams p{.M = 8192, .N = 262144, .K = 16384};
  EXPECT_EQ(CostOf(p, NumericClass::kBf16Fma).flops, 2.0 * 8192 * 262144 * 16384);
}

// Against counting key by key.
TEST(Cost, AttentionCountsVisibleKeys) {
  for (const int window : {0, 1, 7, 64}) {
    for (const int first : {0, 3, 63, 200}) {
      const AttnSeq seq{.first_row = 0, .n_rows = 5, .first_position = first};
      AttentionParams p;
      p.n_tokens = 5;
      p.n_heads = 4;
      p.kv = {.page_size = 16, .n_kv_heads = 2, .head_dim = 8, .type = DType::kBf16};
      p.seqs = &seq;
      p.n_seqs = 1;
      p.window = window;
      int64_t pairs = 0, low = 1 << 30;
      for (int row = first; row < first + 5; ++row)
        for (int key = 0; key <= row; ++key)
          if (window == 0 || key > row - window) {
            ++pairs;
            low = std::min<int64_t>(low, key);
          }
      const Cost cost = CostOf(p, NumericClass::kBf16Fma);
      EXPECT_EQ(cost.flops, pairs * 4.0 * 4 * 8) << window << " " << first;
      EXPECT_EQ(cost.bytes, static_cast<double>((first + 5 - low) * 2 * 2 * 8 * 2 + 5 * 4 * 8 * 8));
    }
  }
}

TEST(Names, AreDistinct) {
  EXPECT_EQ(ToString(Isa::kAvx512Bf16), "avx512bf16");
  EXPECT_EQ(ToString(NumericClass::kBf16Dot), "bf16-dot");
  EXPECT_EQ(ToString(OpKind::kRopeAppend), "rope_append");
}

TEST(Worker, HandsOutEachTaskOnce) {
  std::atomic<int> next{0};
  const Worker worker{.index = 0, .count = 1, .next_task = &next, .scratch = {}};
  EXPECT_EQ(worker.Next(2), 0);
  EXPECT_EQ(worker.Next(2), 1);
  EXPECT_EQ(worker.Next(2), -1);
  EXPECT_EQ(worker.Next(2), -1);
}

TEST(AttentionWorkspace, NoneForOneThreadAndBounded) {
  EXPECT_EQ(AttentionWorkspaceBytes(1, 32, 64, 4096), 0);
  EXPECT_GT(AttentionWorkspaceBytes(2, 32, 64, 4096), 16 * 32 * 66 * 4);
  EXPECT_LE(AttentionWorkspaceBytes(256, 128, 256, 1 << 20), 32 << 20);
}

}  // namespace
}  // namespace lathe
