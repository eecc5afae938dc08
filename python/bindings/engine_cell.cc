#include "engine_cell.h"

#include <utility>
#include <vector>

#include "python.h"

namespace lathe::python {
namespace {

// Every engine of the process that may be open. Never destroyed: cells may outlive static objects.
struct Registry {
  std::mutex mutex;
  std::vector<std::weak_ptr<EngineCell>> cells;  // guarded by mutex
};
Registry& AllCells() {
  static auto* const registry = new Registry;
  return *registry;
}

}  // namespace

EngineCell::EngineCell(OpenedModel opened)
    : path_(std::move(opened.path)), fork_generation_(ForkGeneration()), engine_(std::move(opened.engine)) {}

std::shared_ptr<EngineCell> EngineCell::Create(OpenedModel opened) {
  std::shared_ptr<EngineCell> cell(new EngineCell(std::move(opened)));
  Registry& all = AllCells();
  const std::lock_guard lock(all.mutex);
  std::erase_if(all.cells, [](const auto& other) { return other.expired(); });
  all.cells.push_back(cell);
  return cell;
}

EngineCell::~EngineCell() { Close(); }

bool EngineCell::in_fork() const { return ForkGeneration() != fork_generation_; }

Expected<std::shared_ptr<Engine>> EngineCell::Use() const {
  if (in_fork())
    return Error(
        StatusCode::kUnavailable,
        "this LLM was opened before the process forked, and its threads stayed behind: open it in the "
        "new process, or start processes with multiprocessing's 'spawn'");
  const std::lock_guard lock(mutex_);
  if (engine_ == nullptr) return Error(StatusCode::kUnavailable, "this LLM is closed: open the model again");
  return engine_;
}

void EngineCell::Close() {
  if (in_fork()) {
    (void)new std::shared_ptr<Engine>(std::move(engine_));
    return;
  }
  std::shared_ptr<Engine> last;
  {
    const std::lock_guard lock(mutex_);
    last = std::move(engine_);
    engine_ = nullptr;
  }
  const WithoutGil unlocked;
  last.reset();
}

bool EngineCell::closed() const {
  if (in_fork()) return true;
  const std::lock_guard lock(mutex_);
  return engine_ == nullptr;
}

Expected<const serve::Model*> EngineCell::Chat() const {
  LATHE_ASSIGN_OR_RETURN(const std::shared_ptr<Engine> engine, Use());
  const std::lock_guard lock(mutex_);
  if (chat_ == nullptr) {
    serve::ApiOptions options;
    options.limits.max_n = 64;
    LATHE_ASSIGN_OR_RETURN(serve::Model model, serve::DescribeModel(engine.get(), std::move(options)));
    chat_ = std::make_unique<serve::Model>(std::move(model));
  }
  return chat_.get();
}

void CloseAllEngines() {
  std::vector<std::weak_ptr<EngineCell>> cells;
  {
    const std::lock_guard lock(AllCells().mutex);
    cells.swap(AllCells().cells);
  }
  for (const auto& weak : cells) {
    if (const std::shared_ptr<EngineCell> cell = weak.lock()) cell->Close();
  }
}

}  // namespace lathe::python
