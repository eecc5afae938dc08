// Random submit, cancel, finish and step operations against the fake device: everything that comes out is
// what the same request gives alone, and nothing leaks.
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "base/rng.h"
#include "runtime/sched/scheduler.h"
#include "runtime/sched/testing/fake_executor.h"

namespace lathe {
namespace {

// The plain variant keeps its length under sanitizers, too.
constexpr int kManyOperations = 100000;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr int kOperations = 4000;
#else
constexpr int kOperations = 20000;
#endif

constexpr TokenId kEos = 0;
constexpr TokenId kPoison = 1000;  // only ever in prompts

struct Variant {
  const char* name;
  int operations;
  ExecutorLimits limits;
  SchedulerOptions options;
  bool ahead = false;  // steps are begun behind others where that is possible
};

class Stress {
 public:
  Stress(const Variant& setup, uint64_t seed)
      : limits_(setup.limits), rng_(seed), executor_(setup.limits), scheduler_(setup.limits, setup.options) {
    executor_.poison = kPoison;
    executor_.ahead = setup.ahead;
    for (auto& stem : stems_) {
      stem.resize(40);
      for (auto& t : stem) t = static_cast<TokenId>(1 + rng_.Below(limits_.vocab - 1));
    }
  }

  void Operate() {
    switch (rng_.Below(8)) {
      case 0:
      case 1:
        if (live_.size() < 40) Submit();
        break;
      case 2:
        if (rng_.Below(3) == 0) Cancel();
        break;
      case 3:
        if (rng_.Below(3) == 0) FinishOne();
        break;
      default: RunStep(); break;
    }
  }

  void Drain() {
    uint64_t steps = 0;
    while (!live_.empty() || !scheduler_.idle()) {
      RunStep();
      ASSERT_LT(++steps, 20000u) << "somebody starves";
    }
    ASSERT_TRUE(scheduler_.idle());
    ASSERT_EQ(scheduler_.kv().n_used(), 0);
    scheduler_.kv().DropCache();
    ASSERT_EQ(scheduler_.kv().n_available(), limits_.n_pages);
  }

  const Scheduler& scheduler() const { return scheduler_; }
  uint64_t n_ahead() const { return executor_.n_ahead; }
  int operations = 0;  // submissions, cancellations and ends
  std::map<FinishReason, int> ends;
  uint64_t longest_wait = 0;  // steps between two tokens of the sequence that ranked first

 private:
  struct Live {
    SchedRequest spec;
    std::vector<TokenId> prompt;
    std::vector<testing::Alone> expected;
    std::vector<size_t> n_seen;
    std::set<int> open;
    Rank rank;
  };

  void Submit() {
    Live live;
    SamplingParams p;
    p.temperature = rng_.Below(2) == 0 ? 0 : 1;
    p.max_tokens = rng_.Below(10) == 0 ? 0 : static_cast<int>(1 + rng_.Below(30));
    if (rng_.Below(4) == 0)
      p.min_tokens = static_cast<int>(rng_.Below(static_cast<uint64_t>(p.max_tokens) + 1));
    p.ignore_eos = rng_.Below(8) == 0;
    if (rng_.Below(4) == 0)
      p.stop_ids = {static_cast<TokenId>(rng_.Below(static_cast<uint64_t>(limits_.vocab)))};
    const uint64_t one_in = executor_.ahead ? 40 : 4;  // these need every token before the next step
    if (rng_.Below(one_in) == 0) p.frequency_penalty = 0.5;
    if (rng_.Below(one_in) == 0) p.repetition_penalty = 1.5;
    std::vector<std::vector<TokenId>> bad;
    if (rng_.Below(one_in) == 0) bad = {{3}, {4, 5}, {6, 7, 8}};

    const auto& stem = stems_[rng_.Below(3)];
    live.prompt.assign(stem.begin(), stem.begin() + static_cast<ptrdiff_t>(rng_.Below(stem.size() + 1)));
    for (uint64_t i = 0, n = rng_.Below(6); i < n || live.prompt.empty(); ++i) {
      live.prompt.push_back(static_cast<TokenId>(rng_.Below(static_cast<uint64_t>(limits_.vocab))));
    }
    const bool poisoned = rng_.Below(50) == 0;
    if (poisoned) live.prompt[rng_.Below(live.prompt.size())] = kPoison;
    const Status fits = scheduler_.CheckFits(live.prompt.size(), p.max_tokens);
    if (!fits.ok()) {
      ASSERT_EQ(fits.code(), StatusCode::kInvalidArgument);
      return;
    }

    SchedRequest& r = live.spec;
    r.id = next_id_++;
    r.prompt = live.prompt;
    r.policy = std::make_shared<SamplingPolicy>(p, std::vector<TokenId>{kEos}, bad);
    r.seed = rng_.Below(100);
    r.n = rng_.Below(4) == 0 ? static_cast<int>(1 + rng_.Below(6)) : 1;
    r.priority = static_cast<int>(rng_.Below(3));
    if (rng_.Below(10) == 0) r.deadline = now_ + static_cast<double>(rng_.Below(100));
    r.cache_salt = std::string(rng_.Below(3) == 0, 's');
    r.allow_cache = rng_.Below(8) != 0;
    const int pool = limits_.n_pages * limits_.page_size + 1;
    for (int i = 0; i < r.n; ++i) {
      live.expected.push_back(testing::RunAlone(limits_, live.prompt, p, r.seed + static_cast<uint64_t>(i),
                                                {kEos}, bad, std::min(scheduler_.max_context(), pool)));
      live.open.insert(i);
    }
    live.n_seen.resize(static_cast<size_t>(r.n));
    live.rank = RankOf(r.priority, r.id, 0);
    scheduler_.AddRequest(r);
    ++operations;
    live_.emplace(r.id, std::move(live));
  }

  RequestId Pick() {
    auto it = live_.begin();
    std::advance(it, static_cast<ptrdiff_t>(rng_.Below(live_.size())));
    return it->first;
  }

  void Cancel() {
    if (live_.empty()) return;
    const RequestId id = Pick();
    const size_t open = live_.at(id).open.size();
    ++operations;
    std::vector<SequenceEvent> events;
    scheduler_.Cancel(id, FinishReason::kCancelled, Status::Ok(), &events);
    ASSERT_EQ(events.size(), open);
    Take(events);
    ASSERT_EQ(live_.count(id), 0u);
  }

  void FinishOne() {
    if (live_.empty()) return;
    const RequestId id = Pick();
    Live& live = live_.at(id);
    const int index = *live.open.begin();
    if (live.n_seen[static_cast<size_t>(index)] == 0) return;  // only who has text can meet a stop string
    scheduler_.FinishSequence(id, index);
    End(id, index, FinishReason::kStop);
  }

  void RunStep() {
    now_ += 1;
    std::vector<SequenceEvent> events;
    const bool begun = scheduler_.is_ahead();
    const Step* step = scheduler_.BuildStep(now_, &events);
    Take(events);
    if (step == nullptr) {
      ASSERT_TRUE(live_.empty());
      return;
    }
    const auto ranks_first =
        std::ranges::min_element(live_, {}, [](const auto& kv) { return kv.second.rank; });
    const RequestId first = ranks_first != live_.end() ? ranks_first->first : ~RequestId{0};
    const Status status = Compute(*step, begun);
    ASSERT_TRUE(status.ok()) << status.message();
    events.clear();
    const uint64_t progress = scheduler_.stats().generated_tokens;
    scheduler_.ApplyResult(result_, &events);
    first_waits_ = first == first_ ? first_waits_ + 1 : 0;
    first_ = first;
    for (const auto& e : events) {
      if (e.request == first) first_waits_ = 0;
    }
    longest_wait = std::max(longest_wait, first_waits_);
    ASSERT_GE(scheduler_.stats().generated_tokens, progress);
    Take(events);
    scheduler_.CheckInvariants();
  }

  Status Compute(const Step& step, bool begun) {
    if (!begun) LATHE_RETURN_IF_ERROR(executor_.Begin(step));
    const Step* next = executor_.ahead ? scheduler_.BuildAhead() : nullptr;
    if (next != nullptr) LATHE_RETURN_IF_ERROR(executor_.Begin(*next));
    return executor_.Finish(&result_);
  }

  void Take(const std::vector<SequenceEvent>& events) {
    for (const SequenceEvent& e : events) {
      ASSERT_EQ(live_.count(e.request), 1u);
      Live& live = live_.at(e.request);
      ASSERT_EQ(live.open.count(e.index), 1u);
      const auto i = static_cast<size_t>(e.index);
      const auto& expected = live.expected[i];
      const bool poisoned = std::ranges::count(live.prompt, kPoison) > 0;
      if (e.token != nullptr) {
        ASSERT_FALSE(poisoned);
        ASSERT_LT(live.n_seen[i], expected.tokens.size());
        ASSERT_EQ(e.token->id, expected.tokens[live.n_seen[i]]);
        ++live.n_seen[i];
      }
      switch (e.finish) {
        case FinishReason::kNone: break;
        case FinishReason::kStop:
        case FinishReason::kLength:
          ASSERT_EQ(e.finish, expected.finish);
          ASSERT_EQ(live.n_seen[i], expected.tokens.size());
          break;
        case FinishReason::kDeadline: ASSERT_LE(live.spec.deadline, now_); break;
        case FinishReason::kError: ASSERT_TRUE(poisoned); break;
        case FinishReason::kCancelled: break;
      }
      ASSERT_LT(e.cached_tokens, static_cast<int>(live.prompt.size()));
      if (e.finish != FinishReason::kNone) End(e.request, e.index, e.finish);
    }
  }

  void End(RequestId id, int index, FinishReason reason) {
    ++ends[reason];
    if (reason != FinishReason::kCancelled) ++operations;
    Live& live = live_.at(id);
    live.open.erase(index);
    if (live.open.empty()) live_.erase(id);
  }

  const ExecutorLimits limits_;
  Rng rng_;
  testing::FakeExecutor executor_;
  Scheduler scheduler_;
  std::vector<TokenId> stems_[3];
  std::map<RequestId, Live> live_;
  RequestId next_id_ = 0;
  double now_ = 0;
  StepResult result_;
  RequestId first_ = ~RequestId{0};
  uint64_t first_waits_ = 0;
};

SchedulerOptions Options(int max_sequences, bool cache = true, PrefixIndex::HashFn hash = nullptr) {
  SchedulerOptions o;
  o.max_sequences = max_sequences;
  o.kv.prefix_cache = cache;
  if (hash != nullptr) o.kv.hash = hash;
  return o;
}

uint64_t SameHash(int32_t, uint32_t, std::span<const int32_t>) { return 3; }

ExecutorLimits Limits(int rows, int logits, int pages, int rope_from = 0, int host_pages = 0) {
  ExecutorLimits l;
  l.max_step_rows = rows;
  l.max_logit_rows = logits;
  l.n_pages = pages;
  l.page_size = 4;
  l.n_host_pages = host_pages;
  l.max_positions = 100;
  l.vocab = 40;
  l.dynamic_rope = rope_from > 0;
  l.dynamic_rope_from = rope_from;
  return l;
}

class SchedulerStress : public ::testing::TestWithParam<Variant> {};

TEST_P(SchedulerStress, OutputIsThatOfRunningAlone) {
  const Variant& setup = GetParam();
  Stress stress(setup, 11);
  while (stress.operations < setup.operations && !HasFatalFailure()) stress.Operate();
  if (HasFatalFailure()) return;
  stress.Drain();
  if (HasFatalFailure()) return;
  // It must have met what it is about.
  for (FinishReason r : {FinishReason::kStop, FinishReason::kLength, FinishReason::kCancelled,
                         FinishReason::kDeadline, FinishReason::kError}) {
    EXPECT_GT(stress.ends[r], setup.operations / 2000) << static_cast<int>(r);
  }
  const SchedulerStats s = stress.scheduler().stats();
  EXPECT_GT(s.preemptions, static_cast<uint64_t>(setup.operations) / 1000);
  const bool foresees = setup.ahead && setup.limits.n_host_pages == 0 && !setup.limits.dynamic_rope;
  EXPECT_GE(stress.n_ahead(), static_cast<uint64_t>(foresees ? setup.operations / 20 : 0));
  EXPECT_EQ(stress.n_ahead() > 0, foresees);
  EXPECT_EQ(s.cached_tokens > 0, setup.options.kv.prefix_cache);
  EXPECT_EQ(s.host_tokens > 0, setup.limits.n_host_pages > 0);
  EXPECT_LE(s.host_tokens, s.cached_tokens);
  // Whoever ranks first gets a token at least that often: a prompt's chunks, or the rest of the running.
  EXPECT_LT(stress.longest_wait, 400u);
}

INSTANTIATE_TEST_SUITE_P(
    All, SchedulerStress,
    ::testing::Values(Variant{"Plain", kManyOperations, Limits(24, 8, 48), Options(8)},
                      Variant{"TightPool", kOperations, Limits(24, 8, 26), Options(8)},
                      Variant{"NoCache", kOperations, Limits(24, 8, 40), Options(8, false)},
                      Variant{"OneHash", kOperations, Limits(24, 8, 48), Options(8, true, &SameHash)},
                      Variant{"FewRows", kOperations, Limits(8, 8, 40), Options(8)},
                      Variant{"FewLogits", kOperations, Limits(40, 5, 40), Options(16)},
                      Variant{"DynamicRope", kOperations, Limits(24, 8, 48, 30), Options(8)},
                      Variant{"FewHostPages", kOperations, Limits(24, 8, 26, 0, 7), Options(8)},
                      Variant{"ManyHostPages", kOperations, Limits(24, 8, 40, 0, 400), Options(8)},
                      Variant{"HostPagesOneHash", kOperations, Limits(24, 8, 30, 0, 60),
                              Options(8, true, &SameHash)},
                      Variant{"Ahead", kOperations, Limits(24, 8, 60), Options(8), true},
                      Variant{"AheadTightPool", kOperations, Limits(24, 8, 26), Options(8), true},
                      Variant{"AheadNoCache", kOperations, Limits(24, 8, 40), Options(8, false), true},
                      Variant{"AheadDynamicRope", kOperations, Limits(24, 8, 48, 30), Options(8), true},
                      Variant{"AheadHostPages", kOperations, Limits(24, 8, 26, 0, 60), Options(8), true},
                      Variant{"HostPagesFewRows", kOperations, Limits(8, 8, 26, 30, 60), Options(8)}),
    [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace lathe
