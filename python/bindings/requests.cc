// lathe._lathe.Mailbox, Request and Chunk: taking out what the engine's thread has put in.
#include "requests.h"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/unique_ptr.h>
#include <nanobind/stl/vector.h>

#include <utility>

#include "convert.h"

namespace lathe::python {
namespace {

// A piece of an answer. Python objects are made of its parts when they are asked for.
struct Chunk {
  Piece piece;
  ParsedDelta parsed;  // of a chat
  bool is_chat = false, wants_logprobs = false;
  std::shared_ptr<EngineCell> cell;
};

nb::list CallsToPython(const std::vector<ToolCallDelta>& calls) {
  nb::list out;
  for (const ToolCallDelta& call : calls) {
    nb::dict function, entry;
    entry["index"] = call.index;
    if (call.first) {
      entry["id"] = TextToPython(call.id);
      entry["type"] = "function";
      function["name"] = TextToPython(call.name);
    }
    function["arguments"] = TextToPython(call.arguments);
    entry["function"] = function;
    out.append(entry);
  }
  return out;
}

nb::tuple UsageToPython(const Usage& usage) {
  return nb::make_tuple(usage.prompt_tokens, usage.cached_tokens, usage.completion_tokens);
}

nb::str ReprOf(const Chunk& chunk) {
  return nb::str("Chunk(index={}, text={!r}, finish_reason={!r})")
      .format(chunk.piece.index, TextToPython(chunk.piece.text), FinishToPython(chunk.piece.finish));
}

// A failure is an exception; so is an end that nobody asked for.
void RaiseIfFailed(const PyRequest& request, FinishReason finish) {
  if (finish == FinishReason::kError) Raise(request.state->Snapshot().error);
  if (finish == FinishReason::kCancelled && !request.cancelled)
    Raise(Error(StatusCode::kCancelled, "the request was cancelled: its LLM was closed"));
}

void Parse(OutputParser* parser, const Piece& piece, ParsedDelta* out) {
  parser->Push(piece.text, out);
  if (piece.finish != FinishReason::kNone) parser->Flush(out);
}

// The next chunk, or None when nothing new has come.
nb::object NextChunk(PyRequest& request) {
  std::optional<Piece> piece = request.state->TakePiece();
  if (!piece) return nb::none();
  RaiseIfFailed(request, piece->finish);
  auto chunk = std::make_unique<Chunk>();
  chunk->wants_logprobs = request.wants_logprobs;
  chunk->cell = request.cell;
  if (!request.parsers.empty()) {
    chunk->is_chat = true;
    Parse(&request.parsers[static_cast<size_t>(piece->index)], *piece, &chunk->parsed);
  }
  chunk->piece = *std::move(piece);
  return nb::cast(std::move(chunk));
}

// (content, reasoning, tool calls) of the whole text of an answer.
nb::tuple ParseAnswer(const OutputParserOptions& options, const std::string& text) {
  OutputParser parser(options);
  ParsedDelta parsed;
  parser.Push(text, &parsed);
  parser.Flush(&parsed);
  nb::list calls = CallsToPython(parsed.calls);
  for (nb::handle call : calls) nb::del(call["index"]);
  return nb::make_tuple(TextToPython(parsed.content), TextToPython(parsed.reasoning), calls);
}

// (continuations, prompt_logprobs, embedding, usage, times): what lathe._outputs makes a RequestOutput of.
nb::tuple ResultOf(PyRequest& request) {
  const Outcome outcome = request.state->Snapshot();
  nb::list continuations;
  for (size_t i = 0; i < outcome.continuations.size(); ++i) {
    const Continuation& c = outcome.continuations[i];
    RaiseIfFailed(request, c.finish);
    nb::object logprobs = nb::none(), sum = nb::none();
    if (request.wants_logprobs) {
      double total = 0;
      for (const TokenOutput& token : c.tokens) total += token.logprob;
      sum = nb::float_(total);
      logprobs = LogprobsToPython(c.tokens, /*first_has_none=*/false, *request.cell);
    }
    const nb::tuple parsed = request.chat ? ParseAnswer(*request.chat, c.text)
                                          : nb::make_tuple(TextToPython(c.text), "", nb::list());
    continuations.append(nb::make_tuple(TextToPython(c.text), TokenIdsOf(c.tokens), FinishToPython(c.finish),
                                        logprobs, sum, parsed[0], parsed[1], parsed[2]));
  }
  nb::object prompt = nb::none();
  if (!outcome.prompt.empty())
    prompt = LogprobsToPython(outcome.prompt, /*first_has_none=*/true, *request.cell);
  nb::list embedding;
  for (const float x : outcome.embedding) embedding.append(static_cast<double>(x));
  const auto since = [&](double time) { return time > 0 ? time - outcome.submitted : 0.0; };
  return nb::make_tuple(continuations, prompt, embedding, UsageToPython(outcome.usage),
                        nb::make_tuple(outcome.queued_seconds, since(outcome.first), since(outcome.last)));
}

std::vector<uint64_t> WaitFor(Mailbox& mailbox, double seconds) {
  if (seconds <= 0) return mailbox.Take(0);
  const WithoutGil unlocked;
  return mailbox.Take(seconds);
}

}  // namespace

PyRequest::PyRequest(std::shared_ptr<EngineCell> c, std::shared_ptr<RequestState> s, RequestId id)
    : cell(std::move(c)), state(std::move(s)), id_(id) {}

PyRequest::~PyRequest() {
  // In a fork the mutexes may be held by threads that are not there.
  if (cell->closed() || state->ended()) return;
  Cancel();
}

void PyRequest::Cancel() {
  cancelled = true;
  const auto engine = cell->Use();
  if (engine.ok()) (*engine)->Cancel(id_);
}

void BindRequests(nb::module_& module) {
  nb::class_<Mailbox>(module, "Mailbox", "Where requests announce that they have something new.")
      .def_static(
          "create", [](bool with_descriptor) { return ValueOrRaise(Mailbox::Create(with_descriptor)); },
          nb::arg("with_descriptor") = false)
      .def_prop_ro("descriptor", &Mailbox::descriptor)
      .def("take", &WaitFor, nb::arg("seconds") = 0.0,
           "Keys of the requests with news, each once; waits up to `seconds` for the first.");

  nb::class_<Chunk>(module, "Chunk", "A piece of an answer, as it streams.")
      .def_prop_ro(
          "index", [](const Chunk& c) { return c.piece.index; }, "Which of the n continuations.")
      .def_prop_ro(
          "text", [](const Chunk& c) -> nb::typed<nb::object, nb::str> { return TextToPython(c.piece.text); },
          "The text that came; whole characters.")
      .def_prop_ro(
          "token_ids", [](const Chunk& c) -> nb::typed<nb::list, int> { return TokenIdsOf(c.piece.tokens); },
          "The tokens behind it (may run ahead of the text).")
      .def_prop_ro(
          "finish_reason",
          [](const Chunk& c) -> nb::typed<nb::object, std::optional<nb::str>> {
            return FinishToPython(c.piece.finish);
          },
          "None while the continuation goes on; else stop, length, cancelled or deadline.")
      .def_prop_ro(
          "last", [](const Chunk& c) { return c.piece.last; }, "Nothing follows for the whole request.")
      .def_prop_ro(
          "logprobs",
          [](const Chunk& c) -> nb::typed<nb::object, std::optional<nb::list>> {
            if (!c.wants_logprobs) return nb::none();
            return LogprobsToPython(c.piece.tokens, /*first_has_none=*/false, *c.cell);
          },
          "As of CompletionOutput, of the tokens in this chunk.")
      .def_prop_ro(
          "content",
          [](const Chunk& c) -> nb::typed<nb::object, nb::str> {
            return TextToPython(c.is_chat ? c.parsed.content : c.piece.text);
          },
          "Of a chat: the text without reasoning and tool calls.")
      .def_prop_ro(
          "reasoning",
          [](const Chunk& c) -> nb::typed<nb::object, nb::str> { return TextToPython(c.parsed.reasoning); },
          "Of a chat: what the model marks as its reasoning.")
      .def_prop_ro(
          "tool_calls", [](const Chunk& c) { return CallsToPython(c.parsed.calls); },
          "Of a chat: pieces of tool calls, as OpenAI streams them.")
      .def_prop_ro(
          "usage", [](const Chunk& c) { return UsageToPython(c.piece.usage); },
          "Tokens so far: (prompt, of it from the cache, generated).")
      .def("__repr__", &ReprOf);

  nb::class_<ChatJob>(module, "ChatJob", "A conversation that has become a prompt.")
      .def_ro("text", &ChatJob::text)
      .def_prop_ro("prompt_ids", [](const ChatJob& c) { return IdsToPython(c.job.prompts[0].ids); });

  nb::class_<PyRequest>(module, "Request", "A submitted request; dropping it cancels it.")
      .def_prop_ro("key", [](const PyRequest& r) { return r.state->key(); })
      .def_prop_ro("prompt_ids", [](const PyRequest& r) { return IdsToPython(r.prompt_ids); })
      .def_prop_ro("ended", [](const PyRequest& r) { return r.state->ended(); })
      .def("next", &NextChunk, nb::sig("def next(self) -> Chunk | None"),
           "What has come since the last call; None: nothing.")
      .def("result", &ResultOf, "All that has come; raises what it failed with.")
      .def("cancel", &PyRequest::Cancel);
}

}  // namespace lathe::python
