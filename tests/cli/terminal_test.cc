// The helpers under apps/lathe/terminal: quantities, tables, the progress line, line reading.
#include "terminal/terminal.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <termios.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>

#include "perplexity_text.h"
#include "terminal/cleanup.h"
#include "terminal/format.h"
#include "terminal/interrupt.h"
#include "terminal/line_reader.h"
#include "terminal/progress.h"
#include "terminal/table.h"

namespace lathe::cli {
namespace {

using ::testing::HasSubstr;

TEST(ParseByteSize, ReadsNumbersWithBinarySuffixes) {
  struct Case {
    const char* text;
    uint64_t bytes;
  };
  for (const Case& c : std::initializer_list<Case>{{"0", 0},
                                                   {"4096", 4096},
                                                   {"1k", 1024},
                                                   {"64K", 65536},
                                                   {"512M", uint64_t{512} << 20},
                                                   {"1.5G", uint64_t{3} << 29},
                                                   {"2GiB", uint64_t{2} << 30},
                                                   {"3MiB", uint64_t{3} << 20},
                                                   {"1T", uint64_t{1} << 40},
                                                   {"4194303T", uint64_t{4194303} << 40}}) {
    const auto parsed = ParseByteSize(c.text);
    ASSERT_TRUE(parsed.ok()) << c.text << ": " << parsed.status().message();
    EXPECT_EQ(*parsed, c.bytes) << c.text;
  }
}

TEST(ParseByteSize, RefusesTheRestAndQuotesIt) {
  for (const char* text : {"", "K", "iB", "GiB", "-1", "1.5.2G", "1 G", "12Q", "0x10", "1e400", "nan", "inf",
                           "5GB", "5iB", "1GG", "8388608T"}) {
    const auto parsed = ParseByteSize(text);
    ASSERT_FALSE(parsed.ok()) << text;
    EXPECT_EQ(parsed.status().code(), StatusCode::kInvalidArgument);
    EXPECT_THAT(parsed.status().message(), HasSubstr("\"" + std::string(text) + "\""));
  }
}

TEST(ParseLogitBias, ReadsIdAndValue) {
  const auto parsed = ParseLogitBias("1234:-5.5");
  ASSERT_TRUE(parsed.ok());
  EXPECT_EQ(parsed->first, 1234);
  EXPECT_EQ(parsed->second, -5.5);
  EXPECT_EQ(ParseLogitBias("0:100")->second, 100);
}

TEST(ParseLogitBias, RefusesTheRest) {
  for (const char* text :
       {"", "12", ":", "12:", ":3", "a:1", "1:b", "1:nan", "1:2:3", "99999999999:1", "1 :2"}) {
    EXPECT_FALSE(ParseLogitBias(text).ok()) << text;
  }
}

TEST(Format, Quantities) {
  EXPECT_EQ(FormatBytes(0), "0 B");
  EXPECT_EQ(FormatBytes(999), "999 B");
  EXPECT_EQ(FormatBytes(1000), "1.00 kB");
  EXPECT_EQ(FormatBytes(31.48e6), "31.5 MB");
  EXPECT_EQ(FormatBytes(2.21e9), "2.21 GB");
  EXPECT_EQ(FormatBytes(999.9e6), "1.00 GB");
  EXPECT_EQ(FormatBytes(350e6), "350 MB");
  EXPECT_EQ(FormatSeconds(0.00085), "850 us");
  EXPECT_EQ(FormatSeconds(0.0123), "12.3 ms");
  EXPECT_EQ(FormatSeconds(4.56), "4.56 s");
  EXPECT_EQ(FormatSeconds(125), "2:05");
  EXPECT_EQ(FormatSeconds(3725), "1:02:05");
  EXPECT_EQ(FormatCount(0), "0");
  EXPECT_EQ(FormatCount(999), "999");
  EXPECT_EQ(FormatCount(1000), "1,000");
  EXPECT_EQ(FormatCount(1234567), "1,234,567");
}

TEST(Format, PercentilesInterpolate) {
  EXPECT_EQ(Percentile({}, 0.5), 0);
  EXPECT_EQ(Percentile({7}, 0.99), 7);
  EXPECT_EQ(Percentile({3, 1, 2}, 0.5), 2);
  EXPECT_EQ(Percentile({1, 2, 3, 4}, 0.5), 2.5);
  EXPECT_EQ(Percentile({4, 3, 2, 1}, 0), 1);
  EXPECT_EQ(Percentile({1, 2, 3, 4}, 1), 4);
}

TEST(Format, NearestNameForgivesTwoEditsOfALongName) {
  const std::array<std::string, 3> names = {"--temperature", "--top-p", "--top-k"};
  EXPECT_EQ(NearestName("--temprature", names), "--temperature");
  EXPECT_EQ(NearestName("--top-q", names), "--top-p");
  EXPECT_EQ(NearestName("--frobnicate", names), "");
  EXPECT_EQ(NearestName("x", names), "");
}

TEST(Terminal, WidthCountsColumnsAndNotBytes) {
  EXPECT_EQ(DisplayWidth("abc"), 3u);
  EXPECT_EQ(DisplayWidth("h\xc3\xa9"), 2u);     // e with acute
  EXPECT_EQ(DisplayWidth("\xe6\x97\xa5"), 2u);  // a CJK character takes two columns
  EXPECT_EQ(DisplayWidth("a\xff"), 2u);         // broken byte
}

TEST(Terminal, PrintableLeavesNoControlCharacter) {
  EXPECT_EQ(Printable("a\n\tb\x1b[2J\x7f\xc3\xa9"), "a\\n\\tb\\x1b[2J\\x7f\xc3\xa9");
}

TEST(Terminal, SafeTextKeepsNewlinesAndDropsEscapeSequences) {
  EXPECT_EQ(TerminalSafe("a\n\tb"), "a\n\tb");
  EXPECT_EQ(TerminalSafe("\x1b[2Jx\r\x7f"), "\xef\xbf\xbd[2Jx\xef\xbf\xbd\xef\xbf\xbd");
  EXPECT_EQ(TerminalSafe("\xc2\x9b"
                         "1mx\xc2\xa0\xe6\x97\xa5"),
            "\xef\xbf\xbd"
            "1mx\xc2\xa0\xe6\x97\xa5");
}

TEST(Terminal, APipeIsNoTerminalAndHasNoColour) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  const Terminal terminal = DescribeTerminal(ends[1]);
  EXPECT_FALSE(terminal.interactive);
  EXPECT_EQ(Style(terminal).Bold("x"), "x");
  Terminal colour;
  colour.colour = true;
  EXPECT_EQ(Style(colour).Bold("x"), "\x1b[1mx\x1b[0m");
  close(ends[0]);
  close(ends[1]);
}

TEST(Table, AlignsByWidthUnderARule) {
  Table table({{"op"}, {"time", Align::kRight}, {"note"}});
  table.AddRow({"h\xc3\xa9", "1.5", "first"});
  table.AddRow({"longer", "12.25"});
  EXPECT_EQ(table.Render(),
            "op       time  note\n"
            "------  -----  -----\n"
            "h\xc3\xa9        1.5  first\n"
            "longer  12.25\n");
}

TEST(Table, WithoutHeadsHasNoRuleAndEscapesControls) {
  Table table({{""}, {""}});
  table.AddRow({"key", "a\nb"});
  EXPECT_EQ(table.Render(2), "  key  a\\nb\n");
}

TEST(Progress, LineShowsAmountRateAndTimeLeft) {
  const std::string line = RenderProgress("packing", 500'000'000, 2'000'000'000, Unit::kBytes, 2, 120);
  EXPECT_EQ(line, "packing   25%  [######------------------]  500 MB of 2.00 GB  250 MB/s  ETA 6 s");
}

TEST(Progress, LineNeverExceedsTheWidth) {
  for (int width = 1; width <= 120; ++width) {
    for (const uint64_t total : {uint64_t{0}, uint64_t{1}, uint64_t{1} << 50}) {
      for (const uint64_t done : {uint64_t{0}, total / 2, total, total + 7}) {
        const std::string line =
            RenderProgress("a label of some length", done, total, Unit::kBytes, 3, width);
        EXPECT_LE(DisplayWidth(line), static_cast<size_t>(width));
      }
    }
  }
}

TEST(Progress, MoreThanTheTotalIsAllOfIt) {
  EXPECT_EQ(RenderProgress("x", 12, 10, Unit::kItems, 0, 80),
            "x  100%  [########################]  10 of 10");
}

TEST(Progress, APipeGetsNothingFromAShortStage) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  {
    Progress progress(ends[1]);
    for (uint64_t i = 0; i <= 100; ++i) progress.Update("stage", i, 100, Unit::kItems);
  }
  close(ends[1]);
  char byte;
  EXPECT_EQ(read(ends[0], &byte, 1), 0);
  close(ends[0]);
}

TEST(LineReader, SplitsLinesWhateverTheChunks) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  std::thread writer([&] {
    for (const char* part : {"on", "e\ntw\xc3", "\xa9\r\n", "\n", "last"}) WriteAll(ends[1], part);
    close(ends[1]);
  });
  LineReader reader(ends[0]);
  std::string line;
  for (const char* expected : {"one", "tw\xc3\xa9", "", "last"}) {
    ASSERT_EQ(reader.Next(&line), ReadOutcome::kLine);
    EXPECT_EQ(line, expected);
  }
  EXPECT_EQ(reader.Next(&line), ReadOutcome::kEnd);
  EXPECT_EQ(reader.Next(&line), ReadOutcome::kEnd);
  writer.join();
  close(ends[0]);
}

TEST(LineReader, APressBeforeOrDuringTheWaitEndsIt) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  Interrupt interrupt;
  LineReader reader(ends[0], interrupt.fd());
  std::string line;
  raise(SIGINT);
  WriteAll(ends[1], "dropped");
  EXPECT_EQ(reader.Next(&line), ReadOutcome::kInterrupted);
  EXPECT_TRUE(interrupt.Taken());
  std::thread presser([] {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    kill(getpid(), SIGINT);
  });
  EXPECT_EQ(reader.Next(&line), ReadOutcome::kInterrupted);
  EXPECT_TRUE(interrupt.Taken());
  presser.join();
  WriteAll(ends[1], "kept\n");
  EXPECT_EQ(reader.Next(&line), ReadOutcome::kLine);
  EXPECT_EQ(line, "kept");
  close(ends[0]);
  close(ends[1]);
}

// What Ctrl-C does on a terminal, at every moment of a read: the kernel drops the line, then the press is
// noted.
TEST(LineReader, ALineThatIsDroppedWhileItIsReadIsNotWaitedFor) {
  const int master = posix_openpt(O_RDWR | O_NOCTTY);
  ASSERT_GE(master, 0);
  ASSERT_EQ(grantpt(master), 0);
  ASSERT_EQ(unlockpt(master), 0);
  const int terminal = open(ptsname(master), O_RDWR | O_NOCTTY);
  ASSERT_GE(terminal, 0);
  termios settings{};
  ASSERT_EQ(tcgetattr(terminal, &settings), 0);
  settings.c_lflag &= ~static_cast<tcflag_t>(ECHO);
  ASSERT_EQ(tcsetattr(terminal, TCSANOW, &settings), 0);
  const int wake = eventfd(0, EFD_NONBLOCK);
  constexpr int kPresses = 3000;
  std::atomic<int> answered = 0;
  std::thread typist([&] {
    for (int i = 0; i < kPresses; ++i) {
      WriteAll(master, "a line\n");
      for (volatile int pause = 0; pause < i % 300 * 20;) pause = pause + 1;
      tcflush(terminal, TCIFLUSH);
      const uint64_t one = 1;
      EXPECT_EQ(write(wake, &one, sizeof one), static_cast<ssize_t>(sizeof one));
      while (answered.load() <= i) std::this_thread::yield();
    }
  });
  LineReader reader(terminal, wake);
  std::string line;
  while (answered.load() < kPresses) {
    const ReadOutcome outcome = reader.Next(&line);
    if (outcome == ReadOutcome::kLine) continue;
    EXPECT_EQ(outcome, ReadOutcome::kInterrupted);
    uint64_t presses = 0;
    EXPECT_EQ(read(wake, &presses, sizeof presses), static_cast<ssize_t>(sizeof presses));
    ++answered;
  }
  typist.join();
  for (const int fd : {wake, terminal, master}) close(fd);
}

TEST(CleanUpOnSignal, RemovesThisProcessesTemporariesAlone) {
  std::string folder = ::testing::TempDir() + "lathe_cleanup_XXXXXX";
  ASSERT_NE(mkdtemp(folder.data()), nullptr);
  const auto touch = [&](const std::string& name) { std::ofstream(folder + "/" + name) << "x"; };
  // Each in a process of its own: a death test.
  EXPECT_EXIT(
      {
        const std::string pid = std::to_string(getpid());
        touch("m.lathe");
        touch("m.lathe.tmp-" + pid + "-0");
        touch("m.lathe.tmp-" + pid + "1-0");
        touch("m.lathe.tmp-1-0");
        std::filesystem::create_directory(folder + "/ckpt.tmp-" + pid);
        touch("ckpt.tmp-" + pid + "/rank0.safetensors");
        const CleanUpOnSignal cleanup(folder);
        kill(getpid(), SIGTERM);
        pause();
      },
      ::testing::ExitedWithCode(128 + SIGTERM), "");
  std::vector<std::string> left;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    left.push_back(entry.path().filename().string());
  }
  EXPECT_THAT(left,
              ::testing::UnorderedElementsAre("m.lathe", "m.lathe.tmp-1-0", ::testing::EndsWith("1-0")));
  std::filesystem::remove_all(folder);
}

TEST(CleanUpOnSignal, GivesTheSignalsBack) {
  { const CleanUpOnSignal cleanup("."); }
  EXPECT_EXIT(raise(SIGTERM), ::testing::KilledBySignal(SIGTERM), "");
}

TEST(FolderOf, IsWhereThePathLies) {
  EXPECT_EQ(FolderOf("m.lathe"), ".");
  EXPECT_EQ(FolderOf("a/m.lathe"), "a");
  EXPECT_EQ(FolderOf("/m.lathe"), "/");
  EXPECT_EQ(FolderOf("a/ckpt/"), "a");
}

TEST(Interrupt, IsCountedAndGivesTheFormerHandlerBack) {
  {
    Interrupt interrupt;
    EXPECT_FALSE(interrupt.Taken());
    ASSERT_EQ(raise(SIGINT), 0);
    ASSERT_EQ(raise(SIGINT), 0);
    EXPECT_TRUE(interrupt.Taken());
    EXPECT_FALSE(interrupt.Taken());
  }
  EXPECT_EXIT(raise(SIGINT), ::testing::KilledBySignal(SIGINT), "");
}

TEST(PerplexityText, SeparatorLinesAreEmptied) {
  constexpr char kSep[] = "<|endoftext|>";
  EXPECT_EQ(EmptySeparatorLines("a\nb\n<|endoftext|>\nc\n<|endoftext|>\n", kSep), "a\nb\n\nc\n\n");
  EXPECT_EQ(EmptySeparatorLines("a <|endoftext|>\n<|endoftext|> b", kSep),
            "a <|endoftext|>\n<|endoftext|> b");
  EXPECT_EQ(EmptySeparatorLines("<|endoftext|>", kSep), "");
  EXPECT_EQ(EmptySeparatorLines("a\n\nb", ""), "a\n\nb");
  EXPECT_EQ(EmptySeparatorLines("", kSep), "");
}

TEST(PerplexityText, WindowsStartEveryWindowTokensAfterABos) {
  std::vector<TokenId> ids;
  for (TokenId i = 10; i < 19; ++i) ids.push_back(i);
  using Windows = std::vector<std::vector<TokenId>>;
  // 13 stands where the second window's bos does.
  EXPECT_EQ(CutWindows(ids, 4, 1), (Windows{{1, 10, 11, 12}, {1, 14, 15, 16}}));
  EXPECT_EQ(CutWindows(ids, 4, -1), (Windows{{10, 11, 12, 13}, {14, 15, 16, 17}}));
  EXPECT_EQ(CutWindows(ids, 10, 1), (Windows{{1, 10, 11, 12, 13, 14, 15, 16, 17, 18}}));
  EXPECT_TRUE(CutWindows(ids, 11, 1).empty());
}

}  // namespace
}  // namespace lathe::cli
