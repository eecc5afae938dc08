// What the engine needs of text: ids of a prompt, text of ids, a rendered conversation.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"
#include "lathe/request.h"

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
  // A decoder that leaves special tokens out; this object must outlive it.
  virtual std::unique_ptr<Stream> NewStream() const = 0;
  // Ids (and, unless null, the text) of a conversation. Special tokens in what users wrote are text.
  // Errors: kUnsupported without a template, kInvalidArgument for messages that are not what it expects.
  virtual Expected<std::vector<TokenId>> RenderChat(const Prompt::Chat& chat, std::string* text) const = 0;
};

class ChatTemplate;
class EngineReader;
class Tokenizer;

// Over a model's own tokenizer and template. Without a template, the Status says why there is none.
std::unique_ptr<TextModel> MakeTextModel(Tokenizer tokenizer, Expected<ChatTemplate> chat_template);

// From the blobs of an engine file. A template that lathe cannot read only makes RenderChat fail.
Expected<std::unique_ptr<TextModel>> LoadTextModel(const EngineReader& file);

}  // namespace lathe
