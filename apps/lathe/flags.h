// The command line as data: commands with typed options, their help, and faults in one sentence. A thin face
// over CLI11, which only flags.cc includes.
//
// Values that are not of an option's kind, unknown flags and missing arguments are usage faults (exit 2).
// Values of the right kind but out of range are the business of whoever uses them (exit 1).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "lathe/status.h"

namespace CLI {
class App;
}

namespace lathe::cli {

inline constexpr int kExitOk = 0;
inline constexpr int kExitFault = 1;
inline constexpr int kExitUsage = 2;
inline constexpr int kExitInterrupted = 130;  // 128 + SIGINT, as shells report it

// What a command does once parsed: an exit code, or the fault to print (exit 1).
using Action = std::function<Expected<int>()>;

// One command while its options are declared. The pointers given to it must live until the action has run
// (commands keep them in an object that their action owns).
class Command {
 public:
  Command(CLI::App* app, Action* chosen) : app_(app), chosen_(chosen) {}

  // A command below this one ("bench" -> "latency"). `example` is a whole line to type.
  Command Sub(const std::string& name, const std::string& help, const std::string& example);

  // Positional argument. Optional ones leave *out as it is (or empty) when absent.
  void Argument(const std::string& name, std::string* out, const std::string& help);
  void Argument(const std::string& name, std::optional<std::string>* out, const std::string& help);

  // `names`: "--seed" or "-n,--n". The default shown is the present value of *out; for optionals it is
  // `absent`.
  void Flag(const std::string& names, bool* out, const std::string& help);
  void Option(const std::string& names, int* out, const std::string& help);
  void Option(const std::string& names, double* out, const std::string& help);
  void Option(const std::string& names, std::string* out, const std::string& help, bool required = false);
  void Option(const std::string& names, std::optional<int>* out, const std::string& help,
              const std::string& absent);
  void Option(const std::string& names, std::optional<double>* out, const std::string& help,
              const std::string& absent);
  void Option(const std::string& names, std::optional<uint64_t>* out, const std::string& help,
              const std::string& absent);
  void Option(const std::string& names, std::optional<std::string>* out, const std::string& help,
              const std::string& absent);
  // May be given several times, one value each.
  void Repeated(const std::string& names, const std::string& kind, const std::string& help,
                std::function<Status(const std::string& text)> add);
  // A value of a kind of the caller's own, shown in the help as `kind`.
  void Parsed(const std::string& names, const std::string& kind, const std::string& help,
              const std::string& shown_default, std::function<Status(const std::string& text)> set);
  // A size with a suffix (ParseByteSize); 0 is shown as `zero`.
  void Bytes(const std::string& names, uint64_t* out, const std::string& help, const std::string& zero);

  void OnRun(Action action);

 private:
  void AddOption(const std::string& names, const std::string& kind, const std::string& help,
                 const std::string& shown_default, bool required, bool repeated,
                 std::function<Status(const std::string&)> set);
  CLI::App* app_;
  Action* chosen_;
};

// The program: parses, runs the chosen command's action, prints faults as "lathe: ..." on stderr.
class CommandLine {
 public:
  CommandLine(const std::string& description, const std::string& example);
  ~CommandLine();
  Command Root();
  // Parses argv and runs; the process's exit code. `--help` and `--version` print to stdout.
  int Run(int argc, char** argv);

 private:
  int UsageFault(const std::string& what, const CLI::App& where) const;
  int UnknownArgument(const std::string& argument, const CLI::App& where) const;
  int MissingArgument(const CLI::App& where) const;
  std::unique_ptr<CLI::App> app_;
  Action chosen_;
};

}  // namespace lathe::cli
