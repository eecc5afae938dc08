// What the engine needs of text: ids of a prompt, text of ids, a rendered conversation.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"
#include "lathe/request.h"
#include "runtime/sample/token_constraint.h"

namespace lathe {

// Const members may be called from any thread at once.
class TextModel {
 public:
  // Turns ids into text as they come; the pieces concatenate to the whole decode and each is whole UTF-8.
  class Stream {
   public:
    virtual ~Stream() = default;
    virtual std::string Push(TokenId id) = 0;
    virtual std::string Flush() = 0;
  };

  virtual ~TextModel() = default;
  virtual std::vector<TokenId> Encode(const std::string& text, bool add_special,
                                      bool parse_special) const = 0;
  virtual std::string Decode(std::span<const TokenId> ids, bool skip_special) const = 0;
  // This object must outlive the decoder.
  virtual std::unique_ptr<Stream> NewStream(bool skip_special) const = 0;
  virtual std::string TokenBytes(TokenId id) const = 0;
  // Source of the chat template; empty without one.
  virtual const std::string& ChatTemplateSource() const = 0;
  // What the output must stay within, as a factory of its states; compiles at most once for equal formats.
  // Errors: kInvalidArgument, kUnsupported, kResourceExhausted (limits), with what was found and where.
  virtual Expected<ConstraintFactory> CompileFormat(const OutputFormat& format) const = 0;
  // Ids (and, unless null, the text) of a conversation. Special tokens in what users wrote are text.
  // Errors: kUnsupported without a template, kInvalidArgument for messages that are not what it expects.
  virtual Expected<std::vector<TokenId>> RenderChat(const Prompt::Chat& chat, std::string* text) const = 0;
};

class EngineReader;
class Tokenizer;

// Over a tokenizer and the source of a chat template ("": none). A source that lathe cannot read only makes
// RenderChat fail. Ids in eos_ids end an output.
std::unique_ptr<TextModel> MakeTextModel(Tokenizer tokenizer, std::string chat_template,
                                         std::span<const TokenId> eos_ids);

// From the blobs of an engine file. chat_template: a source that replaces the model's, and must be readable;
// "" for the model's own.
Expected<std::unique_ptr<TextModel>> LoadTextModel(const EngineReader& file, const std::string& chat_template,
                                                   std::span<const TokenId> eos_ids);

}  // namespace lathe
