// A fuzz target without libFuzzer: replays every seed file, then random mutations of the seeds for some
// seconds. Deterministic in its inputs (fixed seed), not in how many of them fit into the time. Finds less
// than a coverage-guided run (`make fuzz`) but needs nothing but the compiler, so it runs with the other
// tests.
//
//   fuzz_NAME [--seconds S] [--seed N] [--iterations N] FILE_OR_FOLDER...
#include <algorithm>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <iterator>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/file.h"
#include "base/rng.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace {

constexpr size_t kMaxInput = 64 << 10;
constexpr double kMaxInputSeconds = 10;  // one input that takes longer is a fault of the parser

std::string current;  // what runs now, kept for the crash handler

// Leaves the input behind, so that the fault can be replayed with `fuzz_NAME FILE --seconds 0`.
void SaveInput(const char* why) {
  const char* path = "fuzz-crash.bin";
  if (std::FILE* f = std::fopen(path, "wb")) {
    std::fwrite(current.data(), 1, current.size(), f);
    std::fclose(f);
  }
  std::fprintf(stderr, "fuzz: %s on an input of %zu bytes, written to %s\n", why, current.size(), path);
}

void OnCrash(int signal) {
  SaveInput("crash");
  std::signal(signal, SIG_DFL);
  std::raise(signal);
}

bool RunOne(const std::string& input) {
  current = input;
  const double start = lathe::NowSeconds();
  LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(current.data()), current.size());
  if (lathe::NowSeconds() - start < kMaxInputSeconds) return true;
  SaveInput("more than 10 s");
  return false;
}

uint64_t InterestingNumber(lathe::Rng& rng) {
  constexpr uint64_t kNumbers[] = {0,
                                   1,
                                   0x7f,
                                   0x80,
                                   0xff,
                                   0x7fff,
                                   0x8000,
                                   0xffff,
                                   0x7fffffff,
                                   0x80000000,
                                   0xffffffff,
                                   0x100000000,
                                   0x7fffffffffffffff,
                                   ~uint64_t{0},
                                   1ull << 40,
                                   64};
  return kNumbers[rng.Below(std::size(kNumbers))];
}

// One to eight small changes.
std::string Mutate(const std::vector<std::string>& seeds, lathe::Rng& rng) {
  std::string s = seeds[rng.Below(seeds.size())];
  for (uint64_t n = 1 + rng.Below(8); n > 0; --n) {
    const size_t at = s.empty() ? 0 : rng.Below(s.size());
    const size_t length = std::min<size_t>(1 + rng.Below(32), s.size() - at);
    switch (rng.Below(9)) {
      case 0:  // flip a bit
        if (!s.empty()) s[at] = static_cast<char>(s[at] ^ (1 << rng.Below(8)));
        break;
      case 1:  // random byte
        if (!s.empty()) s[at] = static_cast<char>(rng.Next());
        break;
      case 2: s.erase(at, length); break;
      case 3: s.insert(at, s.substr(at, length)); break;
      case 4: s.resize(at); break;
      case 5: {  // little-endian number
        const uint64_t number = InterestingNumber(rng);
        const size_t bytes = std::min<size_t>(size_t{1} << rng.Below(4), s.size() - at);
        std::memcpy(s.data() + at, &number, bytes);
        break;
      }
      case 6: s.insert(at, std::to_string(static_cast<int64_t>(InterestingNumber(rng)))); break;
      case 7: {  // a piece of another seed
        const std::string& other = seeds[rng.Below(seeds.size())];
        if (!other.empty()) s.insert(at, other.substr(rng.Below(other.size()), 1 + rng.Below(64)));
        break;
      }
      case 8: {  // a piece of this one, many times: deep or long structures
        const std::string piece = s.substr(at, length);
        std::string run;
        for (uint64_t i = rng.Below(200); i > 0 && run.size() < kMaxInput; --i) run += piece;
        s.insert(at, run);
        break;
      }
    }
  }
  if (s.size() > kMaxInput) s.resize(kMaxInput);
  return s;
}

std::vector<std::string> ReadSeeds(const std::vector<std::string>& paths) {
  std::vector<std::string> seeds;
  const auto add = [&](const std::filesystem::path& path) {
    if (auto content = lathe::ReadFile(path.string()); content.ok()) seeds.push_back(*std::move(content));
  };
  for (const std::string& path : paths) {
    std::error_code error;
    if (!std::filesystem::is_directory(path, error)) {
      add(path);
      continue;
    }
    std::vector<std::filesystem::path> files;
    for (const auto& entry : std::filesystem::directory_iterator(path, error)) files.push_back(entry.path());
    std::sort(files.begin(), files.end());
    for (const auto& file : files) add(file);
  }
  return seeds;
}

}  // namespace

int main(int argc, char** argv) {
  double seconds = 3;
  uint64_t seed = 1, iterations = ~uint64_t{0};
  std::vector<std::string> paths;
  for (int i = 1; i < argc; ++i) {
    const std::string arg = argv[i];
    if (arg.starts_with("--") && i + 1 == argc) {
      std::fprintf(stderr, "fuzz: %s needs a value\n", argv[i]);
      return 2;
    }
    if (arg == "--seconds")
      seconds = std::strtod(argv[++i], nullptr);
    else if (arg == "--seed")
      seed = std::strtoull(argv[++i], nullptr, 10);
    else if (arg == "--iterations")
      iterations = std::strtoull(argv[++i], nullptr, 10);
    else
      paths.push_back(arg);
  }
  for (const int signal : {SIGSEGV, SIGABRT, SIGFPE, SIGBUS, SIGILL}) std::signal(signal, OnCrash);

  std::vector<std::string> seeds = ReadSeeds(paths);
  for (const std::string& s : seeds)
    if (!RunOne(s)) return 1;
  const size_t n_seeds = seeds.size();
  seeds.emplace_back();  // mutations may start from nothing
  lathe::Rng rng(seed);
  uint64_t runs = 0;
  for (const double end = lathe::NowSeconds() + seconds; runs < iterations && lathe::NowSeconds() < end;
       ++runs)
    if (!RunOne(Mutate(seeds, rng))) return 1;
  std::printf("fuzz: %zu seeds and %llu mutations, nothing found\n", n_seeds,
              static_cast<unsigned long long>(runs));
  return 0;
}
