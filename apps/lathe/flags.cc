#include "flags.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>

#include "base/check.h"
#include "base/status.h"
#include "lathe/version.h"
#include "terminal/format.h"
#include "terminal/help.h"
#include "terminal/terminal.h"

namespace lathe::cli {
namespace {

template <typename T>
Status ParseNumber(const std::string& text, const char* kind, T* out) {
  T value{};
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  bool good = error == std::errc() && stop == end && !text.empty();
  if constexpr (std::is_floating_point_v<T>) good = good && std::isfinite(value);
  if (!good) return Error(StatusCode::kInvalidArgument, "expected %s, found \"%s\"", kind, text.c_str());
  *out = value;
  return {};
}

constexpr char kWhole[] = "a whole number";
constexpr char kNumber[] = "a number";

std::string ShowNumber(double value) { return StrFormat("%g", value); }

HelpOption Describe(const CLI::Option& option) {
  HelpOption out;
  out.names = option.get_positional() ? option.get_name(true) : option.get_name(false, true);
  std::replace(out.names.begin(), out.names.end(), ',', ' ');
  if (const size_t gap = out.names.find(' '); gap != std::string::npos) out.names.insert(gap, ",");
  out.kind = option.get_positional() ? "" : option.get_type_name();
  out.help = option.get_description();
  out.shown_default = option.get_default_str();
  out.required = option.get_required();
  return out;
}

// The help of a command, in this program's own layout.
std::string HelpOf(const CLI::App& app, const std::string& full_name) {
  HelpPage page;
  page.name = full_name;
  page.description = app.get_description();
  page.example = app.get_footer();
  for (const CLI::Option* option : app.get_options()) {
    (option->get_positional() ? page.arguments : page.options).push_back(Describe(*option));
  }
  for (const CLI::App* sub : app.get_subcommands([](const CLI::App*) { return true; })) {
    HelpOption& command = page.commands.emplace_back();
    command.names = sub->get_name();
    command.help = sub->get_description();
  }
  const Terminal terminal = DescribeTerminal(1);
  return RenderHelp(page, Style(terminal), std::min(terminal.width, 110));
}

std::string FullName(const CLI::App& app) {
  std::string name = app.get_name();
  for (const CLI::App* up = app.get_parent(); up != nullptr; up = up->get_parent()) {
    name = up->get_name() + " " + name;
  }
  return name;
}

// The command that the parser had reached.
const CLI::App& Deepest(const CLI::App& app) {
  const CLI::App* at = &app;
  while (!at->get_subcommands().empty()) at = at->get_subcommands().back();
  return *at;
}

}  // namespace

Command Command::Sub(const std::string& name, const std::string& help, const std::string& example) {
  CLI::App* sub = app_->add_subcommand(name, help);
  sub->footer(example);
  app_->require_subcommand(1);
  return Command(sub, chosen_);
}

void Command::AddOption(const std::string& names, const std::string& kind, const std::string& help,
                        const std::string& shown_default, bool required, bool repeated,
                        std::function<Status(const std::string&)> set) {
  const auto callback = [set = std::move(set), names](const CLI::results_t& values) {
    for (const std::string& value : values) {
      const Status status = set(value);
      if (!status.ok()) throw CLI::ValidationError(names, status.message());
    }
    return true;
  };
  CLI::Option* option = app_->add_option(names, callback, help);
  option->type_name(kind)->type_size(1)->expected(1)->required(required);
  if (repeated) option->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  option->default_str(shown_default);
}

void Command::Argument(const std::string& name, std::string* out, const std::string& help) {
  AddOption(name, "", help, "", /*required=*/true, false, [out](const std::string& text) {
    *out = text;
    return Status();
  });
}

void Command::Argument(const std::string& name, std::optional<std::string>* out, const std::string& help) {
  AddOption(name, "", help, "", /*required=*/false, false, [out](const std::string& text) {
    *out = text;
    return Status();
  });
}

void Command::Flag(const std::string& names, bool* out, const std::string& help) {
  app_->add_flag(names, *out, help)->type_name("");
}

void Command::Option(const std::string& names, int* out, const std::string& help) {
  AddOption(names, "N", help, std::to_string(*out), false, false,
            [out](const std::string& text) { return ParseNumber(text, kWhole, out); });
}

void Command::Option(const std::string& names, double* out, const std::string& help) {
  AddOption(names, "X", help, ShowNumber(*out), false, false,
            [out](const std::string& text) { return ParseNumber(text, kNumber, out); });
}

void Command::Option(const std::string& names, std::string* out, const std::string& help, bool required) {
  AddOption(names, "TEXT", help, *out, required, false, [out](const std::string& text) {
    *out = text;
    return Status();
  });
}

void Command::Option(const std::string& names, std::optional<int>* out, const std::string& help,
                     const std::string& absent) {
  AddOption(names, "N", help, absent, false, false,
            [out](const std::string& text) { return ParseNumber(text, kWhole, &out->emplace()); });
}

void Command::Option(const std::string& names, std::optional<double>* out, const std::string& help,
                     const std::string& absent) {
  AddOption(names, "X", help, absent, false, false,
            [out](const std::string& text) { return ParseNumber(text, kNumber, &out->emplace()); });
}

void Command::Option(const std::string& names, std::optional<uint64_t>* out, const std::string& help,
                     const std::string& absent) {
  AddOption(names, "N", help, absent, false, false, [out](const std::string& text) {
    return ParseNumber(text, "a whole number from 0 to 2^64 - 1", &out->emplace());
  });
}

void Command::Option(const std::string& names, std::optional<std::string>* out, const std::string& help,
                     const std::string& absent) {
  AddOption(names, "TEXT", help, absent, false, false, [out](const std::string& text) {
    *out = text;
    return Status();
  });
}

void Command::Repeated(const std::string& names, const std::string& kind, const std::string& help,
                       std::function<Status(const std::string& text)> add) {
  AddOption(names, kind, help + " (repeatable)", "none", false, /*repeated=*/true, std::move(add));
}

void Command::Parsed(const std::string& names, const std::string& kind, const std::string& help,
                     const std::string& shown_default, std::function<Status(const std::string& text)> set) {
  AddOption(names, kind, help, shown_default, false, false, std::move(set));
}

void Command::Bytes(const std::string& names, uint64_t* out, const std::string& help,
                    const std::string& zero) {
  AddOption(names, "SIZE", help, *out == 0 ? zero : std::to_string(*out), false, false,
            [out](const std::string& text) {
              const auto parsed = ParseByteSize(text);
              if (parsed.ok()) *out = *parsed;
              return parsed.status();
            });
}

void Command::OnRun(Action action) {
  app_->callback([chosen = chosen_, action = std::move(action)] { *chosen = action; });
}

CommandLine::CommandLine(const std::string& description, const std::string& example)
    : app_(std::make_unique<CLI::App>(description, "lathe")) {
  app_->set_help_flag("-h,--help", "Show this help and exit");
  app_->set_version_flag("--version", std::string("lathe ") + kVersionString, "Show the version and exit");
  app_->footer(example);
  app_->formatter_fn(
      [](const CLI::App* app, std::string, CLI::AppFormatMode) { return HelpOf(*app, FullName(*app)); });
}

CommandLine::~CommandLine() = default;

Command CommandLine::Root() { return Command(app_.get(), &chosen_); }

int CommandLine::UsageFault(const std::string& what, const CLI::App& where) const {
  const Style style(DescribeTerminal(2));
  std::fprintf(stderr, "%s %s\n%s\n", style.Red("lathe:").c_str(), what.c_str(),
               style.Dim("Try: " + FullName(where) + " --help").c_str());
  return kExitUsage;
}

int CommandLine::UnknownArgument(const std::string& argument, const CLI::App& where) const {
  const bool is_flag = argument.size() > 1 && argument.front() == '-';
  const std::vector<const CLI::App*> subs = where.get_subcommands([](const CLI::App*) { return true; });
  std::vector<std::string> names;
  if (is_flag) {
    for (const CLI::Option* option : where.get_options()) {
      for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
    }
  } else {
    for (const CLI::App* sub : subs) names.push_back(sub->get_name());
  }
  const char* kind = is_flag ? "flag" : subs.empty() ? "argument" : "command";
  std::string what = StrFormat("unknown %s \"%s\" for %s", kind, argument.c_str(), FullName(where).c_str());
  const std::string near = NearestName(argument.substr(0, argument.find('=')), names);
  if (!near.empty()) what += ", did you mean " + near + "?";
  return UsageFault(what, where);
}

int CommandLine::MissingArgument(const CLI::App& where) const {
  // What is not understood comes before what is not there.
  const std::vector<std::string> extras = app_->remaining(/*recurse=*/true);
  if (!extras.empty()) return UnknownArgument(extras.front(), where);
  for (const CLI::Option* option : where.get_options()) {
    if (option->get_required() && option->count() == 0) {
      return UsageFault(FullName(where) + " needs " + option->get_name(option->get_positional()), where);
    }
  }
  std::fputs(HelpOf(where, FullName(where)).c_str(), stderr);  // a command is missing
  return kExitUsage;
}

int CommandLine::Run(int argc, char** argv) {
  try {
    app_->parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    const CLI::App& asked = Deepest(*app_);
    std::fputs(HelpOf(asked, FullName(asked)).c_str(), stdout);
    return kExitOk;
  } catch (const CLI::CallForVersion& version) {
    std::printf("%s\n", version.what());
    return kExitOk;
  } catch (const CLI::ExtrasError&) {
    return UnknownArgument(app_->remaining(/*recurse=*/true).front(), Deepest(*app_));
  } catch (const CLI::RequiredError&) {
    return MissingArgument(Deepest(*app_));
  } catch (const CLI::ParseError& error) {
    return UsageFault(error.what(), Deepest(*app_));
  }
  LATHE_CHECK(chosen_ != nullptr);
  const Expected<int> code = chosen_();
  if (code.ok()) return *code;
  const Style style(DescribeTerminal(2));
  std::fflush(stdout);
  std::fprintf(stderr, "%s %s\n", style.Red("lathe:").c_str(), code.status().message().c_str());
  return kExitFault;
}

}  // namespace lathe::cli
