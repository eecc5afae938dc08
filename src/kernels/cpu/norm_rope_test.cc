#include <gtest/gtest.h>

#include <algorithm>

#include "kernels/cpu/test_util.h"
#include "kernels/ref/ref.h"

namespace lathe {
namespace {

class NormTest : public testing::TestWithParam<IsaClass> {};

struct NormCase {
  int n_tokens, hidden;
  bool delta, gather;
  DType y_type;
};

TEST_P(NormTest, RmsNormIsCloseToTheOracleAndIndependentOfTheBatch) {
  const OpKernels* ops = FindOps(GetParam().isa, GetParam().numeric);
  for (const NormCase& c :
       {NormCase{1, 64, true, false, DType::kF32}, NormCase{5, 2048, true, false, DType::kBf16},
        NormCase{33, 387, false, false, DType::kF32}, NormCase{7, 130, false, true, DType::kBf16},
        NormCase{3, 3, true, false, DType::kF32}}) {
    const auto n = static_cast<size_t>(c.n_tokens * c.hidden);
    const Matrix residual = Matrix::Random(DType::kF32, n * 2, 1, 3),
                 delta = Matrix::Random(DType::kF32, n, 2);
    const Matrix gain = Matrix::Random(DType::kF32, static_cast<size_t>(c.hidden), 3);
    std::vector<int32_t> rows;
    for (int i = 0; i < c.n_tokens; ++i) rows.push_back(c.n_tokens * 2 - 1 - i);
    const auto run = [&](auto fn, Matrix& r, Matrix& y, int first, int count) {
      RmsNormParams p;
      p.n_tokens = count;
      p.hidden = c.hidden;
      p.residual = reinterpret_cast<float*>(r.bytes.data()) + (c.gather ? 0 : first * c.hidden);
      p.delta = c.delta ? reinterpret_cast<const float*>(delta.bytes.data()) + first * c.hidden : nullptr;
      p.gain = reinterpret_cast<const float*>(gain.data());
      p.eps = 1e-5f;
      p.y = y.bytes.data() + first * c.hidden * SizeOf(y.type);
      p.y_type = y.type;
      p.rows = c.gather ? rows.data() + first : nullptr;
      fn(p);
    };
    Matrix r_want = residual, y_want(DType::kF32, n);
    run([](const RmsNormParams& p) { ref::RmsNorm(p); }, r_want, y_want, 0, c.n_tokens);
    Matrix r_all = residual, y_all(c.y_type, n);
    run([&](const RmsNormParams& p) { WorkersOf(3).RunOne(ops->rmsnorm, p); }, r_all, y_all, 0, c.n_tokens);
    EXPECT_TRUE(SameBits(r_all, r_want));
    // The sum of squares has one sign, so its relative error is at most gamma(hidden).
    const double relative = (c.hidden + 8) * 0x1p-24 + (c.y_type == DType::kBf16 ? 0x1p-8 : 0);
    for (size_t i = 0; i < n; ++i)
      ASSERT_NEAR(y_all.Get(i), y_want.Get(i), relative * std::abs(y_want.Get(i))) << i;
    Matrix r_one = residual, y_one(c.y_type, n);
    for (int m = 0; m < c.n_tokens; ++m)
      run([&](const RmsNormParams& p) { WorkersOf(1).RunOne(ops->rmsnorm, p); }, r_one, y_one, m, 1);
    EXPECT_TRUE(SameBits(y_one, y_all));
    EXPECT_TRUE(SameBits(r_one, r_all));
  }
}

TEST_P(NormTest, RmsNormWithoutOutputOnlyAdds) {
  Matrix r = Matrix::Random(DType::kF32, 100, 1), want = r;
  const Matrix delta = Matrix::Random(DType::kF32, 100, 2);
  RmsNormParams p;
  p.n_tokens = 1;
  p.hidden = 100;
  p.delta = reinterpret_cast<const float*>(delta.data());
  p.residual = reinterpret_cast<float*>(want.data());
  ref::RmsNorm(p);
  p.residual = reinterpret_cast<float*>(r.data());
  WorkersOf(2).RunOne(FindOps(GetParam().isa, GetParam().numeric)->rmsnorm, p);
  EXPECT_TRUE(SameBits(r, want));
}

TEST_P(NormTest, EmbedCopiesRowsOfBothLayouts) {
  const OpKernels* ops = FindOps(GetParam().isa, GetParam().numeric);
  const std::vector<int32_t> tokens = {0, 129, 64, 63, 1, 1, 77};
  for (const int hidden : {64, 129, 7})
    for (const DType type : {DType::kBf16, DType::kF32}) {
      constexpr int kVocab = 130;
      const Matrix table = Matrix::Random(type, static_cast<size_t>(kVocab * hidden), 4);
      Matrix packed(
          type, static_cast<size_t>(PackedBytes(kVocab, hidden, type)) / static_cast<size_t>(SizeOf(type)));
      PackRows({.data = packed.data(), .N = kVocab, .K = hidden, .type = type}, 0, kVocab, table.data(), type,
               hidden);
      for (const bool is_packed : {false, true}) {
        std::vector<float> x(tokens.size() * static_cast<size_t>(hidden)), want = x;
        EmbedParams p;
        p.n_tokens = static_cast<int>(tokens.size());
        p.hidden = hidden;
        p.vocab = kVocab;
        p.token_ids = tokens.data();
        p.table = is_packed ? packed.data() : table.data();
        p.table_type = type;
        p.packed = is_packed;
        p.x = x.data();
        WorkersOf(2).RunOne(ops->embed, p);
        p.x = want.data();
        ref::Embed(p);
        EXPECT_EQ(x, want) << hidden << is_packed;
        EXPECT_EQ(x[static_cast<size_t>(hidden)], table.Get(static_cast<size_t>(129 * hidden)));
      }
    }
}

struct RopeCase {
  int n_heads, n_kv_heads, head_dim, rotary_dim, page_size;
  bool norm;
};

TEST_P(NormTest, RopeAppendWritesQueriesAndPages) {
  const auto [isa, numeric] = GetParam();
  for (const RopeCase& c : {RopeCase{4, 2, 64, 64, 16, false}, RopeCase{6, 3, 80, 32, 32, true},
                            RopeCase{2, 1, 34, 34, 64, true}, RopeCase{3, 3, 256, 128, 16, false}}) {
    KvLayout kv;
    kv.page_size = c.page_size;
    kv.n_kv_heads = c.n_kv_heads;
    kv.head_dim = c.head_dim;
    kv.type = KvType(numeric);
    const std::vector<int32_t> pages_a = {2, 0, 5, 1}, pages_b = {3, 4};
    const std::vector<AttnSeq> seqs = {
        {.first_row = 0, .n_rows = 19, .first_position = 5, .pages = pages_a.data()},
        {.first_row = 19, .n_rows = 1, .first_position = 17, .pages = pages_b.data()}};
    constexpr int kTokens = 20;
    const int width = (c.n_heads + 2 * c.n_kv_heads) * c.head_dim, half = c.rotary_dim / 2;
    const Matrix qkv = Matrix::Random(DType::kF32, static_cast<size_t>(kTokens * width), 5);
    const Matrix gain = Matrix::Random(DType::kF32, 512, 6);
    std::vector<float> cos, sin;
    for (int i = 0; i < kTokens * half; ++i) {
      cos.push_back(std::cos(static_cast<float>(i)));
      sin.push_back(std::sin(static_cast<float>(i)));
    }
    const auto run = [&](auto fn, Matrix& q, Matrix& pool, int threads) {
      RopeAppendParams p;
      p.n_tokens = kTokens;
      p.n_heads = c.n_heads;
      p.rotary_dim = c.rotary_dim;
      p.qkv = reinterpret_cast<const float*>(qkv.data());
      p.ld_qkv = width;
      p.q_gain = c.norm ? reinterpret_cast<const float*>(gain.data()) : nullptr;
      p.k_gain = c.norm ? reinterpret_cast<const float*>(gain.data()) + 256 : nullptr;
      p.norm_eps = 1e-6f;
      p.cos = cos.data();
      p.sin = sin.data();
      p.q_scale = 0.125f;
      p.q_out = q.data();
      p.q_type = q.type;
      p.kv = kv;
      p.kv_base = pool.data();
      p.seqs = seqs.data();
      p.n_seqs = 2;
      fn(p, threads);
    };
    const auto n_q = static_cast<size_t>(kTokens * c.n_heads * c.head_dim);
    const auto n_pool = static_cast<size_t>(6 * kv.PageBytes() / SizeOf(kv.type));
    Matrix q_want(ActivationType(numeric), n_q), pool_want(kv.type, n_pool);
    run([](const RopeAppendParams& p, int) { ref::RopeAppend(p); }, q_want, pool_want, 1);
    Matrix q_first(q_want.type, n_q), pool_first(kv.type, n_pool);
    for (const int threads : {1, 2, 3}) {
      Matrix q(q_want.type, n_q), pool(kv.type, n_pool);
      run([&](const RopeAppendParams& p,
              int t) { WorkersOf(t).RunOne(FindOps(isa, numeric)->rope_append, p); },
          q, pool, threads);
      const auto expect_near = [&](const Matrix& got, const Matrix& want, size_t n) {
        // A rotation of values up to ~5 (times a gain up to ~4), some ulps, then half an ulp of the stored
        // type on either side.
        const double store = got.type == DType::kBf16 ? 0x1p-7 : 0x1p-23;
        for (size_t i = 0; i < n; ++i)
          ASSERT_NEAR(got.Get(i), want.Get(i),
                      40 * (c.head_dim + 8) * 0x1p-24 + store * std::abs(want.Get(i)))
              << i;
      };
      expect_near(q, q_want, n_q);
      expect_near(pool, pool_want, n_pool);
      if (threads == 1) {
        q_first = q;
        pool_first = pool;
      }
      EXPECT_TRUE(SameBits(q, q_first));
      EXPECT_TRUE(SameBits(pool, pool_first));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, NormTest, testing::ValuesIn(AllIsaClasses()), NameOf);

}  // namespace
}  // namespace lathe
