// Tests of the IR: text form, verifier, helpers.
#include <gtest/gtest.h>

#include "base/rng.h"
#include "ir/graph.h"
#include "ir/schema.h"
#include "ir/text.h"
#include "ir/verify.h"

namespace lathe::ir {
namespace {

constexpr char kTiny[] = R"(weight @embed [10,8]
weight @layers.0.g [8]
weight @layers.0.q [8,8] rows:4
weight @layers.0.k [4,8]
weight @layers.0.qb [8]
%0:f32[T,8] = embed @embed
%1:f32[T,8] = rmsnorm %0 @layers.0.g {eps=1e-05}
%2:f32[T,8] = matmul %1 @layers.0.q + @layers.0.qb
%3:f32[T,4] = matmul %1 @layers.0.k
%4:f32[T,4] = matmul %1 @layers.0.k
kv_append %3 %4 {layer=0, head_dim=4}
%5:f32[T,8] = attention %2 {layer=0, n_heads=2, n_kv_heads=1, head_dim=4, window=0}
%6:f32[T,8] = add %0 %5
%7:f32[L,8] = select_rows %6
%8:f32[L,5] = matmul %7 @embed[5:,:]
output %8
)";

Graph Parse(const std::string& text) {
  auto graph = ParseGraph(text, "test");
  EXPECT_TRUE(graph.ok()) << graph.status().message();
  return graph.ok() ? *std::move(graph) : Graph{};
}

TEST(IrText, PrintsWhatItParsed) {
  const Graph graph = Parse(kTiny);
  EXPECT_TRUE(VerifyGraph(graph).ok()) << VerifyGraph(graph).message();
  // "[5:,:]" is the same slice as "[5:]": columns are whole.
  std::string want = kTiny;
  want.replace(want.find("[5:,:]"), 6, "[5:]");
  EXPECT_EQ(PrintGraph(graph), want);
}

TEST(IrText, CommentsAndSpacesAreFree) {
  const Graph graph = Parse("# head\n\n  weight   @a [ 2 , 3 ]  # tail\n %0 : f32 [ T , 3 ]=embed @a # x\n");
  EXPECT_EQ(PrintGraph(graph), "weight @a [2,3]\n%0:f32[T,3] = embed @a\n");
}

std::string RandomName(Rng* rng) {
  constexpr std::string_view kChars = "abcdefghijklmnopqrstuvwxyzABC0123456789_.";
  std::string name = "n";
  for (uint64_t i = rng->Below(12); i > 0; --i) name += kChars[rng->Below(kChars.size())];
  return name;
}

WeightRef RandomRef(Rng* rng) {
  WeightRef ref;
  ref.name = RandomName(rng);
  if (rng->Below(2)) ref.row_begin = static_cast<int64_t>(rng->Below(1000));
  if (rng->Below(2)) ref.row_end = static_cast<int64_t>(rng->Below(1000));
  if (rng->Below(3) == 0) ref.col_begin = static_cast<int64_t>(rng->Below(1000));
  if (rng->Below(3) == 0) ref.col_end = static_cast<int64_t>(rng->Below(1000));
  return ref;
}

// Anything the syntax can say, sense or not.
Graph RandomGraph(Rng* rng) {
  Graph graph;
  for (uint64_t i = rng->Below(5); i > 0; --i) {
    WeightDecl decl{RandomName(rng), {}, static_cast<SplitSide>(rng->Below(3)), 1};
    if (decl.split != SplitSide::kNone) decl.split_unit = static_cast<int64_t>(rng->Below(99));
    decl.shape.rank = 1 + static_cast<int>(rng->Below(2));
    for (int d = 0; d < decl.shape.rank; ++d)
      decl.shape.dims[static_cast<size_t>(d)] = static_cast<int64_t>(rng->Below(1 << 20));
    graph.weights.push_back(decl);
  }
  for (uint64_t i = rng->Below(20); i > 0; --i) {
    Op op;
    op.code = AllSchemas()[rng->Below(AllSchemas().size())].code;
    for (uint64_t n = rng->Below(3); n > 0; --n) {
      const ValueType type{rng->Below(2) ? DType::kF32 : DType::kBf16,
                           rng->Below(2) ? Rows::kTokens : Rows::kLogits,
                           static_cast<int64_t>(rng->Below(9999))};
      op.results.push_back({static_cast<int>(rng->Below(1 << 20)), type});
    }
    for (uint64_t n = rng->Below(3); n > 0; --n) op.operands.push_back(static_cast<int>(rng->Below(1 << 20)));
    for (uint64_t n = rng->Below(4); n > 0; --n) op.weights.push_back(RandomRef(rng));
    for (uint64_t n = rng->Below(3); n > 0; --n) op.biases.push_back(RandomRef(rng));
    for (uint64_t n = rng->Below(4); n > 0; --n) {
      Attr attr{RandomName(rng), static_cast<int64_t>(rng->Next())};
      if (rng->Below(2)) attr.value = rng->Normal() * (rng->Below(2) ? 1e-20f : 1e20f);
      if (rng->Below(8) == 0) attr.value = 3.0f;
      op.attrs.push_back(attr);
    }
    graph.ops.push_back(std::move(op));
  }
  return graph;
}

TEST(IrText, RoundTripsRandomGraphs) {
  Rng rng(1);
  for (int i = 0; i < 3000; ++i) {
    const Graph graph = RandomGraph(&rng);
    const std::string text = PrintGraph(graph);
    auto back = ParseGraph(text, "random");
    ASSERT_TRUE(back.ok()) << back.status().message() << "\n" << text;
    ASSERT_TRUE(*back == graph) << text;
    ASSERT_EQ(PrintGraph(*back), text);
    (void)VerifyGraph(*back);  // must survive nonsense
  }
}

TEST(IrText, GarbageIsRefusedWithoutHarm) {
  Rng rng(2);
  const std::string seed = kTiny;
  int refused = 0;
  for (int i = 0; i < 20000; ++i) {
    std::string text = seed;
    for (uint64_t n = 1 + rng.Below(6); n > 0; --n) {
      const size_t at = rng.Below(text.size());
      switch (rng.Below(3)) {
        case 0: text[at] = static_cast<char>(rng.Next()); break;
        case 1: text.erase(at, rng.Below(20)); break;
        default: text.insert(at, seed.substr(rng.Below(seed.size()), rng.Below(20))); break;
      }
      if (text.empty()) text = "x";
    }
    auto graph = ParseGraph(text, "fuzz");
    if (graph.ok()) {
      (void)VerifyGraph(*graph);
    } else {
      ++refused;
    }
  }
  EXPECT_GT(refused, 1000);
}

struct BadText {
  const char* text;
  const char* message;
};

TEST(IrText, FaultsNameLineAndColumn) {
  const BadText cases[] = {
      {"\n%0:f32[T,8] = frob %1", "t:2:19: unknown op 'frob'"},
      {"%0:f33[T,8] = add", "t:1:7: an element type was expected"},
      {"%0:f32[X,8] = add", "t:1:9: rows are T or L"},
      {"%99999999999:f32[T,8] = add", "a value number is 0 to"},
      {"output %0 junk", "nothing more was expected"},
      {"output %0 {a=1", "'}' was expected"},
      {"output %0 {a=inf}", "a finite number was expected"},
      {"weight @a [1,2,3]", "one or two dimensions"},
      {"weight @a [1] side:1", "'rows:<unit>' or 'cols:<unit>' was expected"},
      {"weight @ [1]", "a weight name was expected"},
  };
  for (const BadText& c : cases) {
    auto graph = ParseGraph(c.text, "t");
    ASSERT_FALSE(graph.ok()) << c.text;
    EXPECT_NE(graph.status().message().find(c.message), std::string::npos) << graph.status().message();
  }
}

// `from` in kTiny replaced by `to` must give `message`.
struct BadGraph {
  const char *from, *to, *message;
};

TEST(IrVerify, RefusesEachBrokenRule) {
  const BadGraph cases[] = {
      {"weight @layers.0.g [8]", "weight @embed [8]", "declared twice"},
      {"@layers.0.g [8]", "@layers.0.g [9]", "the gain must have the operand's width"},
      {"weight @layers.0.k [4,8]", "weight @layers.0.k [4,0]", "a vector or matrix was expected"},
      {"rmsnorm %0", "rmsnorm %1", "%1 is not defined before its use"},
      {"%1:f32[T,8] = rmsnorm", "%0:f32[T,8] = rmsnorm", "%0 is assigned twice"},
      {"rows:4", "rows:3", "cannot be cut in units of 3"},
      {"rows:4", "rows:0", "cannot be cut in units of 0"},
      {"{eps=1e-05}", "{eps=1}", "must be a float"},
      {"{eps=1e-05}", "", "attribute 'eps' was expected"},
      {"{eps=1e-05}", "{eps=1e-05, x=1}", "unknown attribute 'x'"},
      {"%3:f32[T,4]", "%3:f32[T,5]", "as wide as the weights have rows"},
      {"%3:f32[T,4]", "%3:f32[L,4]", "the same rows"},
      {"%3:f32[T,4]", "%3:i32[T,4]", "must be f32, bf16, f16 or f8e4m3"},
      {"@embed[5:,:]", "@embed[5:11,:]", "the slice of '@embed' is not inside"},
      {"@embed[5:,:]", "@embed[7:7,:]", "the slice of '@embed' is not inside"},
      {"@embed[5:,:]", "@nothing", "'@nothing' is not declared"},
      {"+ @layers.0.qb", "+ @layers.0.g @layers.0.qb", "one for each weight"},
      {"+ @layers.0.qb", "+ @layers.0.qb[0:4]", "a bias must have its weight's rows"},
      {"n_kv_heads=1", "n_kv_heads=3", "n_kv_heads must divide n_heads"},
      {"n_heads=2", "n_heads=3", "n_heads x head_dim wide"},
      {"{layer=0, n_heads", "{layer=1, n_heads", "attention must come after"},
      {"add %0 %5", "add %0 %3", "must have one type"},
      {"add %0 %5", "add %0", "2 operands were expected, found 1"},
      {"output %8", "output %6", "logits must be f32[L"},
      {"output %8", "output %8\noutput %8", "at most one output"},
      {"head_dim=4}\n", "head_dim=4}\nkv_append %3 %4 {layer=0, head_dim=4}\n", "appended to twice"},
      {"%3:f32[T,4]", "%3:f8e4m3[T,4]", "only norms and quantize make such rows"},
      {"output %8", "%9:f8e4m3[L,6] = quantize %8\noutput %8", "operand and result must have one shape"},
      {"output %8", "%9:bf16[L,5] = quantize %8\noutput %8", "the result must be f8e4m3"},
      {"output %8", "%9:f8e4m3[L,5] = quantize %8\n%10:f8e4m3[L,5] = quantize %9\noutput %8",
       "%9 is f8e4m3, which matmuls alone read"},
  };
  for (const BadGraph& c : cases) {
    std::string text = kTiny;
    const size_t at = text.find(c.from);
    ASSERT_NE(at, std::string::npos) << c.from;
    text.replace(at, std::string_view(c.from).size(), c.to);
    const Status status = VerifyGraph(Parse(text));
    ASSERT_FALSE(status.ok()) << c.from << " -> " << c.to;
    EXPECT_NE(status.message().find(c.message), std::string::npos) << status.message();
  }
}

TEST(IrGraph, UsesAndErase) {
  Graph graph = Parse(kTiny);
  const Uses uses(graph);
  EXPECT_EQ(uses[0].users, (std::vector<int>{1, 7}));
  EXPECT_EQ(uses[1].users, (std::vector<int>{2, 3, 4}));
  EXPECT_EQ(uses.OnlyUser(2), 6);
  EXPECT_EQ(uses.OnlyUser(0), -1);
  EXPECT_EQ(graph.NextId(), 9);
  EXPECT_EQ(LayerOf(graph.ops[0]), -1);
  EXPECT_EQ(LayerOf(graph.ops[1]), 0);
  EXPECT_EQ(LayerOf(graph.ops[6]), 0);
  ReplaceUses(&graph, 8, 7);
  EXPECT_EQ(graph.ops.back().operands[0], 7);
  std::vector<bool> dead(graph.ops.size(), false);
  dead[9] = true;
  EraseOps(&graph, dead);
  EXPECT_EQ(graph.ops.size(), 10u);
  EXPECT_EQ(graph.ops.back().code, OpCode::kOutput);
}

TEST(IrGraph, ShapeOfRef) {
  const Graph graph = Parse(kTiny);
  EXPECT_EQ(*ShapeOfRef(graph, {"embed", 5, -1, 0, 4}), (Shape{5, 4}));
  EXPECT_FALSE(ShapeOfRef(graph, {"embed", 5, 11, 0, 4}).ok());
  EXPECT_FALSE(ShapeOfRef(graph, {"none"}).ok());
}

}  // namespace
}  // namespace lathe::ir
