// `lathe run`: one prompt, streamed.
#include <unistd.h>

#include <cstdio>
#include <memory>

#include "base/status.h"
#include "commands.h"
#include "generation.h"
#include "model_options.h"
#include "next_step.h"
#include "run_printer.h"
#include "sampling_options.h"
#include "terminal/terminal.h"
#include "trace.h"

namespace lathe::cli {
namespace {

struct Options {
  ModelOptions model;
  std::optional<std::string> prompt;
  SamplingOptions sampling{/*default_max_tokens=*/256};
  int n = 1;
  std::optional<int> logprobs;
  bool chat = false, json = false, quiet = false, stats = false;
  std::string system;
};

constexpr size_t kMaxPromptBytes = size_t{256} << 20;

// All of standard input, without the newline that echo and editors end it with.
Expected<std::string> ReadStandardInput() {
  std::string text;
  char chunk[1 << 16];
  while (true) {
    const size_t n = std::fread(chunk, 1, sizeof chunk, stdin);
    text.append(chunk, n);
    if (text.size() > kMaxPromptBytes) {
      return Error(StatusCode::kInvalidArgument, "the prompt on standard input is longer than %zu bytes",
                   kMaxPromptBytes);
    }
    if (n < sizeof chunk) break;
  }
  if (std::ferror(stdin) != 0) return Error(StatusCode::kIo, "standard input cannot be read");
  if (text.ends_with('\n')) text.pop_back();
  return text;
}

Expected<std::string> PromptText(const Options& options) {
  if (options.prompt && *options.prompt != "-") return *options.prompt;
  return ReadStandardInput();
}

Expected<Request> MakeRequest(const Options& options, const std::string& prompt, const Engine& engine) {
  Request request;
  request.n = options.n;
  request.sampling = options.sampling.Over(engine.DefaultSampling());
  request.sampling.logprobs = options.logprobs.value_or(-1);
  if (!options.chat && options.system.empty()) {
    request.prompt = Prompt::Text(prompt);
    return request;
  }
  if (!engine.model().has_chat_template) {
    return Error(StatusCode::kUnsupported,
                 "model %s has no chat template, which --chat and --system need; leave them out to continue "
                 "the prompt as plain text",
                 engine.model().name.c_str());
  }
  Json messages = ConversationStart(options.system);
  AddMessage(&messages, "user", prompt);
  request.prompt.chat.emplace().messages_json = DumpJson(messages);
  return request;
}

Status CheckValues(const Options& options) {
  LATHE_RETURN_IF_ERROR(options.sampling.Check());
  SamplingParams logprobs_only;
  logprobs_only.logprobs = options.logprobs.value_or(-1);
  LATHE_RETURN_IF_ERROR(WithFlagNames(logprobs_only.Validate(1)));
  if (options.n < 1 || options.n > 64) {
    return Error(StatusCode::kInvalidArgument, "--n must be in [1, 64], but is %d", options.n);
  }
  return {};
}

Expected<int> Run(const Options& options) {
  if (!options.prompt && isatty(STDIN_FILENO) == 1) {
    std::fputs("lathe: run needs a prompt: give it as an argument, or - to type it and end with Ctrl-D\n",
               stderr);
    return kExitUsage;
  }
  LATHE_RETURN_IF_ERROR(CheckValues(options));
  LATHE_ASSIGN_OR_RETURN(const std::string prompt, PromptText(options));
  TraceStage("options checked");
  LATHE_ASSIGN_OR_RETURN(const std::unique_ptr<Engine> engine, OpenModel(options.model));
  TraceStage("engine loaded");
  LATHE_ASSIGN_OR_RETURN(Request request, MakeRequest(options, prompt, *engine));

  const Terminal out = DescribeTerminal(STDOUT_FILENO);
  const bool echo = out.interactive && !options.json && !options.quiet && !request.prompt.chat;
  if (echo) WriteAll(STDOUT_FILENO, Style(out).Dim(prompt));
  const PrinterOptions print{
      .n = options.n, .logprobs = options.logprobs.value_or(-1) >= 0, .interactive = out.interactive};
  const std::unique_ptr<RunPrinter> printer =
      options.json ? MakeJsonPrinter(*engine, print) : MakeTextPrinter(*engine, print);
  Interrupt interrupt;
  bool traced = false;
  LATHE_ASSIGN_OR_RETURN(const Generation generation,
                         Generate(*engine, std::move(request), interrupt, [&](const OutputDelta& delta) {
                           printer->Print(delta);
                           if (!traced) TraceStage("first token");
                           traced = true;
                         }));
  printer->Finish(generation);
  if (!printer->ok()) {
    return Error(StatusCode::kIo, "standard output cannot be written; is the disk full?");
  }

  const Terminal err = DescribeTerminal(STDERR_FILENO);
  const Style style(err);
  if ((err.interactive && !options.quiet) || options.stats) {
    std::fprintf(stderr, "%s\n", style.Dim(Summary(generation)).c_str());
  }
  if (options.stats) {
    const std::string line = BandwidthSummary(generation, engine->model(), options.model.engine.threads);
    if (!line.empty()) std::fprintf(stderr, "%s\n", style.Dim(line).c_str());
  }
  if (generation.interrupted) return kExitInterrupted;
  if (!options.quiet && !options.json && engine->model().has_chat_template && !options.chat) {
    SuggestNext("lathe chat " + options.model.path);
  }
  return kExitOk;
}

}  // namespace

void AddRun(Command& root) {
  auto options = std::make_shared<Options>();
  Command command = root.Sub("run", "Continue a prompt, streaming the text to standard output",
                             "lathe run model.lathe \"Once upon a time\" --max-tokens 100 --temperature 0.8");
  options->model.Declare(command);
  command.Argument("PROMPT", &options->prompt,
                   "Text to continue; - or nothing reads standard input; \"\" starts from nothing");
  command.Flag("--chat", &options->chat, "Send the prompt as a user's message, in the model's chat template");
  command.Option("--system", &options->system, "System message before it (implies --chat)");
  options->sampling.Declare(command);
  command.Option("--logprobs", &options->logprobs,
                 "Report the log-probability of each token and of N (0 to 20) alternatives", "off");
  command.Option("-n,--n", &options->n, "Independent continuations, 1 to 64");
  command.Flag("--json", &options->json, "Print one JSON object a line: text, end, done");
  command.Flag("--stats", &options->stats,
               "Report speed on stderr, and its share of the machine's memory bandwidth (measured once)");
  command.Flag("-q,--quiet", &options->quiet, "Print nothing but the text");
  command.OnRun([options] { return Run(*options); });
}

}  // namespace lathe::cli
