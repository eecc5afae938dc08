// `lathe chat` through a pipe and on a pseudo-terminal, and what a terminal changes elsewhere.
#include "fixture.h"

namespace lathe::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class CliChat : public CliTest {
 protected:
  std::vector<std::string> Chat(std::vector<std::string> more = {}) const {
    std::vector<std::string> args = {"chat", Engine(), "--temperature", "0"};
    args.insert(args.end(), more.begin(), more.end());
    return args;
  }
  std::vector<std::string> With(const std::string& variable) const {
    std::vector<std::string> environment = Environment();
    environment.push_back(variable);
    return environment;
  }
};

TEST_F(CliChat, APipeGetsTheAnswersAlone) {
  const ProcessResult chat = Lathe(Chat({"--max-tokens", "20"}), {.input = "Tell me a story.\nGo on.\n"});
  ASSERT_EQ(chat.exit_code, 0) << chat.err;
  EXPECT_EQ(chat.err, "");
  EXPECT_GT(chat.out.size(), 40u);
  EXPECT_THAT(chat.out, Not(HasSubstr("> ")));
}

TEST_F(CliChat, TheConversationIsKeptUntilReset) {
  const auto answers = [&](const std::string& input) {
    const ProcessResult chat = Lathe(Chat({"--max-tokens", "16"}), {.input = input});
    EXPECT_EQ(chat.exit_code, 0) << chat.err;
    return chat.out;
  };
  const std::string once = answers("Tell me a story.\n");
  const std::string twice = answers("Tell me a story.\nTell me a story.\n");
  const std::string reset = answers("Tell me a story.\n/reset\nTell me a story.\n");
  EXPECT_EQ(reset, once + once);
  EXPECT_NE(twice, once + once) << "the second answer has the first one before it";
  EXPECT_EQ(answers("\n  \nTell me a story.\n/quit\nTell me a story.\n"), once);
  EXPECT_EQ(answers("Tell me a story."), once) << "the last line needs no newline";
}

TEST_F(CliChat, SystemMessageAndCommands) {
  const ProcessResult flag =
      Lathe(Chat({"--max-tokens", "16", "--system", "You are a bear."}), {.input = "Who are you?\n"});
  const ProcessResult typed =
      Lathe(Chat({"--max-tokens", "16"}),
            {.input = "/system You are a bear.\nWho are you?\n/stats\n/help\n/nonsense\n"});
  EXPECT_EQ(flag.out, typed.out);
  EXPECT_THAT(typed.err, HasSubstr("system message set"));
  EXPECT_THAT(typed.err, HasSubstr("generated tokens"));
  EXPECT_THAT(typed.err, HasSubstr("/quit"));
  EXPECT_THAT(typed.err, HasSubstr("no command /nonsense"));
}

TEST_F(CliChat, ALineMayGoOn) {
  const auto out = [&](const std::string& input) {
    return Lathe(Chat({"--max-tokens", "8"}), {.input = input}).out;
  };
  EXPECT_EQ(out("Tell me\\\na story.\n"), out("Tell me\\\na story."));
  EXPECT_NE(out("Tell me\\\na story.\n"), "");
}

TEST_F(CliChat, AFaultEndsAScript) {
  std::string line;
  for (int i = 0; i < 300; ++i) line += "king ";
  const ProcessResult chat = Lathe(Chat({"--context", "64"}), {.input = line + "\n"});
  ExpectFault(chat, "64");
}

TEST_F(CliChat, CtrlCStopsTheAnswerAndNotTheProgram) {
  TerminalProcess chat(Program(Chat({"--ignore-eos"})), Environment());
  ASSERT_TRUE(chat.WaitFor("> ")) << chat.screen();
  chat.Type("Tell me a long story.\n");
  ASSERT_TRUE(chat.WaitFor("story.\r\n")) << chat.screen();
  ASSERT_TRUE(chat.WaitFor("the")) << "an answer: " << chat.screen();
  chat.Type("\x03");
  ASSERT_TRUE(chat.WaitFor("(stopped)")) << chat.screen();
  ASSERT_TRUE(chat.WaitFor("tok/s")) << chat.screen();
  ASSERT_TRUE(chat.WaitFor("> ")) << chat.screen();
  // It still talks.
  chat.Type("/stats\n");
  ASSERT_TRUE(chat.WaitFor("generated tokens")) << chat.screen();
  chat.Type("And caf\xc3\xa9?\n");
  ASSERT_TRUE(chat.WaitFor("caf\xc3\xa9?\r\n")) << chat.screen();
  chat.Type("\x03");
  ASSERT_TRUE(chat.WaitFor("> ")) << chat.screen();
  chat.Type("/quit\n");
  EXPECT_EQ(chat.WaitForExit(), 0) << chat.screen();
}

TEST_F(CliChat, CtrlCAtThePromptHintsAndASecondOneLeaves) {
  TerminalProcess chat(Program(Chat()), Environment());
  ASSERT_TRUE(chat.WaitFor("> ")) << chat.screen();
  chat.Type("half a line\x03");
  ASSERT_TRUE(chat.WaitFor("/quit")) << chat.screen();
  ASSERT_TRUE(chat.WaitFor("> ")) << chat.screen();
  chat.Type("\x03");
  EXPECT_EQ(chat.WaitForExit(), 0) << chat.screen();
}

TEST_F(CliChat, CtrlDLeaves) {
  TerminalProcess chat(Program(Chat()), Environment());
  ASSERT_TRUE(chat.WaitFor("> ")) << chat.screen();
  chat.Type("\x04");
  EXPECT_EQ(chat.WaitForExit(), 0) << chat.screen();
}

TEST_F(CliChat, ATerminalGetsColourUnlessNoColorIsSet) {
  const std::vector<std::string> args = {"run", Engine(), "Once", "--temperature", "0", "--max-tokens", "4"};
  TerminalProcess colour(Program(args), Environment());
  EXPECT_EQ(colour.WaitForExit(), 0);
  EXPECT_THAT(colour.screen(), HasSubstr("\x1b[2m"));
  EXPECT_THAT(colour.screen(), HasSubstr("next:"));
  TerminalProcess plain(Program(args), With("NO_COLOR=1"));
  EXPECT_EQ(plain.WaitForExit(), 0);
  EXPECT_THAT(plain.screen(), Not(HasSubstr("\x1b[")));
  TerminalProcess dumb(Program(args), With("TERM=dumb"));
  EXPECT_EQ(dumb.WaitForExit(), 0);
  EXPECT_THAT(dumb.screen(), Not(HasSubstr("\x1b[")));
}

TEST_F(CliChat, TheBuildsProgressBarIsCleanedUp) {
  TerminalProcess build(Program({"build", TalesModel(), "-o", dir() + "/m.lathe", "--no-tune"}),
                        Environment());
  EXPECT_EQ(build.WaitForExit(), 0) << build.screen();
  const size_t bar = build.screen().rfind("\r\x1b[K");
  ASSERT_NE(bar, std::string::npos) << build.screen();
  EXPECT_EQ(build.screen().substr(bar + 4).rfind("built ", 0), 0u)
      << "after the last wipe: " << build.screen();
  EXPECT_THAT(build.screen(), HasSubstr("lathe run "));
}

TEST_F(CliChat, CtrlCDuringABuildLeavesNothing) {
  TerminalProcess build(Program({"build", TalesModel(), "-o", dir() + "/m.lathe"}), Environment());
  ASSERT_TRUE(build.WaitFor("measuring")) << build.screen();
  build.Type("\x03");
  EXPECT_EQ(build.WaitForExit(), 130) << build.screen();
  EXPECT_TRUE(Files().empty());
}

TEST_F(CliChat, WithoutAPromptATerminalIsAskedForOne) {
  TerminalProcess run(Program({"run", Engine()}), Environment());
  EXPECT_EQ(run.WaitForExit(), 2);
  EXPECT_THAT(run.screen(), HasSubstr("needs a prompt"));
}

}  // namespace
}  // namespace lathe::testing
