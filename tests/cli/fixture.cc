#include "fixture.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "base/check.h"

namespace lathe::testing {
namespace fs = std::filesystem;
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

std::string NewFolder() {
  std::string path = (fs::temp_directory_path() / "lathe_cli_XXXXXX").string();
  LATHE_CHECK(mkdtemp(path.data()) != nullptr);
  return path;
}

// Holds the shared engine and the cache; removed when the test program ends.
struct SharedFolder {
  std::string path = NewFolder();
  ~SharedFolder() { fs::remove_all(path); }
};

const std::string& Shared() {
  static const SharedFolder folder;
  return folder.path;
}

}  // namespace

std::string TalesModel() {
  const char* shared = std::getenv("LATHE_SHARED");
  const std::string beside = shared != nullptr ? shared : LATHE_SOURCE_DIR "/../shared";
  for (const std::string& path :
       {std::string(LATHE_SOURCE_DIR "/models/tales-16m"), beside + "/models/tales-16m"}) {
    if (fs::exists(path + "/config.json")) return path;
  }
  return "";
}

void CliTest::SetUp() {
  ASSERT_NE(TalesModel(), "") << "models/tales-16m is part of the repository";
  dir_ = NewFolder();
}

void CliTest::TearDown() {
  if (!dir_.empty()) fs::remove_all(dir_);
}

std::vector<std::string> CliTest::Environment() const {
  return {"XDG_CACHE_HOME=" + Shared() + "/cache", "TERM=xterm"};
}

std::vector<std::string> CliTest::Program(std::vector<std::string> args) const {
  args.insert(args.begin(), LATHE_PROGRAM);
  return args;
}

ProcessResult CliTest::Lathe(std::vector<std::string> args, ProcessOptions options) const {
  std::vector<std::string> environment = Environment();
  environment.insert(environment.end(), options.environment.begin(), options.environment.end());
  options.environment = std::move(environment);
  return RunProcess(Program(std::move(args)), options);
}

const std::string& CliTest::Engine() {
  static const std::string path = [] {
    const std::string out = Shared() + "/tales.lathe";
    const ProcessResult built =
        RunProcess({LATHE_PROGRAM, "build", TalesModel(), "-o", out, "--no-tune", "--quiet"});
    EXPECT_EQ(built.exit_code, 0) << built.err;
    EXPECT_EQ(built.out, "");
    return out;
  }();
  return path;
}

std::vector<std::string> CliTest::Files() const {
  std::vector<std::string> names;
  for (const auto& entry : fs::recursive_directory_iterator(dir_)) {
    names.push_back(fs::relative(entry.path(), dir_).string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

void ExpectFault(const ProcessResult& result, const std::string& part) {
  EXPECT_EQ(result.exit_code, 1) << result.err;
  EXPECT_EQ(result.out, "");
  EXPECT_THAT(result.err, StartsWith("lathe: "));
  EXPECT_THAT(result.err, HasSubstr(part));
  EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1) << result.err;
}

void ExpectUsage(const ProcessResult& result, const std::string& part) {
  EXPECT_EQ(result.exit_code, 2) << result.err;
  EXPECT_EQ(result.out, "");
  EXPECT_THAT(result.err, StartsWith("lathe: "));
  EXPECT_THAT(result.err, HasSubstr(part));
}

std::string ReadWhole(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void WriteWhole(const std::string& path, const std::string& content) {
  std::ofstream(path, std::ios::binary) << content;
}

}  // namespace lathe::testing
