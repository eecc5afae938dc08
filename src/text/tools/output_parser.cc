#include "text/tools/output_parser.h"

#include <array>
#include <span>

#include "base/hash.h"
#include "base/status.h"
#include "text/tools/call_object.h"

namespace lathe {
namespace {

constexpr std::string_view kThink = "<think>", kEndThink = "</think>";
constexpr std::string_view kHermesOpen = "<tool_call>", kHermesClose = "</tool_call>";
constexpr std::string_view kPythonTag = "<|python_tag|>", kToolCalls = "[TOOL_CALLS]";
constexpr std::string_view kArgs = "[ARGS]", kCallId = "[CALL_ID]";

// A failed match of a marker cannot hide the begin of another one: the first byte of each is nowhere else in
// it.
constexpr bool FirstByteIsUnique(std::string_view marker) {
  return marker.find(marker.front(), 1) == std::string_view::npos;
}
static_assert(FirstByteIsUnique(kThink) && FirstByteIsUnique(kEndThink) && FirstByteIsUnique(kHermesOpen) &&
              FirstByteIsUnique(kHermesClose) && FirstByteIsUnique(kPythonTag) &&
              FirstByteIsUnique(kToolCalls) && FirstByteIsUnique(kArgs) && FirstByteIsUnique(kCallId));

bool IsAlnum(char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

// What OpenAI allows in the name of a function, and the dot that models add.
bool IsNameByte(char c) { return IsAlnum(c) || c == '_' || c == '-' || c == '.'; }

// Mistral's templates take ids of exactly 9 letters and digits.
std::string MakeId(ToolFormat format, std::string_view prefix, int index) {
  uint64_t bits = Hash64(std::as_bytes(std::span(prefix)), static_cast<uint64_t>(index));
  if (format != ToolFormat::kMistral) return StrFormat("call_%016llx", static_cast<unsigned long long>(bits));
  std::string id;
  for (int i = 0; i < 9; ++i, bits /= 62) {
    id.push_back("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"[bits % 62]);
  }
  return id;
}

}  // namespace

std::string_view ToString(ToolFormat format) {
  constexpr std::array<std::string_view, 4> kNames = {"none", "hermes", "llama3_json", "mistral"};
  return kNames[static_cast<size_t>(format)];
}

std::string_view ToolMarker(ToolFormat format) {
  switch (format) {
    case ToolFormat::kNone: return {};
    case ToolFormat::kHermes: return kHermesOpen;
    case ToolFormat::kLlama3Json: return kPythonTag;
    case ToolFormat::kMistral: return kToolCalls;
  }
  return {};
}

struct OutputParser::Impl {
  enum class Phase {
    kReasoning,
    kContent,
    kOpened,     // behind the marker that opens calls
    kElement,    // before a further call object of a list
    kName,       // [TOOL_CALLS]name..
    kNamedArgs,  // [TOOL_CALLS]name[ARGS]{..
    kCall,       // inside a call object
    kNext,       // behind a call object of a list
  };

  explicit Impl(OutputParserOptions o) : options(std::move(o)) {
    if (options.tools) open_marker = ToolMarker(options.format);
    if (options.reasoning && options.starts_in_reasoning) {
      phase = Phase::kReasoning;
      drop_space = true;
    }
    think_allowed = options.reasoning;
  }

  bool bare_json() const { return options.tools && options.format == ToolFormat::kLlama3Json && at_start; }

  void Byte(char c) {
    switch (phase) {
      case Phase::kReasoning:
      case Phase::kContent: return Text(c);
      case Phase::kOpened: return Opened(c);
      case Phase::kElement: return Element(c);
      case Phase::kName: return Name(c);
      case Phase::kNamedArgs: return NamedArgs(c);
      case Phase::kCall: return Call(c);
      case Phase::kNext: return Next(c);
    }
  }

  // Reasoning and content: looks for markers, holds back white space that may part one from the text.
  void Text(char c) {
    if (partial.empty()) {
      if (IsSpace(c)) {
        if (!drop_space) space.push_back(c);
        return;
      }
      if (phase == Phase::kContent && c == '{' && bare_json()) return BeginCall();
    }
    partial.push_back(c);
    for (std::string_view marker :
         {phase == Phase::kReasoning ? kEndThink : open_marker, think_allowed ? kThink : std::string_view(),
          close_allowed ? kHermesClose : std::string_view()}) {
      if (!marker.starts_with(partial)) continue;
      if (marker.size() == partial.size()) {
        partial.clear();
        Marker(marker);
      }
      return;
    }
    // c may begin a marker of its own, unless it was the first byte tried.
    partial.pop_back();
    if (partial.empty()) {
      Give(std::string_view(&c, 1));
    } else {
      Give(std::exchange(partial, {}));
      Text(c);
    }
  }

  void Marker(std::string_view marker) {
    close_allowed = false;
    if (marker == open_marker) {
      held = marker;
      in_list = false;
      phase = Phase::kOpened;
      return;
    }
    space.clear();
    if (marker == kHermesClose) return EndCalls();
    think_allowed = false;
    drop_space = at_start = true;
    phase = marker == kThink ? Phase::kReasoning : Phase::kContent;
  }

  // Text that is decided to be content (or reasoning), with the white space before it.
  void Give(std::string_view text) {
    std::string& sink = phase == Phase::kReasoning ? out->reasoning : out->content;
    sink.append(space).append(text);
    space.clear();
    drop_space = at_start = think_allowed = close_allowed = after_call = false;
  }

  // What was held as a call is none: it is content, and c is looked at anew.
  void Abandon(char c) {
    AbandonAll();
    Text(c);
  }
  void AbandonAll() {
    phase = Phase::kContent;
    Give(std::exchange(held, {}));
  }

  void Opened(char c) {
    if (IsSpace(c)) {
      held.push_back(c);
    } else if (options.format != ToolFormat::kMistral) {
      Element(c);
    } else if (c == '[') {
      held.push_back(c);
      in_list = true;
      phase = Phase::kElement;
    } else if (IsNameByte(c)) {
      name.clear(), id.clear(), tag.clear();
      phase = Phase::kName;
      Name(c);
    } else {
      Abandon(c);
    }
  }

  void Element(char c) {
    if (c == '{') {
      BeginCall();
    } else if (IsSpace(c)) {
      held.push_back(c);
    } else {
      Abandon(c);
    }
  }

  // name, perhaps [CALL_ID]id, perhaps [ARGS], then the brace of the arguments.
  void Name(char c) {
    if (c == '{' && (tag.empty() || tag == kArgs) && KnownTool(options.tool_names, name)) {
      BeginCalls(name, id);
      named_args = BracketScanner();
      named_args.Push(c);
      Arguments(std::string_view(&c, 1));
      phase = Phase::kNamedArgs;
      return;
    }
    const bool ok = [&] {
      if (tag.empty() && IsNameByte(c)) {
        name.push_back(c);
        return true;
      }
      if (tag == kCallId && IsAlnum(c)) {
        id.push_back(c);
        return true;
      }
      if (tag == kArgs) return IsSpace(c);
      if (tag == kCallId && c == '[' && !id.empty()) tag.clear();
      tag.push_back(c);
      return kArgs.starts_with(tag) || (id.empty() && kCallId.starts_with(tag));
    }();
    if (!ok) return Abandon(c);
    held.push_back(c);
  }

  void NamedArgs(char c) {
    const BracketScanner::State state = named_args.Push(c);
    if (state == BracketScanner::State::kBad) {
      EndCalls();
      return Text(c);
    }
    Arguments(std::string_view(&c, 1));
    if (state == BracketScanner::State::kClosed) EndCalls();
  }

  void BeginCall() {
    call.emplace(options.tool_names);
    phase = Phase::kCall;
    Call('{');
  }

  void Call(char c) {
    std::string arguments;
    const bool was_committed = call->committed();
    const CallObject::State state = call->Push(c, &arguments);
    if (!was_committed && call->committed()) BeginCalls(call->name(), {});
    if (!arguments.empty()) Arguments(arguments);
    if (state == CallObject::State::kBad) {
      if (!was_committed) {
        held.append(call->raw());
        return Abandon(c);
      }
      EndCalls();
      return Text(c);
    }
    if (state != CallObject::State::kDone) return;
    if (options.format == ToolFormat::kHermes) {
      EndCalls();
      close_allowed = true;
    } else {
      phase = Phase::kNext;
    }
  }

  void Next(char c) {
    if (IsSpace(c)) {
      space.push_back(c);
    } else if (c == (in_list ? ',' : ';')) {
      held.assign(1, c);
      phase = Phase::kElement;
    } else if (!in_list && c == '{') {
      BeginCall();
    } else {
      EndCalls();
      if (!in_list || c != ']') return Text(c);
      space.clear();
    }
  }

  // A call is certain: what was held belongs to it.
  void BeginCalls(std::string_view call_name, std::string_view own_id) {
    held.clear();
    space.clear();
    at_start = think_allowed = drop_space = false;
    ToolCallDelta delta;
    delta.index = n_calls++;
    delta.id =
        own_id.size() == 9 ? std::string(own_id) : MakeId(options.format, options.id_prefix, delta.index);
    delta.name = call_name;
    delta.first = true;
    out->calls.push_back(std::move(delta));
  }

  void Arguments(std::string_view text) {
    if (out->calls.empty() || out->calls.back().index != n_calls - 1) {
      out->calls.push_back({.index = n_calls - 1});
    }
    out->calls.back().arguments.append(text);
  }

  void EndCalls() {
    phase = Phase::kContent;
    after_call = true;
  }

  void Flush() {
    switch (phase) {
      case Phase::kReasoning:
      case Phase::kContent:
        // White space between the last call and the end parts nothing from nothing.
        if (!partial.empty() || !after_call) Give(std::exchange(partial, {}));
        return;
      case Phase::kElement:
        if (n_calls > 0 && !in_list) return;  // a separator and nothing behind it
        return AbandonAll();
      case Phase::kOpened:
      case Phase::kName: return AbandonAll();
      case Phase::kCall:
        if (call->committed()) return;  // cut short; what there is of the arguments is out
        held.append(call->raw());
        return AbandonAll();
      case Phase::kNamedArgs:
      case Phase::kNext: return;
    }
  }

  OutputParserOptions options;
  std::string_view open_marker;  // empty: no calls are looked for
  ParsedDelta* out = nullptr;

  Phase phase = Phase::kContent;
  bool at_start = true;        // nothing but white space and reasoning so far
  bool think_allowed = false;  // <think> is still a marker
  bool close_allowed = false;  // </tool_call> is due
  bool after_call = false;     // nothing but white space since the last call
  bool drop_space = false;     // white space here parts a marker from text
  std::string space, partial;  // white space, then the begin of a marker, both not yet decided
  std::string held;            // behind `space`: what may be a call, up to the call object
  bool in_list = false;        // between [ and ] of Mistral's list
  std::string name, id, tag;   // of the form [TOOL_CALLS]name[CALL_ID]id[ARGS]
  std::optional<CallObject> call;
  BracketScanner named_args;
  int n_calls = 0;
};

OutputParser::OutputParser(OutputParserOptions options) : impl_(std::make_unique<Impl>(std::move(options))) {}
OutputParser::~OutputParser() = default;
OutputParser::OutputParser(OutputParser&&) noexcept = default;
OutputParser& OutputParser::operator=(OutputParser&&) noexcept = default;

void OutputParser::Push(std::string_view text, ParsedDelta* out) {
  if (!impl_->options.tools && !impl_->options.reasoning) {
    out->content.append(text);
    return;
  }
  impl_->out = out;
  for (const char c : text) impl_->Byte(c);
}

void OutputParser::Flush(ParsedDelta* out) {
  impl_->out = out;
  impl_->Flush();
}

int OutputParser::n_calls() const { return impl_->n_calls; }

}  // namespace lathe
