// A text model for tests: every id has a fixed spelling of one to three bytes; some spell half a character.
#pragma once

#include <algorithm>
#include <array>
#include <string>
#include <vector>

#include "base/status.h"
#include "runtime/engine/text_model.h"

namespace lathe::testing {

class FakeText : public TextModel {
 public:
  static constexpr int kVocab = 24;
  static constexpr TokenId kEos = 0;  // special: no text
  static constexpr std::array<const char*, kVocab> kPieces = {
      "",    "a",   "b",   "c",    "ab",   "ba",       "abc", "aa", " ",  " a", " b", "\n",
      "c\n", "cab", "bca", "\xC3", "\xA9", "\xC3\xA9", ".",   "b.", "!a", "!!", "cc", "bb"};

  // The whole decode: bytes that form no character become U+FFFD.
  static std::string Text(std::span<const TokenId> ids) {
    std::string bytes, out;
    for (TokenId id : ids) bytes += kPieces[static_cast<size_t>(id)];
    Take(&bytes, true, &out);
    return out;
  }

  std::vector<TokenId> Encode(const std::string& text, bool add_special, bool) const override {
    std::vector<TokenId> ids;
    if (add_special) ids.push_back(1);
    for (size_t at = 0; at < text.size();) {
      TokenId best = -1;
      for (TokenId id = 1; id < kVocab; ++id) {
        const std::string piece = kPieces[static_cast<size_t>(id)];
        if (text.compare(at, piece.size(), piece) != 0) continue;
        if (best < 0 || piece.size() > std::string(kPieces[static_cast<size_t>(best)]).size()) best = id;
      }
      at += best < 0 ? 1 : std::string(kPieces[static_cast<size_t>(best)]).size();
      if (best >= 0) ids.push_back(best);
    }
    return ids;
  }
  std::string Decode(std::span<const TokenId> ids, bool) const override { return Text(ids); }
  std::unique_ptr<TextModel::Stream> NewStream(bool) const override { return std::make_unique<FakeStream>(); }
  std::string TokenBytes(TokenId id) const override { return kPieces[static_cast<size_t>(id)]; }
  const std::string& ChatTemplateSource() const override { return template_; }
  // Of choices, each a sequence of ids as Encode gives them.
  Expected<ConstraintFactory> CompileFormat(const OutputFormat& format) const override {
    if (format.kind != OutputFormat::Kind::kChoice) return Error(StatusCode::kUnsupported, "choices only");
    return ConstraintFactory([choices = format.choices] { return std::make_unique<FakeChoice>(choices); });
  }
  Expected<std::vector<TokenId>> RenderChat(const Prompt::Chat& chat, std::string* text) const override {
    if (chat.messages_json.empty()) return Error(StatusCode::kInvalidArgument, "no messages");
    if (text != nullptr) *text = chat.messages_json;
    return Encode(chat.messages_json, true, false);
  }

 private:
  class FakeChoice : public TokenConstraint {
   public:
    explicit FakeChoice(std::vector<std::string> choices) : left_(std::move(choices)) {}
    void FillMask(std::span<uint32_t> words) override {
      std::ranges::fill(words, 0u);
      for (TokenId id = 0; id < kVocab; ++id)
        if (!After(id).empty()) words[static_cast<size_t>(id) / 32] |= 1u << (id % 32);
    }
    bool Accept(TokenId id) override {
      left_ = After(id);
      return !left_.empty();
    }

   private:
    std::vector<std::string> After(TokenId id) const {
      const std::string piece = kPieces[static_cast<size_t>(id)];
      std::vector<std::string> out;
      for (const std::string& rest : left_)
        if (id == kEos ? rest.empty() : (!piece.empty() && rest.starts_with(piece)))
          out.push_back(rest.substr(piece.size()));
      return out;
    }
    std::vector<std::string> left_;
  };

  std::string template_;
  class FakeStream : public TextModel::Stream {
   public:
    std::string Push(TokenId id) override {
      bytes_ += kPieces[static_cast<size_t>(id)];
      std::string out;
      Take(&bytes_, false, &out);
      return out;
    }
    std::string Flush() override {
      std::string out;
      Take(&bytes_, true, &out);
      return out;
    }

   private:
    std::string bytes_;
  };

  // Moves whole characters from bytes to out; the only one of two bytes is C3 A9.
  static void Take(std::string* bytes, bool all, std::string* out) {
    size_t at = 0;
    for (; at < bytes->size(); ++at) {
      const char c = (*bytes)[at];
      if (c == '\xC3') {
        if (at + 1 == bytes->size() && !all) break;
        if (at + 1 < bytes->size() && (*bytes)[at + 1] == '\xA9') {
          *out += "\xC3\xA9";
          ++at;
          continue;
        }
        *out += "\xEF\xBF\xBD";
      } else if (c == '\xA9') {
        *out += "\xEF\xBF\xBD";
      } else {
        *out += c;
      }
    }
    bytes->erase(0, at);
  }
};

}  // namespace lathe::testing
