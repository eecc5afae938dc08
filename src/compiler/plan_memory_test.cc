// Sharing of buffers on random graphs: no live value is ever overwritten, never more memory than without.
#include <gtest/gtest.h>

#include "base/rng.h"
#include "compiler/passes/pass.h"
#include "ir/text.h"
#include "ir/verify.h"

namespace lathe {
namespace {

using ir::Op;
using ir::OpCode;
using ir::Rows;

// A random chain of norms, matmuls, sums and silu_muls over whatever values exist; in-place ops only where
// the operand has no later use. Not a model, but everything the planner has to cope with.
class RandomGraph {
 public:
  explicit RandomGraph(Rng* rng) : rng_(rng) {
    graph_.weights.push_back({"table", {100, kWidth}});
    graph_.weights.push_back({"gain", {kWidth}});
    for (int64_t w : kWidths) graph_.weights.push_back({Name(w), {w, kWidth}});
    for (int64_t w : kWidths) graph_.weights.push_back({Name(w) + "t", {kWidth, w}});
  }

  ir::Graph Make(int n_ops) {
    Emit({.code = OpCode::kEmbed, .weights = {{"table"}}}, kWidth, Rows::kTokens);
    while (static_cast<int>(graph_.ops.size()) < n_ops) Step();
    for (const ir::Value& value : wide_)
      if (value.type.rows == Rows::kLogits) {
        graph_.ops.push_back({.code = OpCode::kOutput, .operands = {value.id}});
        break;
      }
    return std::move(graph_);
  }

 private:
  static constexpr int64_t kWidth = 48;
  static constexpr int64_t kWidths[] = {16, 80, 200};
  static std::string Name(int64_t width) { return "w" + std::to_string(width); }

  void Emit(Op op, int64_t width, Rows rows) {
    op.results.insert(op.results.begin(), {next_, {DType::kF32, rows, width}});
    (width == kWidth ? wide_ : other_).push_back(op.results[0]);
    ++next_;
    graph_.ops.push_back(std::move(op));
  }

  // Takes the value out: nothing will use it again.
  ir::Value Consume(std::vector<ir::Value>* from) {
    const size_t i = rng_->Below(from->size());
    const ir::Value value = (*from)[i];
    from->erase(from->begin() + static_cast<std::ptrdiff_t>(i));
    return value;
  }
  const ir::Value& Pick(const std::vector<ir::Value>& from) { return from[rng_->Below(from.size())]; }

  void Step() {
    const uint64_t kind = rng_->Below(7);
    if (kind == 0) {
      Emit({.code = OpCode::kEmbed, .weights = {{"table"}}}, kWidth, Rows::kTokens);
    } else if (kind == 1) {
      const ir::Value x = Pick(wide_);
      const bool select = x.type.rows == Rows::kTokens && rng_->Below(3) == 0;
      Emit({.code = OpCode::kRmsNorm, .operands = {x.id}, .weights = {{"gain"}}, .attrs = {{"eps", 1e-5f}}},
           kWidth, select ? Rows::kLogits : x.type.rows);
    } else if (kind == 2) {
      const ir::Value x = Pick(wide_);
      const int64_t width = kWidths[rng_->Below(3)];
      Emit({.code = OpCode::kMatmul, .operands = {x.id}, .weights = {{Name(width)}}}, width, x.type.rows);
    } else if (kind == 3 && !other_.empty()) {
      const ir::Value x = Pick(other_);
      Emit({.code = OpCode::kMatmul, .operands = {x.id}, .weights = {{Name(x.type.width) + "t"}}}, kWidth,
           x.type.rows);
    } else if (kind == 4) {
      const ir::Value x = Pick(wide_);
      Emit({.code = OpCode::kMatmulSiluMul, .operands = {x.id}, .weights = {{"w200"}, {"w200"}}}, 200,
           x.type.rows);
    } else if (wide_.size() >= 3) {
      Sum(kind == 5);
    }
  }

  void Sum(bool with_norm) {
    const ir::Value residual = Consume(&wide_);
    const ir::Value delta = Pick(wide_);
    if (!(residual.type == delta.type)) return;  // dropped: a value nobody reads any more
    Op op{.code = with_norm ? OpCode::kAddRmsNorm : OpCode::kAdd, .operands = {residual.id, delta.id}};
    if (with_norm) {
      op.weights = {{"gain"}};
      op.attrs = {{"eps", 1e-5f}};
      const ir::Value normed{1000000 + next_, residual.type};
      op.results = {normed};
      wide_.push_back(normed);
    }
    Emit(std::move(op), kWidth, residual.type.rows);
  }

  Rng* rng_;
  ir::Graph graph_;
  std::vector<ir::Value> wide_, other_;  // usable values of kWidth and of other widths
  int next_ = 0;
};

int64_t BytesPerRow(const BufferPlan& plan, bool logit_rows) {
  int64_t sum = 0;
  for (const BufferDef& buffer : plan.buffers)
    sum += buffer.logit_rows == logit_rows ? buffer.bytes_per_row : 0;
  return sum;
}

TEST(PlanMemory, SharingIsRightAndNeverLarger) {
  Rng rng(5);
  int64_t shared_bytes = 0, naive_bytes = 0;
  for (int round = 0; round < 2000; ++round) {
    ir::Graph graph = RandomGraph(&rng).Make(3 + static_cast<int>(rng.Below(60)));
    ASSERT_TRUE(ir::VerifyGraph(graph).ok()) << ir::VerifyGraph(graph).message();
    PassContext shared, naive;
    naive.share_buffers = false;
    ASSERT_TRUE(AssignBuffers(&graph, &shared).ok());
    ASSERT_TRUE(AssignBuffers(&graph, &naive).ok());
    for (const PassContext* context : {&shared, &naive}) {
      const Status status = CheckBufferPlan(graph, context->memory);
      ASSERT_TRUE(status.ok()) << status.message() << "\n" << ir::PrintGraph(graph);
    }
    for (bool logits : {false, true})
      ASSERT_LE(BytesPerRow(shared.memory, logits), BytesPerRow(naive.memory, logits))
          << ir::PrintGraph(graph);
    shared_bytes += BytesPerRow(shared.memory, false);
    naive_bytes += BytesPerRow(naive.memory, false);
  }
  EXPECT_LT(shared_bytes * 2, naive_bytes) << "sharing hardly saves anything";
}

TEST(PlanMemory, CheckNoticesEachFault) {
  auto graph = ir::ParseGraph(R"(weight @t [9,32]
weight @w [32,32]
weight @g [32]
%0:f32[T,32] = embed @t
%1:f32[T,32] = rmsnorm %0 @g {eps=1e-05}
%2:f32[T,32] = matmul %1 @w
%3:f32[T,32] = add %0 %2
%4:f32[L,32] = rmsnorm %3 @g {eps=1e-05}
output %4
)",
                              "test");
  ASSERT_TRUE(graph.ok());
  PassContext context;
  ASSERT_TRUE(AssignBuffers(&*graph, &context).ok());
  const BufferPlan good = context.memory;
  ASSERT_TRUE(CheckBufferPlan(*graph, good).ok());
  const auto fault = [&](auto change) {
    BufferPlan plan = good;
    change(&plan);
    return CheckBufferPlan(*graph, plan).message();
  };
  const auto has = [](const std::string& text, const char* part) {
    return text.find(part) != std::string::npos;
  };
  EXPECT_PRED2(has, fault([](BufferPlan* p) { p->buffer_of[2] = p->buffer_of[1]; }),
               "exactly when the op works in place");
  EXPECT_PRED2(has, fault([](BufferPlan* p) { p->buffer_of[2] = p->buffer_of[0]; }),
               "an operand was overwritten");
  EXPECT_PRED2(has, fault([](BufferPlan* p) { p->buffer_of.erase(2); }), "a result has no buffer");
  EXPECT_PRED2(has, fault([](BufferPlan* p) { p->buffers[0].bytes_per_row = 64; }),
               "does not fit its buffer");
  EXPECT_PRED2(has, fault([](BufferPlan* p) { p->buffer_of[4] = p->buffer_of[1]; }),
               "does not fit its buffer");
}

TEST(PlanMemory, RefusesToOverwriteWhatIsStillNeeded) {
  auto graph = ir::ParseGraph(
      "weight @t [9,32]\n%0:f32[T,32] = embed @t\n%1:f32[T,32] = embed @t\n%2:f32[T,32] = add %0 %1\n"
      "%3:f32[T,32] = add %0 %2\n",
      "test");
  ASSERT_TRUE(graph.ok());
  PassContext context;
  const Status status = AssignBuffers(&*graph, &context);
  ASSERT_FALSE(status.ok());
  EXPECT_NE(status.message().find("still needed"), std::string::npos);
}

}  // namespace
}  // namespace lathe
