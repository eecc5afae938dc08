#include "generation.h"

#include <algorithm>

#include "base/status.h"
#include "machine.h"
#include "sampling_options.h"
#include "terminal/format.h"

namespace lathe::cli {
namespace {

constexpr double kInterruptPollSeconds = 0.02;

}  // namespace

int Generation::Steps() const {
  return tokens.empty() ? 0 : std::max(0, *std::max_element(tokens.begin(), tokens.end()) - 1);
}

double Generation::TokensPerSecond() const {
  return Steps() > 0 && times.Decoding() > 0 ? Steps() / times.Decoding() : 0;
}

Expected<Generation> Generate(Engine& engine, Request request, Interrupt& interrupt,
                              const std::function<void(const OutputDelta&)>& on_delta) {
  Generation out;
  out.tokens.resize(static_cast<size_t>(std::clamp(request.n, 1, 64)));
  auto stream = Stream::Start(engine, std::move(request));
  if (!stream.ok()) return WithFlagNames(stream.status());
  Status failed;
  while (!(*stream)->done()) {
    const std::optional<OutputDelta> delta = (*stream)->Next(kInterruptPollSeconds);
    if (interrupt.Taken() && !(*stream)->done()) {
      out.interrupted = true;
      (*stream)->Cancel();
    }
    if (!delta) continue;
    if (static_cast<size_t>(delta->index) < out.tokens.size()) {
      out.tokens[static_cast<size_t>(delta->index)] += static_cast<int>(delta->tokens.size());
    }
    if (delta->finish == FinishReason::kError && failed.ok()) failed = delta->error;
    on_delta(*delta);
    if (delta->last) out.usage = delta->usage;
  }
  if (!failed.ok()) return failed;
  out.times = (*stream)->times();
  return out;
}

std::string Summary(const Generation& generation) {
  const Usage& usage = generation.usage;
  std::string out = StrFormat("%d prompt tokens", usage.prompt_tokens);
  if (usage.cached_tokens > 0) out += StrFormat(" (%d from the cache)", usage.cached_tokens);
  out += StrFormat(", %d tokens", usage.completion_tokens);
  if (generation.TokensPerSecond() > 0) out += StrFormat(", %.1f tok/s", generation.TokensPerSecond());
  if (generation.times.first_token > 0) {
    out += ", first token " + FormatSeconds(generation.times.ToFirst());
  }
  return out;
}

std::string BandwidthSummary(const Generation& generation, const ModelInfo& model, int threads) {
  if (generation.TokensPerSecond() <= 0) return "";
  const double gbps = generation.TokensPerSecond() * static_cast<double>(model.weight_bytes) / 1e9;
  const MachineRoofs roofs = RememberedRoofs(threads);
  return StrFormat("%.2f GB/s of weights, %.0f%% of the %.1f GB/s this machine reads", gbps,
                   roofs.read_gbps > 0 ? 100 * gbps / roofs.read_gbps : 0.0, roofs.read_gbps);
}

Json ToJson(const Generation& generation) {
  return Json{{"usage",
               {{"prompt_tokens", generation.usage.prompt_tokens},
                {"cached_tokens", generation.usage.cached_tokens},
                {"completion_tokens", generation.usage.completion_tokens}}},
              {"seconds_to_first_token", generation.times.ToFirst()},
              {"seconds_decoding", generation.times.Decoding()},
              {"tokens_per_second", generation.TokensPerSecond()}};
}

Json ConversationStart(const std::string& system) {
  Json messages = Json::array();
  if (!system.empty()) AddMessage(&messages, "system", system);
  return messages;
}

void AddMessage(Json* messages, const char* role, const std::string& content) {
  messages->push_back(Json{{"role", role}, {"content", content}});
}

}  // namespace lathe::cli
