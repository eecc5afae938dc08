#include "hub/names.h"

#include "hub/api.h"
#include "hub/url.h"

namespace lathe::hub {
namespace {

using ::testing::HasSubstr;

TEST(ParseUrl, TakesApart) {
  struct Case {
    const char* text;
    const char* origin;
    const char* target;
  };
  const Case cases[] = {
      {"https://huggingface.co", "https://huggingface.co", "/"},
      {"https://HuggingFace.co/api/x?y=z#part", "https://huggingface.co", "/api/x?y=z"},
      {"http://127.0.0.1:8080/a", "http://127.0.0.1:8080", "/a"},
      {"http://[::1]:80/a", "http://[::1]", "/a"},
      {"https://host:443?q", "https://host", "/?q"},
      {"http://user:pass@proxy:3128", "http://proxy:3128", "/"},
  };
  for (const Case& c : cases) {
    const auto url = ParseUrl(c.text);
    ASSERT_TRUE(url.ok()) << url.status().message();
    EXPECT_EQ(url->Origin(), c.origin);
    EXPECT_EQ(url->target, c.target);
  }
  EXPECT_EQ(ParseUrl("http://a%40b:c@p")->user_info, "a@b:c");
  EXPECT_EQ(ParseUrl("https://host")->Authority(/*with_port=*/true), "host:443");
  EXPECT_EQ(ParseUrl("https://cdn/x?signature=secret")->Shown(), "https://cdn/x");
}

TEST(ParseUrl, Refuses) {
  for (const char* text :
       {"", "host", "ftp://host/", "https://", "https:///path", "http://host:0/", "http://host:65536",
        "http://host:x", "http://[::1", "http://[::1]x", "http://ho st/", "http://host/a b", "http://h\\a",
        "http://host/\n", "http://a<b>/"}) {
    const auto url = ParseUrl(text);
    EXPECT_EQ(url.status().code(), StatusCode::kInvalidArgument) << text;
  }
  EXPECT_FALSE(ParseUrl("http://h/" + std::string(17 << 10, 'x')).ok());
}

TEST(ResolveReference, FollowsTheStandard) {
  const Url base = *ParseUrl("https://hub/a/b/c?d=e");
  const std::pair<const char*, const char*> cases[] = {
      {"https://cdn/x?y", "https://cdn/x?y"},
      {"//cdn/x", "https://cdn/x"},
      {"/x/../y", "https://hub/y"},
      {"x", "https://hub/a/b/x"},
      {"../x?z", "https://hub/a/x?z"},
      {"?z", "https://hub/a/b/c?z"},
      {"../../../../x", "https://hub/x"},
      {"./", "https://hub/a/b/"},
      {"x:1", ""},
      {"file:///etc/passwd", ""},
      {"/a b", ""},
  };
  for (const auto& [reference, expected] : cases) {
    const auto url = ResolveReference(base, reference);
    EXPECT_EQ(url.ok() ? url->ToString() : "", expected) << reference;
  }
}

TEST(Escape, RoundTrips) {
  EXPECT_EQ(Escape("refs/pr/1", false), "refs%2Fpr%2F1");
  EXPECT_EQ(Escape("a b/ü#?.json", true), "a%20b/%C3%BC%23%3F.json");
  EXPECT_EQ(Unescape(Escape("a/ü%\x01", false)), "a/ü%\x01");
  EXPECT_EQ(Unescape("100%"), "100%");
  EXPECT_EQ(Unescape("%zz%4"), "%zz%4");
}

TEST(ParseRepoName, Takes) {
  const auto plain = ParseRepoName("mistralai/Mistral-7B-Instruct-v0.2");
  ASSERT_TRUE(plain.ok());
  EXPECT_EQ(plain->Folder(), "models--mistralai--Mistral-7B-Instruct-v0.2");
  EXPECT_EQ(plain->revision, "main");
  const auto full = ParseRepoName("a/b@refs/pr/1");
  ASSERT_TRUE(full.ok());
  EXPECT_EQ(full->Id(), "a/b");
  EXPECT_EQ(full->revision, "refs/pr/1");
  EXPECT_EQ(ParseRepoName("gpt2")->Folder(), "models--gpt2");
  EXPECT_TRUE(LooksLikeRepoName("a/b"));
  EXPECT_TRUE(LooksLikeRepoName("a/b@v1"));
  for (const char* path : {"gpt2", "./a", "/a/b", "a/b/c", "a/m.lathe", "../a", "a/", "a//b"})
    EXPECT_FALSE(LooksLikeRepoName(path)) << path;
}

TEST(ParseRepoName, Refuses) {
  for (const char* text :
       {"",       "/",      "a/",       "/a",       "a/b/c",   "a/..",  "../a",  "a/b..c", "a/b--c",
        ".a/b",   "a/.b",   "a/b-",     "-a/b",     "a/b.git", "a b/c", "a/b@",  "a/b@..", "a/b@x..y",
        "a/b@-x", "a/b@/x", "a/b@x//y", "a/b@x/.y", "a/b@x y", "a\\b",  "a/b\n", "ü/b",    "a/b@x@y"}) {
    const auto repo = ParseRepoName(text);
    EXPECT_EQ(repo.status().code(), StatusCode::kInvalidArgument) << text;
  }
  EXPECT_FALSE(ParseRepoName(std::string(50, 'a') + "/" + std::string(50, 'b')).ok());
}

TEST(CheckRepoPath, LetsPlainPathsThrough) {
  for (const char* path :
       {"config.json", "a/b/c.txt", ".gitattributes", "a b/ü.json", "...", "a..b", "-x", "~"})
    EXPECT_TRUE(CheckRepoPath(path).ok()) << path;
}

TEST(CheckRepoPath, RefusesHostileOnes) {
  std::string deep = "a";
  for (int i = 0; i < 32; ++i) deep += "/a";
  for (const std::string& path :
       {std::string(), std::string("/etc/passwd"), std::string(".."), std::string("../x"),
        std::string("a/../b"), std::string("a/.."), std::string("."), std::string("a/./b"),
        std::string("a//b"), std::string("a/"), std::string("a\\b"), std::string("a\nb"),
        std::string("a\0b", 3), std::string("a\x7f"), std::string(256, 'x'), std::string(1025, '~'), deep}) {
    const Status status = CheckRepoPath(path);
    EXPECT_EQ(status.code(), StatusCode::kCorrupt) << path;
    EXPECT_THAT(status.message(), HasSubstr("nothing was fetched"));
  }
}

TEST(GlobMatches, AsFnmatch) {
  struct Case {
    const char* pattern;
    const char* text;
    bool matches;
  };
  const Case cases[] = {
      {"*", "a/b.c", true},
      {"*.json", "a/b.json", true},
      {"*.json", "a.jsonl", false},
      {"model-?.bin", "model-1.bin", true},
      {"model-?.bin", "model-.bin", false},
      {"[ab]x", "bx", true},
      {"[!ab]x", "bx", false},
      {"[a-c]x", "bx", true},
      {"[a-c]x", "dx", false},
      {"[]]x", "]x", true},
      {"[x", "[x", true},
      {"a/", "a/b/c", true},
      {"a/", "ab", false},
      {"", "", true},
      {"", "a", false},
      {"a*b*c", "aXbYbZc", true},
      {"a*b*c", "aXbYbZ", false},
      {"**", "x", true},
  };
  for (const Case& c : cases)
    EXPECT_EQ(GlobMatches(c.pattern, c.text), c.matches) << c.pattern << " " << c.text;
  // Many stars against a long text end soon: quadratic at worst.
  EXPECT_FALSE(GlobMatches("*a*a*a*a*a*a*a*a*a*a*a*a*b", std::string(5000, 'a')));
}

TEST(Names, Small) {
  EXPECT_TRUE(IsCommit(std::string(40, 'a')));
  EXPECT_FALSE(IsCommit(std::string(40, 'A')));
  EXPECT_FALSE(IsCommit(std::string(39, 'a')));
  EXPECT_EQ(Quoted("a\nb\x1b[0m"), "a\\x0ab\\x1b[0m");
  EXPECT_EQ(Quoted("abcdef", 3), "abc...");
  EXPECT_EQ(Quoted("Zürich \u20ac \U0001f600"), "Zürich \u20ac \U0001f600");
  EXPECT_EQ(Quoted("\u009b2J"), "\\xc2\\x9b2J");  // a terminal takes it for ESC [
  EXPECT_EQ(Quoted("a\xff\xe2\x82"), "a\\xff\\xe2\\x82");
  EXPECT_EQ(SizeText(999), "999 B");
  EXPECT_EQ(SizeText(31'478'456), "31.5 MB");
  EXPECT_EQ(SizeText(14'483'498'272), "14.5 GB");
  EXPECT_EQ(NormalizedEtag("W/\"abc\""), "abc");
  EXPECT_EQ(NormalizedEtag("abc"), "abc");
}

TEST(Digest, KnownValues) {
  EXPECT_EQ(DigestOf(DigestKind::kGitBlob, ""), "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391");
  EXPECT_EQ(DigestOf(DigestKind::kGitBlob, "hello\n"), "ce013625030ba8dba906f756967f9e9ca394464a");
  EXPECT_EQ(DigestOf(DigestKind::kSha256, "abc"), Sha256Hex("abc"));
  EXPECT_EQ(Base64("ab"), "YWI=");
  EXPECT_EQ(Base64(""), "");
}

}  // namespace
}  // namespace lathe::hub
