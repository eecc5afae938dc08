#include "formats/engine_file.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <functional>

#include "base/rng.h"
#include "lathe/version.h"

namespace lathe {
namespace {

// Offsets within the header (docs/engine-format.md).
constexpr size_t kFormatVersion = 8, kManifestOffset = 48, kManifestSize = 56, kManifestChecksum = 64,
                 kFileSize = 72, kHeaderChecksum = 80, kHeaderBytes = 88;

EngineIdentity TestIdentity() {
  return {.builder = kVersionString,
          .target = "cpu:avx2",
          .machine = "Test CPU",
          .model_name = "tiny",
          .model_hash = "0123456789abcdef",
          .dtype = "bf16",
          .numeric = "bf16-fma",
          .tp = 2,
          .pp = 3};
}

std::string RandomBytes(size_t size, uint64_t seed) {
  Rng rng(seed);
  std::string s(size, '\0');
  for (char& c : s) c = static_cast<char>(rng.Next());
  return s;
}

uint64_t U64At(const std::string& s, size_t at) {
  uint64_t v = 0;
  std::memcpy(&v, s.data() + at, sizeof v);
  return v;
}
void SetU64(std::string* s, size_t at, uint64_t v) { std::memcpy(s->data() + at, &v, sizeof v); }
uint64_t HashOf(const std::string& s, size_t at, size_t size) {
  return Hash64(std::as_bytes(std::span(s)).subspan(at, size));
}

// Replaces the manifest by `edit` of it, with every checksum right: what a hostile writer would do.
std::string WithManifest(const std::string& engine, const std::function<void(Json*)>& edit) {
  const uint64_t at = U64At(engine, kManifestOffset);
  Json manifest = *ParseJson(std::string_view(engine).substr(at), "manifest");
  edit(&manifest);
  const std::string text = DumpJson(manifest, 1);
  std::string out = engine.substr(0, at) + text;
  SetU64(&out, kManifestSize, text.size());
  SetU64(&out, kManifestChecksum, HashOf(out, at, text.size()));
  SetU64(&out, kFileSize, out.size());
  SetU64(&out, kHeaderChecksum, HashOf(out, 0, kHeaderChecksum));
  return out;
}

class EngineFileTest : public ::testing::Test {
 protected:
  void SetUp() override {
    dir_ = std::filesystem::temp_directory_path() / ("lathe_engine_test_" + std::to_string(getpid()));
    std::filesystem::create_directories(dir_);
    path_ = dir_ / "a.lathe";
  }
  void TearDown() override { std::filesystem::remove_all(dir_); }

  // plan 1000 bytes, tokenizer empty, weights 9000 bytes in two pieces aligned to 64.
  void WriteEngine() {
    auto writer = EngineWriter::Create(path_);
    ASSERT_TRUE(writer.ok()) << writer.status().message();
    ASSERT_TRUE(writer->AddBlob("plan.tp0.pp0", plan_).ok());
    ASSERT_TRUE(writer->AddBlob("tokenizer", "").ok());
    ASSERT_TRUE(writer->BeginBlob("weights.tp0.pp0").ok());
    ASSERT_TRUE(writer->Append(std::as_bytes(std::span(weights_).first(1001))).ok());
    ASSERT_TRUE(writer->AlignBlob(64).ok());
    EXPECT_EQ(writer->blob_offset(), 1024u);
    ASSERT_TRUE(writer->Append(std::as_bytes(std::span(weights_).subspan(1001))).ok());
    ASSERT_TRUE(writer->EndBlob().ok());
    const Status status = writer->Finish(TestIdentity(), {{"family", "llama"}}, {{"seconds", 1.5}});
    ASSERT_TRUE(status.ok()) << status.message();
    bytes_ = *ReadFile(path_);
  }
  Expected<EngineReader> OpenBytes(const std::string& bytes) {
    const std::string path = dir_ / "b.lathe";
    std::filesystem::remove(path);
    EXPECT_TRUE(WriteFileAtomic(path, bytes).ok());
    return EngineReader::Open(path);
  }
  // The message of opening `bytes`, which must fail with `code` and name the file.
  std::string Refusal(const std::string& bytes, StatusCode code) {
    const auto reader = OpenBytes(bytes);
    EXPECT_FALSE(reader.ok());
    if (reader.ok()) return "";
    EXPECT_EQ(reader.status().code(), code) << reader.status().message();
    EXPECT_NE(reader.status().message().find("b.lathe"), std::string::npos) << reader.status().message();
    return reader.status().message();
  }

  std::filesystem::path dir_;
  std::string path_, bytes_;
  const std::string plan_ = RandomBytes(1000, 1), weights_ = RandomBytes(9000, 2);
};

TEST_F(EngineFileTest, RoundTrip) {
  WriteEngine();
  const auto reader = EngineReader::Open(path_);
  ASSERT_TRUE(reader.ok()) << reader.status().message();
  EXPECT_EQ(ToJson(reader->identity()), ToJson(TestIdentity()));
  EXPECT_EQ(reader->model(), Json({{"family", "llama"}}));
  EXPECT_EQ(reader->build_info(), Json({{"seconds", 1.5}}));
  EXPECT_EQ(*reader->TextBlob("plan.tp0.pp0"), plan_);
  EXPECT_EQ(*reader->TextBlob("tokenizer"), "");
  const std::string_view weights = *reader->TextBlob("weights.tp0.pp0");
  ASSERT_EQ(weights.size(), 1024u + 9000 - 1001);
  EXPECT_EQ(weights.substr(0, 1001), weights_.substr(0, 1001));
  EXPECT_EQ(weights.substr(1001, 23), std::string(23, '\0'));
  EXPECT_EQ(weights.substr(1024), weights_.substr(1001));
  EXPECT_TRUE(reader->VerifyWeights().ok());
  EXPECT_EQ(reader->file_bytes(), bytes_.size());
  for (const BlobInfo& blob : reader->blobs()) {
    EXPECT_EQ(blob.offset % kBlobAlignment, 0u) << blob.name;
    EXPECT_EQ(reinterpret_cast<uintptr_t>(reader->Blob(blob.name)->data()) % 64, 0u);
  }
  EXPECT_FALSE(reader->HasBlob("other"));
  EXPECT_EQ(reader->Blob("other").status().code(), StatusCode::kCorrupt);
}

TEST_F(EngineFileTest, EqualInputsMakeEqualFiles) {
  WriteEngine();
  const std::string first = bytes_;
  WriteEngine();
  EXPECT_EQ(first, bytes_);
}

TEST_F(EngineFileTest, NothingIsVisibleBeforeFinishAndNothingStaysAfterAFailure) {
  {
    auto writer = EngineWriter::Create(path_);
    ASSERT_TRUE(writer.ok());
    ASSERT_TRUE(writer->AddBlob("plan.tp0.pp0", plan_).ok());
    EXPECT_FALSE(FileExists(path_));
  }
  EXPECT_TRUE(std::filesystem::is_empty(dir_));
  EXPECT_FALSE(EngineWriter::Create(dir_ / "no" / "such" / "folder.lathe").ok());
}

TEST_F(EngineFileTest, WriterRefusesMisuse) {
  auto writer = EngineWriter::Create(path_);
  ASSERT_TRUE(writer.ok());
  EXPECT_EQ(writer->EndBlob().code(), StatusCode::kInternal);
  EXPECT_EQ(writer->Append({}).code(), StatusCode::kInternal);
  ASSERT_TRUE(writer->AddBlob("a", "x").ok());
  EXPECT_EQ(writer->AddBlob("a", "y").code(), StatusCode::kInternal);
  ASSERT_TRUE(writer->BeginBlob("b").ok());
  EXPECT_EQ(writer->BeginBlob("c").code(), StatusCode::kInternal);
  EXPECT_EQ(writer->Finish(TestIdentity(), {}, {}).code(), StatusCode::kInternal);
}

TEST_F(EngineFileTest, EveryTruncationIsRefused) {
  WriteEngine();
  for (size_t size = 0; size < bytes_.size(); size += 97) {
    const auto reader = OpenBytes(bytes_.substr(0, size));
    ASSERT_FALSE(reader.ok()) << size;
    EXPECT_FALSE(reader.status().message().empty());
  }
  EXPECT_FALSE(OpenBytes(bytes_.substr(0, bytes_.size() - 1)).ok());
  EXPECT_FALSE(OpenBytes(bytes_ + '\0').ok());
  EXPECT_NE(Refusal(bytes_.substr(0, 8192), StatusCode::kCorrupt).find("truncated"), std::string::npos);
}

// A flipped bit is refused at opening, found by VerifyWeights, or lies in padding and changes nothing.
TEST_F(EngineFileTest, EveryBitFlipIsFoundOrHarmless) {
  WriteEngine();
  const auto good = EngineReader::Open(path_);
  ASSERT_TRUE(good.ok());
  const auto in_blob = [&](size_t at, bool weights) {
    for (const BlobInfo& b : good->blobs())
      if (b.name.starts_with("weights") == weights && at >= b.offset && at < b.offset + b.size) return true;
    return false;
  };
  const uint64_t manifest = U64At(bytes_, kManifestOffset);
  Rng rng(7);
  int refused = 0, harmless = 0, in_weights = 0;
  for (int i = 0; i < 2000; ++i) {
    // Half of the flips go to the header and the manifest, which are small.
    size_t at = rng.Below(bytes_.size());
    if (i % 4 == 0) at = rng.Below(kHeaderBytes);
    if (i % 4 == 1) at = manifest + rng.Below(bytes_.size() - manifest);
    std::string bad = bytes_;
    bad[at] = static_cast<char>(bad[at] ^ (1 << rng.Below(8)));
    const auto reader = OpenBytes(bad);
    if (at < kHeaderBytes || at >= manifest || in_blob(at, false)) {
      ASSERT_FALSE(reader.ok()) << "byte " << at;
      ++refused;
      continue;
    }
    ASSERT_TRUE(reader.ok()) << "byte " << at << ": " << reader.status().message();
    const bool weights = in_blob(at, true);
    EXPECT_EQ(reader->VerifyWeights().ok(), !weights) << "byte " << at;
    ++(weights ? in_weights : harmless);
    if (weights) continue;
    for (const BlobInfo& b : good->blobs()) EXPECT_EQ(*reader->TextBlob(b.name), *good->TextBlob(b.name));
  }
  EXPECT_GT(refused, 1000);
  EXPECT_GT(in_weights, 100);
  EXPECT_GT(harmless, 100);
}

TEST_F(EngineFileTest, OtherFilesAndOtherVersionsAreNamed) {
  WriteEngine();
  EXPECT_NE(Refusal("", StatusCode::kCorrupt).find("0 bytes"), std::string::npos);
  EXPECT_NE(Refusal(std::string(5000, 'x'), StatusCode::kCorrupt).find("not an engine"), std::string::npos);
  std::string newer = bytes_;
  newer[kFormatVersion] = static_cast<char>(kEngineFormatVersion + 1);
  const std::string message = Refusal(newer, StatusCode::kMismatch);
  EXPECT_NE(message.find(StrFormat("format %u", kEngineFormatVersion + 1)), std::string::npos) << message;
  EXPECT_NE(message.find(StrFormat("reads format %u", kEngineFormatVersion)), std::string::npos) << message;
  EXPECT_NE(message.find("lathe build"), std::string::npos) << message;
  EXPECT_EQ(EngineReader::Open(dir_ / "none.lathe").status().code(), StatusCode::kNotFound);
  EXPECT_FALSE(EngineReader::Open(dir_).ok());
}

TEST_F(EngineFileTest, HostileManifestsAreRefused) {
  WriteEngine();
  struct Case {
    const char* what;
    std::function<void(Json*)> edit;
  };
  const Case cases[] = {
      {"no identity", [](Json* m) { m->erase("identity"); }},
      {"no blobs", [](Json* m) { m->erase("blobs"); }},
      {"an array", [](Json* m) { *m = Json::array(); }},
      {"identity of another type", [](Json* m) { (*m)["identity"] = 3; }},
      {"blobs of another type", [](Json* m) { (*m)["blobs"] = "many"; }},
      {"blobs as an object",
       [](Json* m) {
         (*m)["blobs"] = {{"a", 1}};
       }},
      {"no target", [](Json* m) { (*m)["identity"].erase("target"); }},
      {"target of another type", [](Json* m) { (*m)["identity"]["target"] = 5; }},
      {"tp 0", [](Json* m) { (*m)["identity"]["tp"] = 0; }},
      {"tp huge", [](Json* m) { (*m)["identity"]["tp"] = uint64_t{1} << 63; }},
      {"overlap", [](Json* m) { (*m)["blobs"][2]["offset"] = 4096; }},
      {"into the header", [](Json* m) { (*m)["blobs"][0]["offset"] = 0; }},
      {"unaligned", [](Json* m) { (*m)["blobs"][0]["offset"] = 4097; }},
      {"negative offset", [](Json* m) { (*m)["blobs"][0]["offset"] = -4096; }},
      {"beyond the end", [](Json* m) { (*m)["blobs"][2]["offset"] = 1 << 30; }},
      {"too long", [](Json* m) { (*m)["blobs"][2]["size"] = 1 << 30; }},
      {"offset + size overflows", [](Json* m) { (*m)["blobs"][2]["size"] = INT64_MAX; }},
      {"negative size", [](Json* m) { (*m)["blobs"][1]["size"] = -1; }},
      {"wrong checksum", [](Json* m) { (*m)["blobs"][0]["xxh3"] = "00"; }},
      {"no checksum", [](Json* m) { (*m)["blobs"][0].erase("xxh3"); }},
      {"two of one name", [](Json* m) { (*m)["blobs"][1]["name"] = "plan.tp0.pp0"; }},
      {"entry of another type", [](Json* m) { (*m)["blobs"][1] = 7; }},
  };
  ASSERT_TRUE(OpenBytes(WithManifest(bytes_, [](Json*) {})).ok());
  for (const Case& c : cases) {
    SCOPED_TRACE(c.what);
    const auto reader = OpenBytes(WithManifest(bytes_, c.edit));
    ASSERT_FALSE(reader.ok());
    const std::string& message = reader.status().message();
    EXPECT_TRUE(message.find("manifest") != std::string::npos || message.find("blob") != std::string::npos)
        << message;
  }
  // Not JSON at all, under right checksums.
  std::string garbage = WithManifest(bytes_, [](Json* m) { *m = std::string(100, 'x'); });
  const uint64_t at = U64At(garbage, kManifestOffset);
  garbage[at] = '{';
  SetU64(&garbage, kManifestChecksum, HashOf(garbage, at, garbage.size() - at));
  SetU64(&garbage, kHeaderChecksum, HashOf(garbage, 0, kHeaderChecksum));
  EXPECT_NE(Refusal(garbage, StatusCode::kCorrupt).find("JSON"), std::string::npos);
}

TEST_F(EngineFileTest, HostileManifestPlaceIsRefused) {
  WriteEngine();
  for (const auto& [offset, size] : {std::pair<uint64_t, uint64_t>{0, 0},
                                     {~uint64_t{0}, 1},
                                     {4096, ~uint64_t{0}},
                                     {bytes_.size(), 0},
                                     {bytes_.size() + 1, ~uint64_t{0}}}) {
    std::string bad = bytes_;
    SetU64(&bad, kManifestOffset, offset);
    SetU64(&bad, kManifestSize, size);
    SetU64(&bad, kHeaderChecksum, HashOf(bad, 0, kHeaderChecksum));
    Refusal(bad, StatusCode::kCorrupt);
  }
}

TEST(RankBlobName, NamesKindAndRanks) { EXPECT_EQ(RankBlobName("weights", 1, 2), "weights.tp1.pp2"); }

}  // namespace
}  // namespace lathe
