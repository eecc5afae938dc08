// One user of an engine that others may use too: knows which of the engine's requests are its own.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "lathe/engine.h"

namespace lathe::serve {

// Passes everything on to `engine`, which must outlive it, and counts the requests submitted through it whose
// callbacks the engine still holds. Thread-safe.
class Tenant final : public Engine {
 public:
  explicit Tenant(Engine& engine);
  ~Tenant() override;

  // Waits until the engine holds no callback of ours; false when it still does after `seconds`. Until it is
  // true nothing that the callbacks use may be destroyed.
  bool WaitOwn(double seconds);

  const ModelInfo& model() const override { return engine_.model(); }
  SamplingParams DefaultSampling() const override { return engine_.DefaultSampling(); }
  Expected<RequestId> Submit(Request request, OutputCallback callback) override;
  void Cancel(RequestId id) override { engine_.Cancel(id); }
  void WaitIdle() override { engine_.WaitIdle(); }
  EngineStats Stats() const override { return engine_.Stats(); }
  Expected<std::vector<TokenId>> Tokenize(const std::string& text, bool add_special,
                                          bool parse_special) const override {
    return engine_.Tokenize(text, add_special, parse_special);
  }
  std::string Detokenize(const std::vector<TokenId>& ids, bool skip_special) const override {
    return engine_.Detokenize(ids, skip_special);
  }
  std::string TokenBytes(TokenId id) const override { return engine_.TokenBytes(id); }
  const std::string& ChatTemplate() const override { return engine_.ChatTemplate(); }
  Status CheckFormat(const OutputFormat& format) const override { return engine_.CheckFormat(format); }
  Expected<std::vector<TokenId>> RenderChat(const Prompt::Chat& chat, std::string* text) const override {
    return engine_.RenderChat(chat, text);
  }
  Expected<Score> ScoreWindow(const std::vector<TokenId>& ids) override { return engine_.ScoreWindow(ids); }
  Expected<std::vector<float>> Logits(const std::vector<TokenId>& ids) override {
    return engine_.Logits(ids);
  }

 private:
  struct Count;
  struct Call;
  Engine& engine_;
  std::shared_ptr<Count> count_;  // the engine's thread may still be leaving it when the tenant goes
};

}  // namespace lathe::serve
