// `lathe eval perplexity`: nats per token of a text.
//
// Lines that hold the document separator alone are markup: they are emptied. The whole is tokenised as one
// text without special tokens. Window i is the beginning-of-sequence token and WINDOW - 1 tokens from number
// i * WINDOW on, of which every one is scored; what does not fill a last window is left out. This is how the
// figures on the cards of the models under models/ were taken.
#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <memory>

#include "base/clock.h"
#include "base/file.h"
#include "base/status.h"
#include "bench.h"
#include "commands.h"
#include "model_options.h"
#include "perplexity_text.h"
#include "terminal/format.h"
#include "terminal/progress.h"
#include "terminal/table.h"

namespace lathe::cli {
namespace {

struct Options {
  ModelOptions model;
  std::string file;
  int window = 1024;
  std::string separator = "<|endoftext|>";
  bool json = false;
};

Expected<int> Run(const Options& options) {
  LATHE_RETURN_IF_ERROR(CheckRange("--window", options.window, 2, 1 << 24));
  LATHE_ASSIGN_OR_RETURN(const std::string text, ReadFile(options.file));
  ModelOptions open = options.model;
  // A window is scored in one step.
  open.engine.max_step_tokens = std::max(open.engine.max_step_tokens, options.window);
  LATHE_ASSIGN_OR_RETURN(const std::unique_ptr<Engine> engine, OpenModel(open));
  LATHE_RETURN_IF_ERROR(CheckRange("--window", options.window, 2, engine->model().max_context)
                            .WithContext("the context of " + engine->model().name + " is too short"));
  LATHE_ASSIGN_OR_RETURN(const std::vector<TokenId> ids,
                         engine->Tokenize(EmptySeparatorLines(text, options.separator), /*add_special=*/false,
                                          /*parse_special=*/false));
  const std::vector<std::vector<TokenId>> windows = CutWindows(ids, options.window, engine->model().bos_id);
  if (windows.empty()) {
    return Error(StatusCode::kInvalidArgument,
                 "%s has %zu tokens, too few for one window of %d; give a longer text or a smaller --window",
                 options.file.c_str(), ids.size(), options.window);
  }
  Engine::Score total;
  const double begin = NowSeconds();
  {
    Progress progress(STDERR_FILENO);
    for (size_t i = 0; i < windows.size(); ++i) {
      progress.Update("scoring windows", i, windows.size(), Unit::kItems);
      LATHE_ASSIGN_OR_RETURN(const Engine::Score score, engine->ScoreWindow(windows[i]));
      total.nats += score.nats;
      total.tokens += score.tokens;
    }
  }
  const double seconds = NowSeconds() - begin;
  const double nats = total.nats / static_cast<double>(total.tokens);
  if (options.json) {
    const Json result{{"model", ModelToJson(engine->model())},
                      {"file", options.file},
                      {"window", options.window},
                      {"windows", windows.size()},
                      {"tokens", total.tokens},
                      {"nats_per_token", nats},
                      {"perplexity", std::exp(nats)},
                      {"seconds", seconds}};
    std::printf("%s\n", DumpJson(result, 2).c_str());
    return kExitOk;
  }
  Table table({{""}, {"", Align::kRight}});
  table.AddRow({"nats/token", StrFormat("%.4f", nats)});
  table.AddRow({"perplexity", StrFormat("%.3f", std::exp(nats))});
  table.AddRow({"tokens", FormatCount(total.tokens)});
  table.AddRow({"windows", StrFormat("%zu of %d", windows.size(), options.window)});
  table.AddRow({"seconds", StrFormat("%.2f", seconds)});
  table.AddRow({"tokens/s", StrFormat("%.0f", static_cast<double>(total.tokens) / seconds)});
  std::fputs(table.Render().c_str(), stdout);
  return kExitOk;
}

}  // namespace

void AddEvalPerplexity(Command& eval) {
  auto options = std::make_shared<Options>();
  Command command = eval.Sub("perplexity", "Nats per token and perplexity of a text, in windows",
                             "lathe eval perplexity model.lathe text.txt --window 1024");
  options->model.Declare(command);
  command.Argument("FILE", &options->file, "The text, UTF-8");
  command.Option("--window", &options->window,
                 "Tokens of a window, the beginning-of-sequence token among them");
  command.Option("--separator", &options->separator,
                 "Lines with this alone separate documents and are not text");
  command.Flag("--json", &options->json, "Print JSON");
  command.OnRun([options] { return Run(*options); });
}

}  // namespace lathe::cli
