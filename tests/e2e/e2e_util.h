// What the end-to-end tests share: models, engines built from them, requests run to their end.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <condition_variable>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/file.h"
#include "compiler/compile.h"
#include "lathe/engine.h"

namespace lathe {

inline std::string TalesDir() { return LATHE_SOURCE_DIR "/models/tales-16m"; }

// An empty folder of this test program's own, removed at exit.
inline const std::string& ScratchDir() {
  struct Dir {
    Dir() : path(std::filesystem::temp_directory_path() / ("lathe-e2e-" + std::to_string(::getpid()))) {
      std::filesystem::create_directories(path);
    }
    ~Dir() {
      std::error_code ec;
      std::filesystem::remove_all(path, ec);
    }
    std::string path;
  };
  static const Dir dir;
  return dir.path;
}

struct BuildSpec {
  DType dtype = DType::kBf16;
  int tp = 1, pp = 1;
  std::string target = "cpu";
  std::optional<NumericClass> numeric = std::nullopt;
  std::optional<DType> kv_dtype = std::nullopt;
  Fp8Keep fp8_keep = {};
  friend auto operator<=>(const BuildSpec&, const BuildSpec&) = default;
};

// The engine of a model directory, built once a program for each spec; untuned, as these tests ask for
// right answers and every tactic gives the same bits.
inline std::string BuiltEngine(const std::string& model_dir, const BuildSpec& spec = {}) {
  static std::map<std::pair<std::string, BuildSpec>, std::string> built;
  std::string& path = built[{model_dir, spec}];
  if (!path.empty()) return path;
  path = ScratchDir() + "/" + std::to_string(built.size()) + ".lathe";
  BuildOptions options;
  options.output = path;
  options.dtype = spec.dtype;
  options.target = spec.target;
  options.numeric = spec.numeric;
  options.kv_dtype = spec.kv_dtype;
  options.fp8_keep = spec.fp8_keep;
  options.tp = spec.tp;
  options.pp = spec.pp;
  options.tune = false;
  const auto report = BuildEngine(model_dir, options);
  EXPECT_TRUE(report.ok()) << report.status().message();
  return path;
}

inline std::unique_ptr<Engine> LoadEngine(const std::string& path, const EngineOptions& options = {}) {
  auto engine = Engine::Load(path, options);
  EXPECT_TRUE(engine.ok()) << engine.status().message();
  return engine.ok() ? std::move(engine).value() : nullptr;
}

// One continuation as it arrived.
struct Answer {
  std::string text;
  std::vector<TokenId> ids;
  std::vector<float> logprobs;
  std::vector<TokenOutput> prompt;
  std::vector<float> embedding;
  FinishReason finish = FinishReason::kNone;
  Status error;
  Usage usage;
};

// Collects the answers of many requests; Wait() returns when all submitted ones have ended.
class Collector {
 public:
  explicit Collector(Engine& engine) : engine_(engine) {}

  // Index of the request's answers in answers().
  size_t Submit(Request request) {
    const int n = request.n;
    std::unique_lock lock(mutex_);
    const size_t slot = answers_.size();
    answers_.emplace_back(static_cast<size_t>(n));
    ++open_;
    lock.unlock();
    auto id =
        engine_.Submit(std::move(request), [this, slot](const OutputDelta& delta) { OnDelta(slot, delta); });
    if (!id.ok()) {
      lock.lock();
      answers_[slot][0].finish = FinishReason::kError;
      answers_[slot][0].error = id.status();
      --open_;
    }
    return slot;
  }
  void Wait() {
    std::unique_lock lock(mutex_);
    done_.wait(lock, [&] { return open_ == 0; });
    lock.unlock();
    engine_.WaitIdle();  // the last answer comes before its step's pages are counted
  }
  const std::vector<Answer>& answers(size_t slot) const { return answers_[slot]; }

 private:
  void OnDelta(size_t slot, const OutputDelta& delta) {
    std::lock_guard lock(mutex_);
    Answer& answer = answers_[slot][static_cast<size_t>(delta.index)];
    answer.text += delta.text;
    for (const TokenOutput& token : delta.tokens) {
      answer.ids.push_back(token.id);
      answer.logprobs.push_back(token.logprob);
    }
    answer.prompt.insert(answer.prompt.end(), delta.prompt.begin(), delta.prompt.end());
    answer.embedding.insert(answer.embedding.end(), delta.embedding.begin(), delta.embedding.end());
    if (delta.finish != FinishReason::kNone) {
      answer.finish = delta.finish;
      answer.error = delta.error;
      answer.usage = delta.usage;
    }
    if (delta.last && --open_ == 0) done_.notify_all();
  }
  Engine& engine_;
  std::mutex mutex_;
  std::condition_variable done_;
  std::vector<std::vector<Answer>> answers_;
  int open_ = 0;
};

// One request alone.
inline Answer RunAlone(Engine& engine, Request request) {
  Collector collector(engine);
  const size_t slot = collector.Submit(std::move(request));
  collector.Wait();
  return collector.answers(slot)[0];
}

inline Request GreedyRequest(Prompt prompt, int max_tokens) {
  Request request;
  request.prompt = std::move(prompt);
  request.sampling.temperature = 0;
  request.sampling.max_tokens = max_tokens;
  request.sampling.ignore_eos = true;
  request.sampling.logprobs = 0;
  return request;
}

}  // namespace lathe
