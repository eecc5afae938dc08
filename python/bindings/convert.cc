#include "convert.h"

#include <cmath>
#include <limits>

#include "runtime/engine/prepare.h"

namespace lathe::python {
namespace {

constexpr int64_t kMaxInt = std::numeric_limits<int>::max();

nb::object FieldOf(nb::handle params, const char* name) { return nb::getattr(params, name); }

struct NumberField {
  const char* name;
  double SamplingParams::*field;
};
constexpr NumberField kNumbers[] = {
    {"temperature", &SamplingParams::temperature},
    {"top_p", &SamplingParams::top_p},
    {"min_p", &SamplingParams::min_p},
    {"repetition_penalty", &SamplingParams::repetition_penalty},
    {"presence_penalty", &SamplingParams::presence_penalty},
    {"frequency_penalty", &SamplingParams::frequency_penalty},
};

struct IntField {
  const char* name;
  int SamplingParams::*field;
};
constexpr IntField kInts[] = {
    {"top_k", &SamplingParams::top_k},
    {"max_tokens", &SamplingParams::max_tokens},
    {"min_tokens", &SamplingParams::min_tokens},
    {"logprobs", &SamplingParams::logprobs},
};

struct FlagField {
  const char* name;
  bool SamplingParams::*field;
};
constexpr FlagField kFlags[] = {
    {"ignore_eos", &SamplingParams::ignore_eos},
    {"include_stop_str_in_output", &SamplingParams::include_stop},
    {"skip_special_tokens", &SamplingParams::skip_special_tokens},
};

bool FlagOf(nb::handle value, const char* name) {
  if (!nb::isinstance<nb::bool_>(value)) RaiseWrong(name, "True or False", value);
  return value.ptr() == Py_True;
}

// One text, or several.
std::vector<std::string> TextsOf(nb::handle value, const std::string& name) {
  if (nb::isinstance<nb::str>(value)) return {TextOf(value, name)};
  if (!nb::isinstance<nb::list>(value) && !nb::isinstance<nb::tuple>(value))
    RaiseWrong(name, "text or a list of texts", value);
  std::vector<std::string> out;
  for (nb::handle item : nb::iter(value))
    out.push_back(TextOf(item, name + "[" + std::to_string(out.size()) + "]"));
  return out;
}

std::vector<std::pair<TokenId, double>> BiasesOf(nb::handle value) {
  if (!nb::isinstance<nb::dict>(value)) RaiseWrong("logit_bias", "a dict from token ids to numbers", value);
  std::vector<std::pair<TokenId, double>> out;
  for (const auto& [id, bias] : nb::borrow<nb::dict>(value)) {
    nb::object number = nb::borrow(id);
    if (nb::isinstance<nb::str>(id)) {  // as JSON has it
      number = nb::steal(PyLong_FromUnicodeObject(id.ptr(), 10));
      if (!number.is_valid()) {
        PyErr_Clear();
        RaiseWrong("a key of logit_bias", "a token id", id);
      }
    }
    const auto token = static_cast<TokenId>(IntOf(number, "a key of logit_bias", -kMaxInt, kMaxInt));
    out.emplace_back(token, NumberOf(bias, "logit_bias of token " + std::to_string(token)));
  }
  return out;
}

uint64_t SeedOf(nb::handle value) {
  const nb::object number = nb::steal(PyNumber_Index(value.ptr()));
  if (number.is_valid()) {
    const unsigned long long seed = PyLong_AsUnsignedLongLong(number.ptr());
    if (PyErr_Occurred() == nullptr) return seed;
  }
  PyErr_Clear();
  RaiseWrong("seed", "a whole number in [0, 18446744073709551615]", value);
}

// What the output must be: SamplingParams says it as (kind, source) or (kind, [choices]), or None.
std::optional<OutputFormat> FormatOf(nb::handle params) {
  static constexpr std::pair<std::string_view, OutputFormat::Kind> kKinds[] = {
      {"json_object", OutputFormat::Kind::kJsonObject},
      {"json_schema", OutputFormat::Kind::kJsonSchema},
      {"regex", OutputFormat::Kind::kRegex},
      {"choice", OutputFormat::Kind::kChoice},
      {"grammar", OutputFormat::Kind::kGrammar},
  };
  const nb::object given = params.attr("_format")();
  if (given.is_none()) return std::nullopt;
  const std::string name = nb::cast<std::string>(given[0]);
  OutputFormat format;
  for (const auto& [word, kind] : kKinds) {
    if (word == name) format.kind = kind;
  }
  if (format.kind == OutputFormat::Kind::kChoice)
    format.choices = TextsOf(given[1], name);
  else if (format.kind != OutputFormat::Kind::kJsonObject)
    format.source = TextOf(given[1], name);
  return format;
}

}  // namespace

std::string TextOf(nb::handle value, const std::string& name) {
  if (!nb::isinstance<nb::str>(value)) RaiseWrong(name, "text", value);
  Py_ssize_t size = 0;
  const char* text = PyUnicode_AsUTF8AndSize(value.ptr(), &size);
  if (text == nullptr) {
    PyErr_Clear();
    RaiseWrong(name, "text without lone surrogates", value);
  }
  return {text, static_cast<size_t>(size)};
}

int64_t IntOf(nb::handle value, const std::string& name, int64_t min, int64_t max) {
  int overflow = 0;
  int64_t number = 0;
  const nb::object whole = nb::steal(PyNumber_Index(value.ptr()));
  if (whole.is_valid() && !nb::isinstance<nb::bool_>(value))
    number = PyLong_AsLongLongAndOverflow(whole.ptr(), &overflow);
  else {
    PyErr_Clear();
    RaiseWrong(name, "a whole number", value);
  }
  if (overflow != 0 || number < min || number > max)
    RaiseWrong(name,
               StrFormat("in [%lld, %lld]", static_cast<long long>(min), static_cast<long long>(max)).c_str(),
               value);
  return number;
}

double NumberOf(nb::handle value, const std::string& name) {
  const double number = PyFloat_AsDouble(value.ptr());
  if (PyErr_Occurred() != nullptr || nb::isinstance<nb::bool_>(value)) {
    PyErr_Clear();
    RaiseWrong(name, "a number", value);
  }
  return number;
}

std::vector<TokenId> IdsOf(nb::handle value, const std::string& name) {
  const nb::object items = nb::isinstance<nb::str>(value)
                               ? nb::object()
                               : nb::steal(PySequence_Fast(value.ptr(), "not a sequence"));
  if (!items.is_valid()) {
    PyErr_Clear();
    RaiseWrong(name, "a list of token ids", value);
  }
  const Py_ssize_t n = PySequence_Fast_GET_SIZE(items.ptr());
  std::vector<TokenId> ids;
  ids.reserve(static_cast<size_t>(n));
  for (Py_ssize_t i = 0; i < n; ++i) {
    ids.push_back(static_cast<TokenId>(IntOf(PySequence_Fast_GET_ITEM(items.ptr(), i),
                                             name + "[" + std::to_string(i) + "]", -kMaxInt, kMaxInt)));
  }
  return ids;
}

void ReadSampling(nb::handle params, Request* request) {
  SamplingParams& sampling = request->sampling;
  for (const NumberField& f : kNumbers) {
    const nb::object value = FieldOf(params, f.name);
    if (!value.is_none()) sampling.*f.field = NumberOf(value, f.name);
  }
  for (const IntField& f : kInts) {
    const nb::object value = FieldOf(params, f.name);
    if (!value.is_none()) sampling.*f.field = static_cast<int>(IntOf(value, f.name, -kMaxInt, kMaxInt));
  }
  for (const FlagField& f : kFlags) sampling.*f.field = FlagOf(FieldOf(params, f.name), f.name);
  if (const nb::object seed = FieldOf(params, "seed"); !seed.is_none()) sampling.seed = SeedOf(seed);
  if (const nb::object stop = FieldOf(params, "stop"); !stop.is_none()) sampling.stop = TextsOf(stop, "stop");
  if (const nb::object words = FieldOf(params, "bad_words"); !words.is_none())
    sampling.bad_words = TextsOf(words, "bad_words");
  if (const nb::object ids = FieldOf(params, "stop_token_ids"); !ids.is_none())
    sampling.stop_ids = IdsOf(ids, "stop_token_ids");
  if (const nb::object bias = FieldOf(params, "logit_bias"); !bias.is_none())
    sampling.logit_bias = BiasesOf(bias);
  request->n = static_cast<int>(IntOf(FieldOf(params, "n"), "n", -kMaxInt, kMaxInt));
  if (const nb::object prompt = FieldOf(params, "prompt_logprobs"); !prompt.is_none())
    request->prompt_logprobs = static_cast<int>(IntOf(prompt, "prompt_logprobs", -kMaxInt, kMaxInt));
  request->format = FormatOf(params);
}

nb::dict SamplingToPython(const SamplingParams& sampling) {
  nb::dict out;
  for (const NumberField& f : kNumbers) out[f.name] = sampling.*f.field;
  out["top_k"] = sampling.top_k;
  return out;
}

void CheckSampling(nb::handle params) {
  Request request;
  ReadSampling(params, &request);
  RaiseIfError(CheckRequestFields(request, static_cast<int>(kMaxInt)));
}

nb::object TextToPython(std::string_view text) {
  nb::object out =
      nb::steal(PyUnicode_DecodeUTF8(text.data(), static_cast<Py_ssize_t>(text.size()), "replace"));
  if (!out.is_valid()) throw nb::python_error();
  return out;
}

nb::list IdsToPython(const std::vector<TokenId>& ids) {
  nb::list out;
  for (const TokenId id : ids) out.append(id);
  return out;
}

nb::list TokenIdsOf(const std::vector<TokenOutput>& tokens) {
  nb::list out;
  for (const TokenOutput& token : tokens) out.append(token.id);
  return out;
}

nb::list LogprobsToPython(const std::vector<TokenOutput>& tokens, bool first_has_none,
                          const EngineCell& cell) {
  const nb::object logprob_class = nb::module_::import_("lathe._outputs").attr("Logprob");
  const auto engine = cell.Use();
  const auto make = [&](TokenId id, float logprob, nb::object rank) {
    const nb::object text = engine.ok() ? TextToPython((*engine)->TokenBytes(id)) : nb::none();
    return logprob_class(logprob, std::move(rank), text);
  };
  nb::list out;
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (i == 0 && first_has_none) {
      out.append(nb::none());
      continue;
    }
    const TokenOutput& token = tokens[i];
    nb::dict entry;
    int rank = 0;
    for (const TokenLogprobInfo& top : token.top)
      entry[nb::int_(top.id)] = make(top.id, top.logprob, nb::int_(++rank));
    if (!entry.contains(nb::int_(token.id)))
      entry[nb::int_(token.id)] = make(token.id, token.logprob, nb::none());
    out.append(entry);
  }
  return out;
}

nb::object FinishToPython(FinishReason finish) {
  if (finish == FinishReason::kNone) return nb::none();
  return nb::str(ToString(finish));
}

}  // namespace lathe::python
