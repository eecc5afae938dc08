#include "runtime/dist/rank_group.h"

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "comm/communicator.h"
#include "platform/topology.h"

namespace lathe {
namespace {

class RankGroup final : public StepExecutor {
 public:
  RankGroup(int tp, int pp) : comm_(tp, pp) {}
  ~RankGroup() override;

  Status Open(const EngineReader& engine, std::vector<Plan> plans, ExecutorOptions options);
  const ExecutorLimits& limits() const override { return ranks_[result_rank_].executor->limits(); }
  Status Execute(const Step& step, StepResult* result) override;

 private:
  struct Rank {
    std::unique_ptr<StepExecutor> executor;
    std::thread thread;
    StepResult unused;  // ranks without logits write here
    Status status;
  };
  void ThreadMain(Rank& rank, bool has_result);

  SharedMemoryGroup comm_;
  std::vector<Rank> ranks_;
  size_t result_rank_ = 0;
  std::mutex mutex_;
  std::condition_variable start_, done_;
  // Guarded by mutex_.
  uint64_t epoch_ = 0;
  int pending_ = 0;
  bool stop_ = false;
  const Step* step_ = nullptr;
  StepResult* result_ = nullptr;
};

Status RankGroup::Open(const EngineReader& engine, std::vector<Plan> plans, ExecutorOptions options) {
  const int total = options.threads > 0 ? options.threads : ReadTopology().usable_cpus();
  options.threads = std::max(1, total / static_cast<int>(plans.size()));
  ranks_.resize(plans.size());
  for (size_t i = 0; i < plans.size(); ++i) {
    const Plan& plan = plans[i];
    if (plan.logits_buffer >= 0 && plan.tp_rank == 0) result_rank_ = i;
    Communicator* comm = comm_.Get(plan.tp_rank, plan.pp_rank);
    options.first_cpu = static_cast<int>(i) * options.threads;
    LATHE_ASSIGN_OR_RETURN(ranks_[i].executor, OpenCpuExecutor(engine, std::move(plans[i]), options, comm));
  }
  for (size_t i = 0; i < ranks_.size(); ++i)
    ranks_[i].thread = std::thread([this, i] { ThreadMain(ranks_[i], i == result_rank_); });
  return Status::Ok();
}

RankGroup::~RankGroup() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  start_.notify_all();
  for (Rank& rank : ranks_)
    if (rank.thread.joinable()) rank.thread.join();
}

void RankGroup::ThreadMain(Rank& rank, bool has_result) {
  uint64_t seen = 0;
  std::unique_lock lock(mutex_);
  while (true) {
    start_.wait(lock, [&] { return stop_ || epoch_ != seen; });
    if (stop_) break;
    seen = epoch_;
    const Step* step = step_;
    StepResult* result = has_result ? result_ : &rank.unused;
    lock.unlock();
    Status status = rank.executor->Execute(*step, result);
    lock.lock();
    rank.status = std::move(status);
    if (--pending_ == 0) done_.notify_one();
  }
  lock.unlock();
  rank.executor.reset();  // its thread team lives and dies on this thread
}

Status RankGroup::Execute(const Step& step, StepResult* result) {
  std::unique_lock lock(mutex_);
  step_ = &step;
  result_ = result;
  pending_ = static_cast<int>(ranks_.size());
  ++epoch_;
  start_.notify_all();
  done_.wait(lock, [&] { return pending_ == 0; });
  for (const Rank& rank : ranks_) LATHE_RETURN_IF_ERROR(rank.status);
  return Status::Ok();
}

}  // namespace

Expected<std::unique_ptr<StepExecutor>> OpenRankGroup(const EngineReader& engine, std::vector<Plan> plans,
                                                      const ExecutorOptions& options) {
  if (plans.empty() || plans.size() != static_cast<size_t>(plans[0].tp) * static_cast<size_t>(plans[0].pp))
    return Error(StatusCode::kCorrupt, "%zu plans do not make up a grid of ranks", plans.size());
  auto group = std::make_unique<RankGroup>(plans[0].tp, plans[0].pp);
  LATHE_RETURN_IF_ERROR(group->Open(engine, std::move(plans), options));
  return std::unique_ptr<StepExecutor>(std::move(group));
}

}  // namespace lathe
