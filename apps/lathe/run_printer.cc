#include "run_printer.h"

#include <cstdio>
#include <string>
#include <vector>

#include "base/status.h"
#include "terminal/table.h"

namespace lathe::cli {
namespace {

class TextPrinter : public RunPrinter {
 public:
  TextPrinter(const Engine& engine, const PrinterOptions& options)
      : engine_(engine), options_(options), parts_(static_cast<size_t>(options.n)) {}

  void Print(const OutputDelta& delta) override {
    const auto index = static_cast<size_t>(delta.index);
    if (index >= parts_.size()) return;
    parts_[index].waiting += delta.text;
    parts_[index].ended = parts_[index].ended || delta.finish != FinishReason::kNone;
    if (options_.logprobs) AddLogprobs(delta);
    // Continuations come together but are read one after another.
    while (current_ < parts_.size()) {
      Part& part = parts_[current_];
      if (parts_.size() > 1 && !part.headed) {
        Write(StrFormat("--- %zu of %zu ---\n", current_ + 1, parts_.size()));
        part.headed = true;
      }
      Write(part.waiting);
      part.waiting.clear();
      if (!part.ended) return;
      if (!at_line_start_) Write("\n");
      ++current_;
    }
  }

  void Finish(const Generation&) override {
    if (!at_line_start_ || !wrote_) Write("\n");
    if (options_.logprobs) std::fputs(logprobs_.Render().c_str(), stderr);
  }

 private:
  struct Part {
    std::string waiting;
    bool headed = false, ended = false;
  };

  void Write(const std::string& text) {
    if (text.empty()) return;
    WriteOut(options_.interactive ? TerminalSafe(text) : text);
    at_line_start_ = text.ends_with('\n');
    wrote_ = true;
  }

  void AddLogprobs(const OutputDelta& delta) {
    for (const TokenOutput& token : delta.tokens) {
      std::string others;
      for (const TokenLogprobInfo& other : token.top) {
        others +=
            StrFormat("%s\"%s\" %.3f", others.empty() ? "" : ", ",
                      engine_.Detokenize({other.id}, false).c_str(), static_cast<double>(other.logprob));
      }
      logprobs_.AddRow({std::to_string(delta.index + 1), std::to_string(token.id),
                        engine_.Detokenize({token.id}, false),
                        StrFormat("%.3f", static_cast<double>(token.logprob)), others});
    }
  }

  const Engine& engine_;
  PrinterOptions options_;
  std::vector<Part> parts_;
  size_t current_ = 0;
  bool at_line_start_ = true, wrote_ = false;
  Table logprobs_{
      {{"n", Align::kRight}, {"id", Align::kRight}, {"token"}, {"logprob", Align::kRight}, {"likeliest"}}};
};

class JsonPrinter : public RunPrinter {
 public:
  JsonPrinter(const Engine& engine, const PrinterOptions& options) : engine_(engine), options_(options) {}

  void Print(const OutputDelta& delta) override {
    if (!delta.text.empty() || !delta.tokens.empty()) {
      Json tokens = Json::array();
      for (const TokenOutput& token : delta.tokens) tokens.push_back(TokenToJson(token));
      Emit(Json{{"event", "text"}, {"index", delta.index}, {"text", delta.text}, {"tokens", tokens}});
    }
    if (delta.finish != FinishReason::kNone) {
      Emit(Json{{"event", "end"}, {"index", delta.index}, {"finish_reason", ToString(delta.finish)}});
    }
  }

  void Finish(const Generation& generation) override {
    Json done{{"event", "done"}};
    done.update(ToJson(generation));
    Emit(done);
  }

 private:
  Json TokenToJson(const TokenOutput& token) const {
    Json out{{"id", token.id}};
    if (!options_.logprobs) return out;
    out["text"] = engine_.Detokenize({token.id}, false);
    out["logprob"] = token.logprob;
    Json top = Json::array();
    for (const TokenLogprobInfo& other : token.top) {
      top.push_back(Json{
          {"id", other.id}, {"text", engine_.Detokenize({other.id}, false)}, {"logprob", other.logprob}});
    }
    out["top"] = top;
    return out;
  }

  void Emit(const Json& event) { WriteOut(DumpJson(event) + "\n"); }

  const Engine& engine_;
  PrinterOptions options_;
};

}  // namespace

std::unique_ptr<RunPrinter> MakeTextPrinter(const Engine& engine, const PrinterOptions& options) {
  return std::make_unique<TextPrinter>(engine, options);
}

std::unique_ptr<RunPrinter> MakeJsonPrinter(const Engine& engine, const PrinterOptions& options) {
  return std::make_unique<JsonPrinter>(engine, options);
}

}  // namespace lathe::cli
