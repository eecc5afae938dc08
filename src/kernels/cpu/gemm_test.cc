#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "kernels/cpu/test_util.h"
#include "kernels/ref/ref.h"

namespace lathe {
namespace {

struct Shape {
  int M, N, K;
  bool silu = false;
  bool bias = false;
  DType y_type = DType::kF32;
};

// One problem: operands, packed weights, and room for the result.
struct Problem {
  Shape shape;
  NumericClass numeric;
  Matrix x, w;
  std::vector<float> bias;
  Matrix y;
  int64_t ldx, ldy;

  Problem(const Shape& s, NumericClass c, uint64_t seed)
      : shape(s),
        numeric(c),
        x(Matrix::Random(ActivationType(c), static_cast<size_t>(s.M) * static_cast<size_t>(s.K + 3), seed)),
        w(WeightType(c), static_cast<size_t>(PackedBytes(s.N, s.K, WeightType(c), s.silu)) / 2),
        bias(static_cast<size_t>(s.N + 128)),
        y(s.y_type, static_cast<size_t>(s.M) * static_cast<size_t>(s.N + 5)),
        ldx(s.K + 3),
        ldy((s.silu ? s.N / 2 : s.N) + 5) {
    Rng rng(seed + 1);
    const float scale = 1 / std::sqrt(static_cast<float>(s.K));
    const int sides = s.silu ? 2 : 1, n = s.N / sides;
    std::vector<float> rows(static_cast<size_t>(n) * static_cast<size_t>(s.K));
    for (int side = 0; side < sides; ++side) {
      for (float& v : rows) v = rng.Normal() * scale;
      PackRows({.data = w.data(), .N = n, .K = s.K, .type = w.type, .panel_step = sides, .panel_first = side},
               0, n, rows.data(), DType::kF32, s.K);
    }
    for (float& v : bias) v = rng.Normal();
  }

  GemmParams Params() {
    GemmParams p;
    p.M = shape.M;
    p.N = shape.N;
    p.K = shape.K;
    p.x = x.data();
    p.ldx = ldx;
    p.w = w.data();
    p.bias = shape.bias ? bias.data() : nullptr;
    p.y = y.data();
    p.ldy = ldy;
    p.y_type = shape.y_type;
    p.silu_mul = shape.silu;
    return p;
  }
};

// sum |x| |w| of output column n (packed numbering): the quantity that rounding errors are a share of.
double Magnitude(const Problem& p, int m, int64_t n) {
  double sum = 0;
  for (int k = 0; k < p.shape.K; ++k)
    sum += std::abs(static_cast<double>(p.x.Get(static_cast<size_t>(m * p.ldx + k))) *
                    ref::PackedWeight(p.w.data(), p.w.type, p.shape.K, n, k));
  return sum;
}

// Bound on |kernel - exact| for one output: K additions and products, each within half an ulp (twice that
// where multiplication and addition round separately, or a pair is added in two steps), and the output's
// rounding.
double Bound(const Problem& p, int m, int n, double exact) {
  constexpr double kUlp = 0x1p-24;
  const double gamma = 2 * (p.shape.K + 2) * kUlp, output = p.shape.y_type == DType::kBf16 ? 0x1p-8 : kUlp;
  const auto sum_bound = [&](int64_t column) {
    const double b = p.shape.bias ? std::abs(p.bias[static_cast<size_t>(column)]) : 0;
    return gamma * (Magnitude(p, m, column) + b) + 1e-36;
  };
  if (!p.shape.silu) return sum_bound(n) + output * std::abs(exact);
  // d(silu(g) u) <= 1.1 |u| dg + |silu(g)| du, and silu itself is within a few ulp; |silu(g)| <= |g|.
  const int64_t gate = n / 64 * 128 + n % 64;
  const double g = Magnitude(p, m, gate) + 5, u = Magnitude(p, m, gate + 64) + 5;
  return 1.1 * u * sum_bound(gate) + g * sum_bound(gate + 64) + (output + 16 * kUlp) * std::abs(exact) +
         1e-30;
}

void ExpectCloseToReference(Problem& p, const std::string& what) {
  Problem exact(p.shape, p.numeric, 0);
  exact.x = p.x;
  exact.w = p.w;
  exact.bias = p.bias;
  exact.y = Matrix(DType::kF32, static_cast<size_t>(p.shape.M) * static_cast<size_t>(p.shape.N + 5));
  GemmParams params = exact.Params();
  params.y_type = DType::kF32;
  ref::Gemm(params, p.numeric);
  const int columns = p.shape.silu ? p.shape.N / 2 : p.shape.N;
  for (int m = 0; m < p.shape.M; ++m) {
    for (int n = 0; n < columns; ++n) {
      const auto at = static_cast<size_t>(m * p.ldy + n);
      const double want = exact.y.Get(at), got = p.y.Get(at);
      ASSERT_LE(std::abs(got - want), Bound(p, m, n, want))
          << what << " m " << m << " n " << n << " want " << want;
    }
    for (int64_t n = columns; n < p.ldy; ++n)  // nothing is written past the row
      ASSERT_EQ(p.y.Get(static_cast<size_t>(m * p.ldy + n)), 0.0f) << what;
  }
}

class GemmTest : public testing::TestWithParam<IsaClass> {};

std::vector<Shape> Shapes() {
  const std::vector<Shape> all = {
      {1, 64, 2},
      {1, 1, 1},
      {3, 65, 7, false, true},
      {1, 200, 333, false, true},
      {2, 128, 512},
      {4, 130, 256, true},
      {5, 256, 65, true, true, DType::kBf16},
      {7, 96, 1030, false, true, DType::kBf16},
      {13, 192, 300},
      {16, 100, 129, false, false, DType::kBf16},
      {33, 320, 140, true, true},
      {70, 70, 515, false, true},
  };
  return {all.begin(), kInstrumented ? all.begin() + 9 : all.end()};
}

TEST_P(GemmTest, EveryTacticIsCloseToTheOracleWithinTheErrorBound) {
  for (const Shape& shape : Shapes())
    for (const GemmKernel* kernel : GemmTactics(GetParam().isa, GetParam().numeric, shape.M)) {
      Problem p(shape, GetParam().numeric, 7);
      WorkersOf(2).RunOne(kernel->fn, p.Params());
      ExpectCloseToReference(p, std::string(kernel->name) + " N " + std::to_string(shape.N));
    }
}

// The accumulation contract: tactic, threads and companions in the batch change no bit.
TEST_P(GemmTest, BitsDependOnTheRowAlone) {
  for (Shape shape : {Shape{70, 200, 389, false, true}, Shape{29, 256, 1026, true, false, DType::kBf16}}) {
    Problem all(shape, GetParam().numeric, 3);
    const Matrix blank = all.y;
    const auto tactics = GemmTactics(GetParam().isa, GetParam().numeric, 1 << 20);
    WorkersOf(1).RunOne(tactics.front()->fn, all.Params());
    Problem some = all;
    for (const GemmKernel& kernel : GemmKernels()) {
      if (kernel.isa != tactics.front()->isa || kernel.numeric != GetParam().numeric) continue;
      for (const int threads : {1, 2, 3})
        for (const int rows : {threads, 6 * threads, 29}) {
          some.y = blank;
          GemmParams p = some.Params();
          const int first = shape.M - rows;  // the last rows, alone
          p.M = rows;
          p.x = some.x.bytes.data() + first * some.ldx * SizeOf(some.x.type);
          p.y = some.y.bytes.data() + first * some.ldy * SizeOf(shape.y_type);
          WorkersOf(threads).RunOne(kernel.fn, p);
          const auto start = static_cast<std::ptrdiff_t>(first * some.ldy * SizeOf(shape.y_type));
          ASSERT_TRUE(
              std::equal(some.y.bytes.begin() + start, some.y.bytes.end(), all.y.bytes.begin() + start))
              << kernel.name << " threads " << threads << " rows " << rows;
        }
    }
  }
}

TEST_P(GemmTest, LargePromptMatchesSingleRows) {
  const Shape shape{1100, 128, 130};
  Problem all(shape, GetParam().numeric, 5);
  for (const GemmKernel* kernel : GemmTactics(GetParam().isa, GetParam().numeric, shape.M)) {
    WorkersOf(3).RunOne(kernel->fn, all.Params());
    for (const int row : {0, 511, 512, 1023, 1099}) {
      Problem one(shape, GetParam().numeric, 5);
      GemmParams p = one.Params();
      p.M = 1;
      p.x = one.x.bytes.data() + row * one.ldx * SizeOf(one.x.type);
      WorkersOf(1).RunOne(GemmTactics(GetParam().isa, GetParam().numeric, 1).front()->fn, p);
      ASSERT_EQ(std::memcmp(one.y.data(), all.y.bytes.data() + row * all.ldy * 4, 128 * 4), 0)
          << kernel->name << row;
    }
  }
}

TEST_P(GemmTest, NaNAndInfinityReachTheOutput) {
  for (const bool silu : {false, true}) {
    const Shape shape{3, 128, 66, silu};
    Problem p(shape, GetParam().numeric, 9);
    p.x.Set(static_cast<size_t>(p.ldx + 65), NAN);
    for (const GemmKernel* kernel : GemmTactics(GetParam().isa, GetParam().numeric, 3)) {
      WorkersOf(1).RunOne(kernel->fn, p.Params());
      for (int n = 0; n < (silu ? 64 : 128); ++n) {
        ASSERT_TRUE(std::isnan(p.y.Get(static_cast<size_t>(p.ldy + n)))) << kernel->name;
        ASSERT_TRUE(std::isfinite(p.y.Get(static_cast<size_t>(n)))) << kernel->name;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, GemmTest, testing::ValuesIn(AllIsaClasses()), NameOf);

TEST(Registry, NamesAreUniqueAndFound) {
  std::vector<std::string_view> names;
  for (const GemmKernel& kernel : GemmKernels()) {
    EXPECT_EQ(FindGemm(kernel.name), &kernel);
    names.push_back(kernel.name);
  }
  std::sort(names.begin(), names.end());
  EXPECT_EQ(std::adjacent_find(names.begin(), names.end()), names.end());
  EXPECT_EQ(FindGemm("no_such_kernel"), nullptr);
}

TEST(Registry, EveryClassHasOpsAndATacticForEveryM) {
  for (const IsaClass& c : AllIsaClasses()) {
    const OpKernels* ops = FindOps(c.isa, c.numeric);
    ASSERT_NE(ops, nullptr);
    EXPECT_TRUE(ops->embed && ops->rmsnorm && ops->rope_append && ops->attention);
    for (const int m : {1, 2, 3, 8, 16, 63, 512, 100000})
      EXPECT_FALSE(GemmTactics(c.isa, c.numeric, m).empty()) << m;
  }
  EXPECT_EQ(FindOps(Isa::kAvx2, NumericClass::kBf16Dot), nullptr);
  EXPECT_EQ(FindOps(Isa::kAvx512Bf16, NumericClass::kF32), FindOps(Isa::kAvx512, NumericClass::kF32));
  EXPECT_THAT(ClassesOf(Isa::kAvx512), testing::ElementsAre(NumericClass::kF32, NumericClass::kBf16Fma));
}

TEST(Registry, SelectIsaExplainsItself) {
  EXPECT_EQ(SelectIsa("portable").value(), Isa::kPortable);
  EXPECT_EQ(SelectIsa("native").value(), UsableIsas().back());
  const auto unknown = SelectIsa("sse9");
  EXPECT_EQ(unknown.status().code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(unknown.status().message(), testing::HasSubstr("portable"));
  setenv("LATHE_ISA", "portable", 1);
  EXPECT_EQ(SelectIsa().value(), Isa::kPortable);
  setenv("LATHE_ISA", "nonsense", 1);
  EXPECT_THAT(SelectIsa().status().message(), testing::HasSubstr("LATHE_ISA"));
  unsetenv("LATHE_ISA");
  EXPECT_EQ(SelectIsa().value(), UsableIsas().back());
}

}  // namespace
}  // namespace lathe
