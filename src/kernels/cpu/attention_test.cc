#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "kernels/cpu/test_util.h"
#include "kernels/ref/ref.h"

namespace lathe {
namespace {

struct Model {
  int n_heads, n_kv_heads, head_dim, page_size;
  int window = 0;
};

// A pool of pages with every key and value of a few sequences in it, their pages scattered. Slots that no
// position has reached hold NaN: a kernel must not let them into a result.
struct Cache {
  Model model;
  KvLayout kv;
  std::vector<int> lengths;
  Matrix pool;
  std::vector<std::vector<int32_t>> pages;

  Cache(const Model& m, DType type, std::vector<int> sequence_lengths)
      : model(m), lengths(std::move(sequence_lengths)), pool(type, 0) {
    kv.page_size = m.page_size;
    kv.n_kv_heads = m.n_kv_heads;
    kv.head_dim = m.head_dim;
    kv.type = type;
    int n_pages = 1;
    for (int length : lengths) n_pages += (length + m.page_size - 1) / m.page_size;
    pool = Matrix(type, static_cast<size_t>(n_pages * kv.PageBytes() / SizeOf(type)));
    std::fill(pool.bytes.begin(), pool.bytes.end(), std::byte{0xff});  // NaN in both types
    int next = n_pages - 1;  // page 0 stays unused, the others are taken from the end
    Rng rng(17);
    for (int length : lengths) {
      std::vector<int32_t> table;
      for (int at = 0; at < length; at += m.page_size) table.push_back(next--);
      std::swap(table.front(), table.back());
      for (int position = 0; position < length; ++position)
        for (int head = 0; head < m.n_kv_heads; ++head)
          for (int d = 0; d < m.head_dim; ++d) {
            pool.Set(Index(ref::KeyOffset(kv, table.data(), head, position, d)), rng.Normal());
            pool.Set(Index(ref::ValueOffset(kv, table.data(), head, position, d)), rng.Normal());
          }
      pages.push_back(std::move(table));
    }
  }
  size_t Index(int64_t byte_offset) const { return static_cast<size_t>(byte_offset / SizeOf(kv.type)); }
};

// Rows of a step: for sequence s the last rows[s] positions of the first ends[s] tokens.
struct StepRows {
  std::vector<AttnSeq> seqs;
  int n_tokens = 0;
  void Add(const Cache& cache, size_t s, int end, int rows) {
    seqs.push_back({.first_row = n_tokens,
                    .n_rows = rows,
                    .first_position = end - rows,
                    .pages = cache.pages[s].data()});
    n_tokens += rows;
  }
};

// Queries are a function of (sequence, position), so that every step shape asks the same questions.
Matrix Queries(const Cache& cache, const StepRows& step, DType type) {
  const auto row_size = static_cast<size_t>(cache.model.n_heads * cache.model.head_dim);
  Matrix q(type, static_cast<size_t>(step.n_tokens) * row_size);
  for (const AttnSeq& seq : step.seqs)
    for (int r = 0; r < seq.n_rows; ++r) {
      Rng rng(static_cast<uint64_t>(seq.first_position + r) * 977 + static_cast<uint64_t>(seq.pages[0]));
      for (size_t i = 0; i < row_size; ++i)
        q.Set(static_cast<size_t>(seq.first_row + r) * row_size + i,
              rng.Normal() / std::sqrt(static_cast<float>(cache.model.head_dim)));
    }
  return q;
}

AttentionParams ParamsOf(const Cache& cache, const StepRows& step, const Matrix& q, Matrix& y) {
  AttentionParams p;
  p.n_tokens = step.n_tokens;
  p.n_heads = cache.model.n_heads;
  p.q = q.data();
  p.q_type = q.type;
  p.kv = cache.kv;
  p.kv_base = cache.pool.data();
  p.seqs = step.seqs.data();
  p.n_seqs = static_cast<int>(step.seqs.size());
  p.window = cache.model.window;
  p.y = y.data();
  p.y_type = y.type;
  return p;
}

Matrix Attend(const IsaClass& c, const Cache& cache, const StepRows& step, DType y_type, int threads,
              bool split = false) {
  const Matrix q = Queries(cache, step, ActivationType(c.numeric));
  Matrix y(y_type, static_cast<size_t>(step.n_tokens * cache.model.n_heads * cache.model.head_dim));
  AttentionParams p = ParamsOf(cache, step, q, y);
  static std::vector<std::byte> workspace(size_t{8} << 20);
  if (split) {
    p.workspace = workspace.data();
    p.workspace_bytes = static_cast<int64_t>(workspace.size());
  }
  WorkersOf(threads).RunOne(FindOps(c.isa, c.numeric)->attention, p);
  return y;
}

std::vector<float> RowOf(const Matrix& y, const Cache& cache, int row) {
  std::vector<float> out;
  const int n = cache.model.n_heads * cache.model.head_dim;
  for (int i = 0; i < n; ++i) out.push_back(y.Get(static_cast<size_t>(row * n + i)));
  return out;
}

std::vector<Model> Models() {
  const std::vector<Model> all = {
      {6, 2, 64, 64, 100}, {4, 4, 80, 32},    {4, 2, 64, 16},   {8, 1, 96, 16, 300},
      {3, 1, 128, 64},     {2, 1, 34, 32, 7}, {10, 2, 256, 16},
  };
  return {all.begin(), kInstrumented ? all.begin() + 2 : all.end()};
}

class AttentionTest : public testing::TestWithParam<IsaClass> {};

// What the oracle says for one model and class; the ISAs share it.
const Matrix& Reference(size_t index, const Cache& cache, const StepRows& step, NumericClass numeric) {
  static std::map<std::pair<size_t, NumericClass>, Matrix> known;
  const auto [it, fresh] =
      known.try_emplace({index, numeric}, DType::kF32,
                        static_cast<size_t>(step.n_tokens * cache.model.n_heads * cache.model.head_dim));
  if (fresh) {
    const Matrix q = Queries(cache, step, ActivationType(numeric));
    AttentionParams p = ParamsOf(cache, step, q, it->second);
    ref::Attention(p);
  }
  return it->second;
}

// |error| <= (2 d + c) max|V|: the scores are within d = gamma(dim) * sum|q||k| of exact, which moves every
// weight by at most a factor e^(2d); c collects exp, the sums over keys, merging and division.
TEST_P(AttentionTest, CloseToTheOracleWithinTheErrorBound) {
  const NumericClass numeric = GetParam().numeric;
  const std::vector<Model> models = Models();
  for (size_t index = 0; index < models.size(); ++index) {
    const Model& model = models[index];
    const Cache cache(model, KvType(numeric), {530, 40, 1});
    StepRows step;
    step.Add(cache, 0, 530, 1);
    step.Add(cache, 1, 40, 11);
    step.Add(cache, 2, 1, 1);
    step.Add(cache, 0, 265, 13);
    const Matrix& want = Reference(index, cache, step, numeric);
    for (const DType y_type : {DType::kF32, DType::kBf16}) {
      const Matrix y = Attend(GetParam(), cache, step, y_type, 2);
      // Normal values: |q||k| sums to at most ~4 sqrt(dim) with room to spare, |V| < 6.
      const double gamma = 2.0 * (model.head_dim + 2) * 0x1p-24;
      const double bound =
          (2 * gamma * 4 * std::sqrt(model.head_dim) + 2.0 * (kAttnBlock + 64) * 0x1p-24) * 6;
      const int n = model.n_heads * model.head_dim;
      for (int i = 0; i < step.n_tokens * n; ++i) {
        const double w = want.Get(static_cast<size_t>(i));
        ASSERT_NEAR(y.Get(static_cast<size_t>(i)), w,
                    bound + (y_type == DType::kBf16 ? 0x1p-8 * std::abs(w) : 0))
            << "dim " << model.head_dim << " row " << i / n;
      }
    }
  }
}

// Decode one by one, one prompt, chunks of several sizes, with company, split over threads: the same bits.
TEST_P(AttentionTest, BitsDependOnTheRowAlone) {
  const NumericClass numeric = GetParam().numeric;
  for (const Model& model : Models()) {
    constexpr int kLength = 530;
    const Cache cache(model, KvType(numeric), {kLength, 300});
    StepRows whole;
    whole.Add(cache, 0, kLength, kLength);
    const Matrix all = Attend(GetParam(), cache, whole, DType::kF32, 2);
    for (const int position : {0, 15, 16, 255, 256, 511, 529}) {
      StepRows decode;
      decode.Add(cache, 0, position + 1, 1);
      const std::vector<float> want = RowOf(all, cache, position);
      for (const int threads : {1, 3})
        for (const bool split : {false, true}) {
          if (split && threads == 1) continue;  // the same path
          ASSERT_EQ(RowOf(Attend(GetParam(), cache, decode, DType::kF32, threads, split), cache, 0), want)
              << "position " << position << " threads " << threads << " split " << split << " dim "
              << model.head_dim;
        }
      StepRows mixed;
      mixed.Add(cache, 1, 300, 1);
      const int chunk = std::min(position + 1, 5);
      mixed.Add(cache, 0, position + 1, chunk);
      mixed.Add(cache, 1, 77, 20);
      ASSERT_EQ(RowOf(Attend(GetParam(), cache, mixed, DType::kF32, 2), cache, chunk), want)
          << "position " << position;
    }
    for (const int chunk : {64, 100}) {
      for (int end = chunk; end <= kLength; end += chunk) {
        StepRows part;
        part.Add(cache, 0, end, chunk);
        const Matrix y = Attend(GetParam(), cache, part, DType::kF32, 1);
        for (int r = 0; r < chunk; ++r)
          ASSERT_EQ(RowOf(y, cache, r), RowOf(all, cache, end - chunk + r)) << chunk;
      }
    }
  }
}

TEST_P(AttentionTest, SplitLeavesItsWorkspaceReadyForTheNextCall) {
  const NumericClass numeric = GetParam().numeric;
  const Cache cache({4, 2, 64, 32}, KvType(numeric), {1000, 600});
  StepRows step;
  step.Add(cache, 0, 1000, 1);
  step.Add(cache, 1, 600, 1);
  const Matrix want = Attend(GetParam(), cache, step, DType::kF32, 1);
  for (int i = 0; i < 10; ++i)
    ASSERT_TRUE(SameBits(Attend(GetParam(), cache, step, DType::kF32, 3, true), want)) << i;
}

INSTANTIATE_TEST_SUITE_P(All, AttentionTest, testing::ValuesIn(AllIsaClasses()), NameOf);

}  // namespace
}  // namespace lathe
