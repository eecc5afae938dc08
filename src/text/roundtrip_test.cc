// Properties that hold for every tokenizer: streaming equals decoding, storing changes nothing, any bytes in.
#include <atomic>
#include <thread>

#include "text/test_data.h"

namespace lathe::text {
namespace {

using Ids = std::vector<int32_t>;

class EveryTokenizerTest : public testing::TestWithParam<Subject> {
 protected:
  void SetUp() override { tokenizer_ = Load(GetParam()); }
  // Ids of all kinds: any, often byte pieces, control tokens and ids not in use.
  Ids RandomIds(Rng* rng, size_t max) const {
    Ids ids;
    const auto vocab = static_cast<uint64_t>(tokenizer_->vocab_size());
    for (uint64_t n = rng->Below(max + 1); n > 0; --n) {
      switch (rng->Below(8)) {
        case 0: ids.push_back(static_cast<int32_t>(rng->Below(vocab + 20)) - 10); break;
        case 1: ids.push_back(static_cast<int32_t>(rng->Below(std::min<uint64_t>(vocab, 10)))); break;
        case 2:
        case 3:
        case 4: ids.push_back(static_cast<int32_t>(rng->Below(std::min<uint64_t>(vocab, 300)))); break;
        default: ids.push_back(static_cast<int32_t>(rng->Below(vocab))); break;
      }
    }
    return ids;
  }
  const Tokenizer* tokenizer_ = nullptr;
};

TEST_P(EveryTokenizerTest, StreamEqualsDecode) {
  if (tokenizer_ == nullptr) return;
  Rng rng(11);
  for (int i = 0; i < 400; ++i) {
    const Ids ids = RandomIds(&rng, 24);
    const bool skip = i % 2 == 0;
    StreamDecoder stream(*tokenizer_, skip);
    std::string whole;
    for (const int32_t id : ids) {
      const std::string piece = stream.Push(id);
      EXPECT_TRUE(IsValidUtf8(piece)) << GetParam().name;
      whole += piece;
    }
    whole += stream.Flush();
    ASSERT_EQ(whole, tokenizer_->Decode(ids, skip)) << testing::PrintToString(ids);
    EXPECT_TRUE(IsValidUtf8(whole));
    EXPECT_EQ(stream.Flush(), "");
  }
}

TEST_P(EveryTokenizerTest, AnyBytesEncode) {
  if (tokenizer_ == nullptr) return;
  Rng rng(12);
  for (int i = 0; i < 300; ++i) {
    const std::string bytes = i % 2 == 0 ? RandomBytes(&rng, 60) : RandomText(&rng, 30);
    const Ids ids = tokenizer_->Encode(bytes, {.parse_special = i % 3 == 0});
    for (const int32_t id : ids) ASSERT_TRUE(id >= 0 && id < tokenizer_->vocab_size());
    EXPECT_EQ(ids, tokenizer_->Encode(ToValidUtf8(bytes), {.parse_special = i % 3 == 0}));
    EXPECT_TRUE(IsValidUtf8(tokenizer_->Decode(ids)));
  }
}

TEST_P(EveryTokenizerTest, StoringChangesNothing) {
  if (tokenizer_ == nullptr) return;
  const std::string blob = tokenizer_->Serialize();
  const Expected<Tokenizer> stored = Tokenizer::Deserialize(blob);
  ASSERT_TRUE(stored.ok()) << stored.status().message();
  EXPECT_EQ(stored->Serialize(), blob);
  EXPECT_EQ(stored->vocab_size(), tokenizer_->vocab_size());
  EXPECT_EQ(stored->bos_id(), tokenizer_->bos_id());
  EXPECT_EQ(stored->eos_id(), tokenizer_->eos_id());
  EXPECT_EQ(stored->pad_id(), tokenizer_->pad_id());
  EXPECT_EQ(stored->unk_id(), tokenizer_->unk_id());
  for (size_t i = 0; i < GoldenStrings().size(); i += 3) {
    const std::string& text = GoldenStrings()[i];
    for (const bool parse : {false, true})
      EXPECT_EQ(stored->Encode(text, {.parse_special = parse}),
                tokenizer_->Encode(text, {.parse_special = parse}));
  }
  Rng rng(13);
  for (int i = 0; i < 100; ++i) {
    const Ids ids = RandomIds(&rng, 20);
    EXPECT_EQ(stored->Decode(ids, i % 2 == 0), tokenizer_->Decode(ids, i % 2 == 0));
  }
  for (int32_t id = -1; id <= stored->vocab_size(); id += 97) {
    EXPECT_EQ(stored->TokenText(id), tokenizer_->TokenText(id));
    EXPECT_EQ(stored->TokenBytes(id), tokenizer_->TokenBytes(id));
    EXPECT_EQ(stored->IsSpecial(id), tokenizer_->IsSpecial(id));
  }
}

TEST_P(EveryTokenizerTest, SpellingsFindTheirTokens) {
  if (tokenizer_ == nullptr) return;
  for (int32_t id = 0; id < tokenizer_->vocab_size(); ++id) {
    const std::string name = tokenizer_->TokenText(id);
    if (name.empty()) continue;
    ASSERT_EQ(tokenizer_->IdOf(name), id) << name;
  }
  EXPECT_EQ(tokenizer_->IdOf("no token is spelt like this"), -1);
  EXPECT_EQ(tokenizer_->TokenText(-1) + tokenizer_->TokenText(tokenizer_->vocab_size()), "");
  EXPECT_FALSE(tokenizer_->IsSpecial(-1) || tokenizer_->IsSpecial(tokenizer_->vocab_size()));
}

INSTANTIATE_TEST_SUITE_P(All, EveryTokenizerTest, testing::ValuesIn(AllSubjects()), SubjectName);

// Tokenizers that keep text as it is: what is encoded comes back.
class FaithfulTest : public EveryTokenizerTest {};

TEST_P(FaithfulTest, TextComesBack) {
  if (tokenizer_ == nullptr) return;
  Rng rng(14);
  for (int i = 0; i < 500; ++i) {
    const std::string text = RandomText(&rng, 40);
    EXPECT_EQ(tokenizer_->Decode(tokenizer_->Encode(text)), text) << DumpJson(text);
    // The bytes of the tokens are the text too.
    std::string bytes;
    for (const int32_t id : tokenizer_->Encode(text, {.add_special_tokens = false}))
      bytes += tokenizer_->TokenBytes(id);
    if (bytes.size() == text.size() + 1) bytes.erase(0, 1);  // the dummy prefix
    EXPECT_EQ(bytes, text);
  }
}

std::vector<Subject> FaithfulSubjects() {
  std::vector<Subject> out;
  for (const Subject& s : AllSubjects())
    for (const char* name : {"tales", "gpt2", "llama3", "falcon"})
      if (s.name == name) out.push_back(s);
  return out;
}

INSTANTIATE_TEST_SUITE_P(All, FaithfulTest, testing::ValuesIn(FaithfulSubjects()), SubjectName);

// ---- Streaming, in detail ----

TEST(StreamDecoderTest, HoldsBackUnfinishedCharacters) {
  const Tokenizer* tokenizer = Load(RealSubjects()[0]);
  ASSERT_TRUE(tokenizer != nullptr);
  const Ids ids = tokenizer->Encode("😀é", {.add_special_tokens = false});
  StreamDecoder stream(*tokenizer);
  std::string text;
  int empty = 0;
  for (const int32_t id : ids) {
    const std::string piece = stream.Push(id);
    EXPECT_EQ(piece.find("\uFFFD"), std::string::npos);
    empty += piece.empty() ? 1 : 0;
    text += piece;
  }
  EXPECT_EQ(text, "😀é");
  EXPECT_GT(empty, 0);
  // A character broken off for good: replaced as soon as that is certain.
  stream.Push(ids[0]);
  const int32_t letter = tokenizer->Encode("A", {.add_special_tokens = false})[0];
  EXPECT_EQ(stream.Push(letter), "\uFFFDA");
  stream.Push(ids[0]);
  EXPECT_EQ(stream.Flush(), "\uFFFD");
}

TEST(StreamDecoderTest, BytePiecesComeOutAsCharactersComplete) {
  const auto& subjects = RealSubjects();
  const Tokenizer* tokenizer = Load(subjects[2]);
  ASSERT_TRUE(tokenizer != nullptr);
  const auto byte = [&](int b) { return tokenizer->IdOf(StrFormat("<0x%02X>", b)); };
  StreamDecoder stream(*tokenizer);
  EXPECT_EQ(stream.Push(byte(0xE4)), "");
  EXPECT_EQ(stream.Push(byte(0xBD)), "");
  EXPECT_EQ(stream.Push(byte(0xA0)), "你");
  EXPECT_EQ(stream.Push(byte(0xE4)), "");
  EXPECT_EQ(stream.Push(byte(0x41)), "\uFFFDA");
  EXPECT_EQ(stream.Push(byte(0xE4)), "");
  EXPECT_EQ(stream.Push(byte(0xBD)), "");
  EXPECT_EQ(stream.Flush(), "\uFFFD\uFFFD");  // each byte, as SentencePiece has it
}

TEST(TokenizerTest, ThreadsShareOne) {
  const Tokenizer* tokenizer = Load(RealSubjects()[0]);
  ASSERT_TRUE(tokenizer != nullptr);
  std::vector<Ids> expected;
  for (const std::string& text : GoldenStrings()) expected.push_back(tokenizer->Encode(text));
  std::atomic<int> wrong = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&] {
      for (size_t i = 0; i < expected.size(); ++i)
        if (tokenizer->Encode(GoldenStrings()[i]) != expected[i]) ++wrong;
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

// One word of half a megabyte, for each kind of tokenizer: hours if anything is quadratic.
TEST(TokenizerTest, LongWordsAreNotQuadratic) {
  Rng rng(15);
  std::string letters;
  for (int i = 0; i < (1 << 19); ++i) letters += static_cast<char>('a' + rng.Below(26));
  const std::string same(1 << 19, 'a');
  const std::string spaces(1 << 19, ' ');
  for (const char* name : {"tales", "gpt2", "mistral_v3", "phi3", "sp_bpe", "unigram"}) {
    for (const Subject& subject : AllSubjects()) {
      if (subject.name != name) continue;
      const Tokenizer* tokenizer = Load(subject);
      ASSERT_TRUE(tokenizer != nullptr);
      for (const std::string_view text : {std::string_view(letters), std::string_view(same)}) {
        const Ids ids = tokenizer->Encode(text, {.add_special_tokens = false});
        EXPECT_EQ(tokenizer->Decode(ids), text) << name;
      }
      EXPECT_FALSE(tokenizer->Encode("x" + spaces + "x", {.add_special_tokens = false}).empty());
    }
  }
}

}  // namespace
}  // namespace lathe::text
