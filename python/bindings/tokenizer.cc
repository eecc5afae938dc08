// lathe._lathe.Tokenizer: text to ids and back, and a model's chat template, without an engine.
#include "text/tokenizer.h"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/unique_ptr.h>
#include <nanobind/stl/vector.h>

#include <mutex>
#include <utility>

#include "base/file.h"
#include "build_events.h"
#include "convert.h"
#include "formats/engine_file.h"
#include "runtime/engine/text_model.h"
#include "text/template/chat_template.h"

namespace lathe::python {
namespace {

class PyTokenizer {
 public:
  PyTokenizer(Tokenizer tokenizer, std::string chat_template)
      : tokenizer_(std::move(tokenizer)), chat_template_(std::move(chat_template)) {}

  // From an engine file or a model's directory.
  static Expected<std::unique_ptr<PyTokenizer>> Open(const std::string& path) {
    if (DirExists(path)) {
      LATHE_ASSIGN_OR_RETURN(Tokenizer tokenizer, Tokenizer::LoadDir(path));
      auto source = LoadChatTemplateSource(path);
      if (!source.ok() && source.status().code() != StatusCode::kNotFound) return source.status();
      return std::make_unique<PyTokenizer>(std::move(tokenizer), source.ok() ? *std::move(source) : "");
    }
    if (!FileExists(path))
      return Error(StatusCode::kNotFound, "'%s' is neither an engine file nor a model directory",
                   path.c_str());
    LATHE_ASSIGN_OR_RETURN(const EngineReader file, EngineReader::Open(path));
    LATHE_ASSIGN_OR_RETURN(const std::string_view blob, file.TextBlob("tokenizer"));
    LATHE_ASSIGN_OR_RETURN(Tokenizer tokenizer, Tokenizer::Deserialize(blob));
    std::string source;
    if (file.HasBlob("chat_template")) {
      LATHE_ASSIGN_OR_RETURN(const std::string_view own, file.TextBlob("chat_template"));
      source = own;
    }
    return std::make_unique<PyTokenizer>(std::move(tokenizer), std::move(source));
  }

  const Tokenizer& tokenizer() const { return tokenizer_; }
  const std::string& chat_template() const { return chat_template_; }

  // Ids and text of a conversation.
  Expected<std::pair<std::vector<TokenId>, std::string>> RenderChat(const Prompt::Chat& chat) {
    const std::lock_guard lock(mutex_);
    if (text_model_ == nullptr) {
      LATHE_ASSIGN_OR_RETURN(Tokenizer copy, Tokenizer::Deserialize(tokenizer_.Serialize()));
      text_model_ = MakeTextModel(std::move(copy), chat_template_, {});
    }
    std::pair<std::vector<TokenId>, std::string> out;
    LATHE_ASSIGN_OR_RETURN(out.first, text_model_->RenderChat(chat, &out.second));
    return out;
  }

 private:
  const Tokenizer tokenizer_;
  const std::string chat_template_;
  std::mutex mutex_;
  std::unique_ptr<TextModel> text_model_;  // guarded by mutex_, made when first wanted
};

std::unique_ptr<PyTokenizer> Open(const std::string& model, nb::handle events) {
  BuildTeller teller(events);
  auto opened = [&]() -> Expected<std::unique_ptr<PyTokenizer>> {
    const WithoutGil unlocked;
    LATHE_ASSIGN_OR_RETURN(const std::string path, FetchModel({.model = model, .want = hub::Want::kTokenizer},
                                                              teller.Fetching(model)));
    return PyTokenizer::Open(path);
  }();
  teller.RethrowIfRaised();
  return ValueOrRaise(std::move(opened));
}

nb::list Encode(const PyTokenizer& self, nb::handle text, bool add_special_tokens, bool parse_special) {
  const std::string bytes = TextOf(text, "text");
  const std::vector<TokenId> ids = [&] {
    const WithoutGil unlocked;
    return self.tokenizer().Encode(
        bytes, {.add_special_tokens = add_special_tokens, .parse_special = parse_special});
  }();
  return IdsToPython(ids);
}

nb::object Decode(const PyTokenizer& self, nb::handle ids, bool skip_special_tokens) {
  return TextToPython(self.tokenizer().Decode(IdsOf(ids, "ids"), skip_special_tokens));
}

nb::dict VocabOf(const PyTokenizer& self) {
  nb::dict out;
  for (TokenId id = 0; id < self.tokenizer().vocab_size(); ++id) {
    const std::string text = self.tokenizer().TokenText(id);
    if (!text.empty()) out[TextToPython(text)] = id;
  }
  return out;
}

nb::object IdOrNone(TokenId id) { return id >= 0 ? nb::object(nb::int_(id)) : nb::object(nb::none()); }

nb::tuple RenderChat(PyTokenizer& self, std::string messages, std::string tools, std::string template_args,
                     bool add_generation_prompt) {
  const Prompt::Chat chat{.messages_json = std::move(messages),
                          .tools_json = std::move(tools),
                          .template_args_json = std::move(template_args),
                          .add_generation_prompt = add_generation_prompt};
  auto rendered = [&] {
    const WithoutGil unlocked;
    return self.RenderChat(chat);
  }();
  const auto [ids, text] = ValueOrRaise(std::move(rendered));
  return nb::make_tuple(IdsToPython(ids), TextToPython(text));
}

}  // namespace

void BindTokenizer(nb::module_& module) {
  nb::class_<PyTokenizer>(module, "Tokenizer", "A model's tokenizer and chat template.")
      .def_static("open", &Open, nb::arg("model"), nb::arg("events").none())
      .def("encode", &Encode, nb::arg("text"), nb::arg("add_special_tokens"), nb::arg("parse_special"))
      .def("decode", &Decode, nb::arg("ids"), nb::arg("skip_special_tokens"))
      .def("vocab", &VocabOf)
      .def("render_chat", &RenderChat, nb::arg("messages"), nb::arg("tools"), nb::arg("template_args"),
           nb::arg("add_generation_prompt"))
      .def("token",
           [](const PyTokenizer& t, TokenId id) { return TextToPython(t.tokenizer().TokenText(id)); })
      .def("token_bytes",
           [](const PyTokenizer& t, TokenId id) {
             const std::string bytes = t.tokenizer().TokenBytes(id);
             return nb::bytes(bytes.data(), bytes.size());
           })
      .def("id_of",
           [](const PyTokenizer& t, const std::string& token) { return IdOrNone(t.tokenizer().IdOf(token)); })
      .def("is_special", [](const PyTokenizer& t, TokenId id) { return t.tokenizer().IsSpecial(id); })
      .def_prop_ro("chat_template", &PyTokenizer::chat_template)
      .def_prop_ro("vocab_size", [](const PyTokenizer& t) { return t.tokenizer().vocab_size(); })
      .def_prop_ro("bos_token_id", [](const PyTokenizer& t) { return IdOrNone(t.tokenizer().bos_id()); })
      .def_prop_ro("eos_token_id", [](const PyTokenizer& t) { return IdOrNone(t.tokenizer().eos_id()); })
      .def_prop_ro("pad_token_id", [](const PyTokenizer& t) { return IdOrNone(t.tokenizer().pad_id()); })
      .def_prop_ro("unk_token_id", [](const PyTokenizer& t) { return IdOrNone(t.tokenizer().unk_id()); });
}

}  // namespace lathe::python
