// Broken and hostile files: a Status that says what, never a crash.
#include <filesystem>
#include <fstream>

#include "text/test_data.h"
#include "text/tokenizer_blob.h"

namespace lathe::text {
namespace {

struct Fault {
  const char* json;
  StatusCode code;
  const char* says;
};

// A working file of two letters, with room for a section.
std::string Minimal(const std::string& sections, const std::string& model = R"("type":"BPE")") {
  return R"({"model":{)" + model + R"(,"vocab":{"a":0,"b":1,"ab":2},"merges":["a b"]})" +
         (sections.empty() ? "" : "," + sections) + "}";
}

TEST(JsonFaultsTest, MinimalWorks) {
  const Expected<Tokenizer> t = Tokenizer::FromJson(Minimal(""), "t");
  ASSERT_TRUE(t.ok()) << t.status().message();
  EXPECT_EQ(t->Encode("aabb"), (std::vector<int32_t>{0, 2, 1}));
  EXPECT_EQ(t->Decode(std::vector<int32_t>{0, 2}), "a ab");  // without a decoder: joined by spaces
  const Expected<Tokenizer> pairs = Tokenizer::FromJson(
      R"({"model":{"vocab":{"a":0," ":1,"a ":2},"merges":[["a"," "]]},"decoder":{"type":"Fuse"}})", "t");
  ASSERT_TRUE(pairs.ok()) << pairs.status().message();
  EXPECT_EQ(pairs->Encode("a a"), (std::vector<int32_t>{2, 0}));
  EXPECT_EQ(pairs->Decode(std::vector<int32_t>{2, 0}), "a a");
}

TEST(JsonFaultsTest, SaysWhatIsWrong) {
  const Fault cases[] = {
      {"", StatusCode::kCorrupt, "not valid JSON"},
      {"{\"model\":", StatusCode::kCorrupt, "at byte 10"},
      {"[]", StatusCode::kCorrupt, "expected a JSON object"},
      {"{}", StatusCode::kCorrupt, "no 'model'"},
      {R"({"model":{"type":"WordPiece","vocab":{"a":0}}})", StatusCode::kUnsupported, "'WordPiece'"},
      {R"({"model":{"type":"BPE"}})", StatusCode::kCorrupt, "no vocabulary"},
      {R"({"model":{"type":"Unigram","vocab":{"a":0}}})", StatusCode::kCorrupt, "another kind"},
      {R"({"model":{"type":"Unigram","vocab":[["a"]]}})", StatusCode::kCorrupt, "without two parts"},
      {R"({"model":{"type":"Unigram","vocab":[["a",-1,2]]}})", StatusCode::kCorrupt, "without its piece"},
      {R"({"model":{"vocab":{"a":"x"}}})", StatusCode::kCorrupt, "a string where"},
      {R"({"model":{"vocab":{"a":[0]}}})", StatusCode::kCorrupt, "list as a token's id"},
      {R"({"model":{"vocab":{"a":-1}}})", StatusCode::kCorrupt, "id outside"},
      {R"({"model":{"vocab":{"a":0.5}}})", StatusCode::kCorrupt, "id outside"},
      {R"({"model":{"vocab":{"a":0,"b":0}}})", StatusCode::kCorrupt, "id used twice"},
      {R"({"model":{"vocab":{"a":0,"a":1}}})", StatusCode::kCorrupt, "name used twice"},
      {R"({"model":{"vocab":{"a":16000000}}})", StatusCode::kCorrupt, "far beyond"},
      {R"({"model":{"vocab":{"a":0},"merges":["a"]}})", StatusCode::kCorrupt, "merge 0 'a'"},
      {R"({"model":{"vocab":{"a":0},"merges":["a a"]}})", StatusCode::kCorrupt, "merge 0 ('a' + 'a')"},
      {R"({"model":{"vocab":{"a":0},"merges":[["a","a","a"]]}})", StatusCode::kCorrupt,
       "more than two parts"},
      {R"({"model":{"vocab":{"a":0},"merges":[1]}})", StatusCode::kCorrupt, "number among the merges"},
      {R"({"model":{"vocab":{"a":0},"merges":[{"x":1}]}})", StatusCode::kCorrupt, "object inside"},
  };
  for (const Fault& c : cases) {
    const Expected<Tokenizer> t = Tokenizer::FromJson(c.json, "file.json");
    ASSERT_FALSE(t.ok()) << c.json;
    EXPECT_EQ(t.status().code(), c.code) << c.json << ": " << t.status().message();
    EXPECT_NE(t.status().message().find(c.says), std::string::npos) << t.status().message();
    EXPECT_NE(t.status().message().find("file.json"), std::string::npos) << t.status().message();
  }
}

TEST(JsonFaultsTest, NamesComponentsItDoesNotHave) {
  const Fault cases[] = {
      {R"("normalizer":{"type":"BertNormalizer"})", StatusCode::kUnsupported, "normalizer 'BertNormalizer'"},
      {R"("normalizer":{"type":"Sequence","normalizers":[{"type":"Nmt"}]})", StatusCode::kUnsupported,
       "'Nmt'"},
      {R"("pre_tokenizer":{"type":"UnicodeScripts"})", StatusCode::kUnsupported,
       "pre_tokenizer 'UnicodeScripts'"},
      {R"("pre_tokenizer":{"type":"Split","pattern":{"Regex":"("},"behavior":"Isolated"})",
       StatusCode::kInvalidArgument, "regular expression"},
      {R"("pre_tokenizer":{"type":"Split","pattern":{"Regex":"[a&&b]"},"behavior":"Isolated"})",
       StatusCode::kUnsupported, "intersection"},
      {R"("pre_tokenizer":{"type":"Split","pattern":"x","behavior":"Isolated"})", StatusCode::kCorrupt,
       "'pattern'"},
      {R"("pre_tokenizer":{"type":"Split","pattern":{"String":"x"},"behavior":"Odd"})",
       StatusCode::kUnsupported, "'Odd'"},
      {R"("decoder":{"type":"WordPiece"})", StatusCode::kUnsupported, "decoder 'WordPiece'"},
      {R"("decoder":{"type":"Sequence","decoders":[{"type":"Fuse"},{"type":"ByteFallback"},{"type":"Strip","content":"ab","start":1,"stop":0}]})",
       StatusCode::kUnsupported, "after Fuse"},
      {R"("post_processor":{"type":"Odd"})", StatusCode::kUnsupported, "post_processor 'Odd'"},
      {R"("post_processor":{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<s>","type_id":0}}],"special_tokens":{}})",
       StatusCode::kCorrupt, "'<s>' without its ids"},
      {R"("added_tokens":[{"id":1,"content":"x"}])", StatusCode::kCorrupt,
       "wants id 1, which belongs to 'b'"},
      {R"("added_tokens":[{"id":99999999,"content":"x"}])", StatusCode::kCorrupt, "99999999"},
  };
  for (const Fault& c : cases) {
    const Expected<Tokenizer> t = Tokenizer::FromJson(Minimal(c.json), "t");
    ASSERT_FALSE(t.ok()) << c.json;
    EXPECT_EQ(t.status().code(), c.code) << c.json << ": " << t.status().message();
    EXPECT_NE(t.status().message().find(c.says), std::string::npos) << t.status().message();
  }
}

TEST(JsonFaultsTest, NestingIsLimited) {
  std::string deep = R"({"type":"NFC"})";
  for (int i = 0; i < 20; ++i) deep = R"({"type":"Sequence","normalizers":[)" + deep + "]}";
  EXPECT_EQ(Tokenizer::FromJson(Minimal("\"normalizer\":" + deep), "t").status().code(),
            StatusCode::kUnsupported);
  EXPECT_FALSE(Tokenizer::FromJson(std::string(100'000, '['), "t").ok());
}

TEST(TiktokenFaultsTest, SaysWhichLine) {
  std::string ranks;
  const char* digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  for (int b = 0; b < 256; ++b)
    ranks += std::string{digits[b >> 2], digits[(b & 3) << 4]} + "== " + std::to_string(b) + "\n";
  const Expected<Tokenizer> t = Tokenizer::FromTiktoken(ranks + "YWI= 256\n", "t");  // "ab"
  ASSERT_TRUE(t.ok()) << t.status().message();
  EXPECT_EQ(t->vocab_size(), 257 + 256);
  EXPECT_EQ(t->Encode("abc"), (std::vector<int32_t>{257, 256, 'c'}));
  EXPECT_EQ(t->TokenText(257 + 9), "<|eot_id|>");
  for (const auto& [bad, says] : {std::pair<std::string, std::string>{"YWI=", "line 257"},
                                  {"YWI 256", "line 257"},
                                  {"Y=I= 256", "line 257"},
                                  {"YWI= x", "line 257"},
                                  {"YWI= -5", "outside"},
                                  {"YWI= 7", "id used twice"},
                                  {"YQ== 256", "name used twice"}}) {
    const Expected<Tokenizer> broken = Tokenizer::FromTiktoken(ranks + bad + "\n", "t");
    ASSERT_FALSE(broken.ok()) << bad;
    EXPECT_EQ(broken.status().code(), StatusCode::kCorrupt);
    EXPECT_NE(broken.status().message().find(says), std::string::npos) << broken.status().message();
  }
  EXPECT_NE(Tokenizer::FromTiktoken(ranks.substr(7), "t").status().message().find("byte 0x00"),
            std::string::npos);
}

TEST(VocabMergesFaultsTest, ClassesAndFiles) {
  EXPECT_TRUE(Tokenizer::FromVocabMerges(R"({"a":0,"b":1,"ab":2})", "#version: 0.2\na b\n", "t").ok());
  TokenizerConfig config;
  config.tokenizer_class = "OddTokenizer";
  EXPECT_EQ(Tokenizer::FromVocabMerges(R"({"a":0})", "", "t", config).status().code(),
            StatusCode::kUnsupported);
  EXPECT_EQ(Tokenizer::FromVocabMerges("[]", "", "t").status().code(), StatusCode::kCorrupt);
  EXPECT_EQ(Tokenizer::FromVocabMerges(R"({"a":0})", "a a a\n", "t").status().code(), StatusCode::kCorrupt);
}

class FolderTest : public testing::Test {
 protected:
  void SetUp() override {
    dir_ = testing::TempDir() + "/lathe_text_faults";
    std::filesystem::remove_all(dir_);
    std::filesystem::create_directories(dir_);
  }
  void TearDown() override { std::filesystem::remove_all(dir_); }
  void Write(const std::string& name, const std::string& content) const {
    std::ofstream(dir_ + "/" + name, std::ios::binary) << content;
  }
  std::string dir_;
};

TEST_F(FolderTest, SaysWhatItLookedFor) {
  const Status status = Tokenizer::LoadDir(dir_).status();
  EXPECT_EQ(status.code(), StatusCode::kNotFound);
  EXPECT_NE(status.message().find("tokenizer.json, tokenizer.model, or vocab.json"), std::string::npos);
  Write("tekken.json", "{}");
  EXPECT_NE(Tokenizer::LoadDir(dir_).status().message().find("tekken.json"), std::string::npos);
}

TEST_F(FolderTest, ConfigDecidesAboutBosAndSpecialTokens) {
  Write("tokenizer.json", Minimal(R"("added_tokens":[{"id":3,"content":"<s>"},{"id":4,"content":"<e>"}])"));
  Write("tokenizer_config.json", R"({"bos_token":{"content":"<s>"},"eos_token":"<e>","add_bos_token":true})");
  const Expected<Tokenizer> t = Tokenizer::LoadDir(dir_);
  ASSERT_TRUE(t.ok()) << t.status().message();
  EXPECT_EQ(t->bos_id(), 3);
  EXPECT_EQ(t->eos_id(), 4);
  EXPECT_EQ(t->Encode("ab"), (std::vector<int32_t>{3, 2}));
  EXPECT_TRUE(t->IsSpecial(3));
  Write("tokenizer_config.json", R"({"bos_token":7})");
  EXPECT_EQ(Tokenizer::LoadDir(dir_).status().code(), StatusCode::kInvalidArgument);
  Write("tokenizer_config.json", R"({"added_tokens_decoder":{"x":{"content":"y"}}})");
  EXPECT_EQ(Tokenizer::LoadDir(dir_).status().code(), StatusCode::kInvalidArgument);
}

TEST_F(FolderTest, ModelFilesAreToldApartByContent) {
  Write("tokenizer.model", "neither one\nnor the other\n");
  EXPECT_EQ(Tokenizer::LoadDir(dir_).status().code(), StatusCode::kCorrupt);
  std::filesystem::remove(dir_ + "/tokenizer.model");
  Write("any.model.v3", ReadOrDie(DataDir() + "/synthetic/sp_bpe.model"));
  const Expected<Tokenizer> t = Tokenizer::LoadDir(dir_);
  ASSERT_TRUE(t.ok()) << t.status().message();
  EXPECT_EQ(t->vocab_size(), 300);
}

// ---- Truncation and flipped bits ----

// Loads and, if that works, uses the result.
template <typename LoadFn>
void MustNotCrash(const std::string& bytes, const LoadFn& load) {
  const Expected<Tokenizer> t = load(bytes);
  if (!t.ok()) {
    EXPECT_FALSE(t.status().message().empty());
    return;
  }
  const std::vector<int32_t> ids = t->Encode("The king's é 中 😀\n\n  12 <s>", {.parse_special = true});
  EXPECT_LE(t->Decode(ids, false).size(), size_t{1} << 24);
}

struct Format {
  const char* name;
  const char* file;
  Expected<Tokenizer> (*load)(const std::string&);
  int step;  // of truncations
};

Expected<Tokenizer> LoadSp(const std::string& b) { return Tokenizer::FromSentencePiece(b, "t"); }
Expected<Tokenizer> LoadJson(const std::string& b) { return Tokenizer::FromJson(b, "t"); }
Expected<Tokenizer> LoadBlob(const std::string& b) { return Tokenizer::Deserialize(b); }

// The file's bytes; for a blob, what the file is stored as.
std::string BytesOf(const Format& format) {
  const std::string bytes = ReadOrDie(DataDir() + "/synthetic/" + format.file);
  if (format.load != LoadBlob) return bytes;
  const Expected<Tokenizer> t = std::string(format.file).ends_with(".json") ? LoadJson(bytes) : LoadSp(bytes);
  EXPECT_TRUE(t.ok());
  return t->Serialize();
}

class HostileBytesTest : public testing::TestWithParam<Format> {};

TEST_P(HostileBytesTest, EveryTruncation) {
  const std::string bytes = BytesOf(GetParam());
  for (size_t n = 0; n < bytes.size(); n += static_cast<size_t>(GetParam().step)) {
    const std::string part = bytes.substr(0, n);
    MustNotCrash(part, GetParam().load);
    // A protobuf may be cut between two fields; the others never make sense cut.
    if (GetParam().load == LoadSp) continue;
    EXPECT_FALSE(GetParam().load(part).ok()) << n;
  }
}

TEST_P(HostileBytesTest, FlippedBits) {
  const std::string bytes = BytesOf(GetParam());
  Rng rng(16);
  for (int i = 0; i < 400; ++i) {
    std::string broken = bytes;
    for (uint64_t n = 1 + rng.Below(4); n > 0; --n) {
      // The head, where the structure is, gets its share.
      const uint64_t range = rng.Below(2) == 0 ? broken.size() : std::min<uint64_t>(broken.size(), 200);
      broken[rng.Below(range)] ^= static_cast<char>(1 << rng.Below(8));
    }
    MustNotCrash(broken, GetParam().load);
  }
}

INSTANTIATE_TEST_SUITE_P(All, HostileBytesTest,
                         testing::Values(Format{"json", "falcon.json", LoadJson, 7},
                                         Format{"unigram_json", "unigram.json", LoadJson, 13},
                                         Format{"sp_bpe", "sp_bpe.model", LoadSp, 1},
                                         Format{"sp_unigram", "sp_unigram.model", LoadSp, 3},
                                         Format{"blob_bpe", "deepseek.json", LoadBlob, 1},
                                         Format{"blob_sp", "sp_bpe.model", LoadBlob, 1},
                                         Format{"blob_unigram", "sp_unigram_bytes.model", LoadBlob, 3}),
                         [](const auto& info) { return std::string(info.param.name); });

TEST(BlobTest, AnotherVersionIsAMismatch) {
  const Expected<Tokenizer> t = Tokenizer::FromJson(Minimal(""), "t");
  ASSERT_TRUE(t.ok());
  std::string blob = t->Serialize();
  blob[4] = 99;
  const Status status = Tokenizer::Deserialize(blob).status();
  EXPECT_EQ(status.code(), StatusCode::kMismatch);
  EXPECT_NE(status.message().find("version 99"), std::string::npos);
  EXPECT_EQ(Tokenizer::Deserialize("GARBAGE!").status().code(), StatusCode::kCorrupt);
  EXPECT_EQ(Tokenizer::Deserialize(t->Serialize() + "x").status().code(), StatusCode::kCorrupt);
}

}  // namespace
}  // namespace lathe::text
