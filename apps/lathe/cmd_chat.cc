// `lathe chat`: a conversation, line by line.
#include <unistd.h>

#include <cstdio>
#include <memory>

#include "base/status.h"
#include "commands.h"
#include "generation.h"
#include "model_options.h"
#include "sampling_options.h"
#include "terminal/interrupt.h"
#include "terminal/line_reader.h"
#include "terminal/table.h"
#include "terminal/terminal.h"

namespace lathe::cli {
namespace {

struct Options {
  ModelOptions model;
  SamplingOptions sampling{/*default_max_tokens=*/0};
  std::string system;
  bool stats = false;
};

constexpr char kHelp[] =
    "  /help          show this\n"
    "  /reset         forget the conversation\n"
    "  /system TEXT   set the system message and start anew; without TEXT: none\n"
    "  /stats         what the engine has done\n"
    "  /quit          leave (or Ctrl-D)\n"
    "  Ctrl-C         stop an answer\n"
    "  A line that ends with \\ goes on in the next one.\n";

// Reads lines, keeps the messages, prints answers. Without a terminal on standard input it prints no prompt
// and a fault ends it, so that a script notices.
class Conversation {
 public:
  Conversation(const Options& options, Engine& engine)
      : options_(options),
        engine_(engine),
        out_(DescribeTerminal(STDOUT_FILENO)),
        err_(DescribeTerminal(STDERR_FILENO)),
        interactive_(isatty(STDIN_FILENO) == 1),
        system_(options.system),
        messages_(ConversationStart(system_)),
        reader_(STDIN_FILENO, interrupt_.fd()) {}

  Expected<int> Loop() {
    if (interactive_)
      Say("Talk to " + engine_.model().name + ". /help lists commands; Ctrl-C stops an answer.\n");
    bool hinted = false;
    std::string line;
    while (true) {
      switch (ReadMessage(&line)) {
        case ReadOutcome::kEnd:
          if (interactive_) Say("\n");
          return kExitOk;
        case ReadOutcome::kInterrupted:
          // The first Ctrl-C may have been meant for an answer that had just ended.
          if (!interactive_) return kExitInterrupted;
          if (hinted) {
            Say("\n");
            return kExitOk;
          }
          Say("\n(/quit, Ctrl-D or Ctrl-C once more to leave)\n");
          hinted = true;
          continue;
        case ReadOutcome::kLine: hinted = false; break;
      }
      if (line.find_first_not_of(" \t") == std::string::npos) continue;
      if (line.front() == '/') {
        if (!RunCommand(line)) return kExitOk;
        continue;
      }
      const Status status = Answer(line);
      if (!interactive_ && stopped_) return kExitInterrupted;
      if (status.ok()) continue;
      if (!interactive_) return status;
      const Style style(err_);
      std::fprintf(stderr, "%s %s\n", style.Red("lathe:").c_str(), status.message().c_str());
      Say("(your message was not kept; /reset forgets the conversation)\n");
    }
  }

 private:
  // Words of the program itself: on stderr, so that a pipe gets the answers alone.
  void Say(const std::string& text) { WriteAll(STDERR_FILENO, Style(err_).Dim(text)); }

  ReadOutcome ReadMessage(std::string* message) {
    message->clear();
    const char* prompt = "> ";
    while (true) {
      if (interactive_) WriteAll(STDERR_FILENO, Style(err_).Bold(prompt));
      std::string line;
      const ReadOutcome outcome = reader_.Next(&line);
      if (outcome == ReadOutcome::kInterrupted) {
        interrupt_.Taken();
        return outcome;
      }
      if (outcome == ReadOutcome::kEnd) return message->empty() ? outcome : ReadOutcome::kLine;
      const bool goes_on = line.ends_with('\\');
      if (goes_on) line.back() = '\n';
      *message += line;
      if (!goes_on) return ReadOutcome::kLine;
      prompt = ". ";
    }
  }

  // False: leave.
  bool RunCommand(const std::string& line) {
    const size_t gap = line.find(' ');
    const std::string name = line.substr(0, gap);
    const std::string argument = gap == std::string::npos ? "" : line.substr(gap + 1);
    if (name == "/quit" || name == "/exit") return false;
    if (name == "/help") {
      Say(kHelp);
    } else if (name == "/reset") {
      messages_ = ConversationStart(system_);
      Say("(the conversation starts anew)\n");
    } else if (name == "/system") {
      system_ = argument;
      messages_ = ConversationStart(system_);
      Say(system_.empty() ? "(no system message; the conversation starts anew)\n"
                          : "(system message set; the conversation starts anew)\n");
    } else if (name == "/stats") {
      Say(StatsTable());
    } else {
      Say("(no command " + Printable(name) + "; /help lists them)\n");
    }
    return true;
  }

  std::string StatsTable() const {
    const EngineStats stats = engine_.Stats();
    Table table({{""}, {"", Align::kRight}});
    table.AddRow({"messages", std::to_string(messages_.size())});
    table.AddRow({"prompt tokens", std::to_string(stats.prompt_tokens)});
    table.AddRow({"of these from the cache", std::to_string(stats.cached_tokens)});
    if (stats.host_pages_total > 0)
      table.AddRow({"of these from host memory", std::to_string(stats.host_tokens)});
    table.AddRow({"generated tokens", std::to_string(stats.generated_tokens)});
    table.AddRow(
        {"KV pages used", StrFormat("%d of %d", stats.pages_used + stats.pages_cached, stats.pages_total)});
    table.AddRow({"seconds computing", StrFormat("%.2f", stats.step_seconds)});
    return table.Render(2);
  }

  Status Answer(const std::string& message) {
    Json asked = messages_;
    AddMessage(&asked, "user", message);
    Request request;
    request.prompt.chat.emplace().messages_json = DumpJson(asked);
    request.sampling = options_.sampling.Over(engine_.DefaultSampling());
    std::string answer;
    bool written = true;
    auto generation = Generate(engine_, std::move(request), interrupt_, [&](const OutputDelta& delta) {
      answer += delta.text;
      written = written && WriteAll(STDOUT_FILENO, out_.interactive ? TerminalSafe(delta.text) : delta.text);
    });
    LATHE_RETURN_IF_ERROR(generation.status());
    if (!answer.ends_with('\n')) written = written && WriteAll(STDOUT_FILENO, "\n");
    if (!written) return Error(StatusCode::kIo, "standard output cannot be written; is the disk full?");
    // A stopped answer stays in the conversation as far as it was read.
    messages_ = std::move(asked);
    AddMessage(&messages_, "assistant", answer);
    stopped_ = generation->interrupted;
    if (stopped_) Say("(stopped)\n");
    if (interactive_ || options_.stats) Say(Summary(*generation) + "\n");
    return {};
  }

  const Options& options_;
  Engine& engine_;
  Terminal out_, err_;
  bool interactive_;
  std::string system_;
  Json messages_;
  Interrupt interrupt_;
  LineReader reader_;
  bool stopped_ = false;  // the last answer, by Ctrl-C
};

Expected<int> Run(const Options& options) {
  LATHE_RETURN_IF_ERROR(options.sampling.Check());
  LATHE_ASSIGN_OR_RETURN(const std::unique_ptr<Engine> engine, OpenModel(options.model));
  if (!engine->model().has_chat_template) {
    return Error(StatusCode::kUnsupported,
                 "model %s has no chat template; use \"lathe run %s PROMPT\" to continue plain text",
                 engine->model().name.c_str(), options.model.path.c_str());
  }
  return Conversation(options, *engine).Loop();
}

}  // namespace

void AddChat(Command& root) {
  auto options = std::make_shared<Options>();
  Command command = root.Sub("chat", "Talk to a model; lines of standard input are your messages",
                             "lathe chat model.lathe --system \"You tell short tales.\"");
  options->model.Declare(command);
  command.Option("--system", &options->system, "System message");
  options->sampling.Declare(command);
  command.Flag("--stats", &options->stats,
               "Report speed on stderr after each answer, not only on a terminal");
  command.OnRun([options] { return Run(*options); });
}

}  // namespace lathe::cli
