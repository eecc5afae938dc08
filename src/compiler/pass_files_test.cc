// Runs tests/passes/*.ir. A file is a graph with comments:
//   # RUN: fuse_qkv prune_dead | tp=2 tp_rank=1     passes in order | context
//   # CHECK: text        some later line of the result contains the text
//   # CHECK-NEXT: text   the very next line does
//   # CHECK-NOT: text    no line from the last match to the next one (or the end) does
//   # FAIL: text         instead of checks: a pass fails with a message that contains the text
// Runs of spaces count as one. After plan_memory the result has a line for each buffer as well.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <sstream>

#include "base/file.h"
#include "compiler/passes/pass.h"
#include "compiler/pipeline.h"
#include "compiler/tactics.h"
#include "ir/text.h"
#include "ir/verify.h"

namespace lathe {
namespace {

std::string Squeeze(const std::string& text) {
  std::istringstream in(text);
  std::string word, out;
  while (in >> word) out += (out.empty() ? "" : " ") + word;
  return out;
}

struct Directive {
  enum Kind { kCheck, kNext, kNot } kind = kCheck;
  std::string text;
};

struct PassFile {
  std::string source;
  std::vector<std::string> passes;
  std::map<std::string, std::string> context;
  std::vector<Directive> checks;
  std::string fail;
};

// The text after "# NAME:" when the line is that directive.
bool TakeDirective(const std::string& line, const std::string& name, std::string* text) {
  const std::string prefix = "# " + name + ":";
  if (!line.starts_with(prefix)) return false;
  *text = Squeeze(line.substr(prefix.size()));
  return true;
}

PassFile ReadPassFile(const std::string& path) {
  PassFile out;
  const auto content = ReadFile(path);
  EXPECT_TRUE(content.ok()) << path;
  out.source = *content;
  std::istringstream in(out.source);
  for (std::string line, text; std::getline(in, line);) {
    if (TakeDirective(line, "RUN", &text)) {
      const size_t bar = text.find('|');
      std::istringstream passes(text.substr(0, bar));
      for (std::string pass; passes >> pass;) out.passes.push_back(pass);
      std::istringstream settings(bar == std::string::npos ? "" : text.substr(bar + 1));
      for (std::string word; settings >> word;) {
        const size_t equals = word.find('=');
        out.context[word.substr(0, equals)] = word.substr(equals + 1);
      }
    } else if (TakeDirective(line, "CHECK", &text)) {
      out.checks.push_back({Directive::kCheck, text});
    } else if (TakeDirective(line, "CHECK-NEXT", &text)) {
      out.checks.push_back({Directive::kNext, text});
    } else if (TakeDirective(line, "CHECK-NOT", &text)) {
      out.checks.push_back({Directive::kNot, text});
    } else if (TakeDirective(line, "FAIL", &text)) {
      out.fail = text;
    }
  }
  return out;
}

PassContext ContextOf(const PassFile& file) {
  PassContext context;
  for (const auto& [key, value] : file.context) {
    const bool is_class = key == "numeric";
    const int number = is_class ? 0 : std::stoi(value);
    if (key == "tp") context.tp = number;
    if (key == "tp_rank") context.tp_rank = number;
    if (key == "pp") context.pp = number;
    if (key == "pp_rank") context.pp_rank = number;
    if (key == "layers") context.n_layers = number;
    if (key == "share") context.share_buffers = number != 0;
    if (key == "sm") context.sm = number;
    for (NumericClass c :
         {NumericClass::kF32, NumericClass::kBf16Fma, NumericClass::kBf16Dot, NumericClass::kBf16Tensor,
          NumericClass::kFp8Tensor, NumericClass::kF16Tensor, NumericClass::kFp8F16Tensor})
      if (is_class && value == ToString(c)) context.numeric = c;
  }
  return context;
}

// "buffer 0 rows 1536: %0 %5"
std::string PrintBuffers(const BufferPlan& plan) {
  std::string out;
  for (size_t i = 0; i < plan.buffers.size(); ++i) {
    out += StrFormat("buffer %zu %s %lld:", i, plan.buffers[i].logit_rows ? "logits" : "rows",
                     static_cast<long long>(plan.buffers[i].bytes_per_row));
    std::vector<int> values;
    for (const auto& [value, buffer] : plan.buffer_of)
      if (buffer == static_cast<int>(i)) values.push_back(value);
    std::sort(values.begin(), values.end());
    for (int value : values) out += " %" + std::to_string(value);
    out += "\n";
  }
  return out;
}

// Index of the line that matches, or lines.size().
size_t FindLine(const std::vector<std::string>& lines, size_t from, const std::string& text) {
  size_t i = from;
  while (i < lines.size() && lines[i].find(text) == std::string::npos) ++i;
  return i;
}

// Applies the directives to the result; the first that does not hold is returned, or "".
std::string FirstFault(const std::vector<Directive>& checks, const std::string& result) {
  std::vector<std::string> lines;
  std::istringstream in(result);
  for (std::string line; std::getline(in, line);) lines.push_back(Squeeze(line));
  size_t next = 0;  // line after the last match
  std::vector<std::string> forbidden;
  const auto broken_not = [&](size_t end) -> std::string {
    for (const std::string& text : forbidden)
      if (FindLine(lines, next, text) < end) return "CHECK-NOT: " + text;
    forbidden.clear();
    return "";
  };
  for (const Directive& check : checks) {
    if (check.kind == Directive::kNot) {
      forbidden.push_back(check.text);
      continue;
    }
    const size_t found = FindLine(lines, next, check.text);
    if (found == lines.size() || (check.kind == Directive::kNext && found != next))
      return (check.kind == Directive::kNext ? "CHECK-NEXT: " : "CHECK: ") + check.text;
    if (std::string fault = broken_not(found); !fault.empty()) return fault;
    next = found + 1;
  }
  return broken_not(lines.size());
}

Status RunPasses(const PassFile& file, ir::Graph* graph, PassContext* context) {
  for (const std::string& name : file.passes) {
    const PassInfo* pass = FindPass(name);
    if (pass == nullptr) return Error(StatusCode::kNotFound, "no pass '%s'", name.c_str());
    LATHE_RETURN_IF_ERROR(pass->run(graph, context));
    LATHE_RETURN_IF_ERROR(ir::VerifyGraph(*graph).WithContext("after " + name));
  }
  return Status::Ok();
}

void RunFile(const std::string& path) {
  SCOPED_TRACE(path);
  const PassFile file = ReadPassFile(path);
  ASSERT_FALSE(file.passes.empty()) << "no RUN line";
  ASSERT_NE(file.checks.empty(), file.fail.empty()) << "either checks or FAIL";
  auto graph = ir::ParseGraph(file.source, path);
  ASSERT_TRUE(graph.ok()) << graph.status().message();
  const Status input = ir::VerifyGraph(*graph);
  ASSERT_TRUE(input.ok()) << input.message();
  PassContext context = ContextOf(file);
  const Status status = RunPasses(file, &*graph, &context);
  if (!file.fail.empty()) {
    ASSERT_FALSE(status.ok());
    EXPECT_NE(status.message().find(file.fail), std::string::npos) << status.message();
    return;
  }
  ASSERT_TRUE(status.ok()) << status.message();
  const std::string result = ir::PrintGraph(*graph) + PrintBuffers(context.memory);
  EXPECT_EQ(FirstFault(file.checks, result), "") << "in the result\n" << result;
  if (!context.memory.buffers.empty()) {
    const Status memory = CheckBufferPlan(*graph, context.memory);
    EXPECT_TRUE(memory.ok()) << memory.message();
  }
}

TEST(PassFiles, AllHold) {
  std::map<std::string, int> files_of;
  std::vector<std::string> paths;
  for (const auto& entry : std::filesystem::directory_iterator(LATHE_SOURCE_DIR "/tests/passes"))
    if (entry.path().extension() == ".ir") paths.push_back(entry.path().string());
  std::sort(paths.begin(), paths.end());
  for (const std::string& path : paths) {
    RunFile(path);
    for (const std::string& pass : ReadPassFile(path).passes) ++files_of[pass];
  }
  for (const PassInfo& pass : AllPasses()) EXPECT_GE(files_of[std::string(pass.name)], 2) << pass.name;
}

// The runner itself must notice what it is there to notice.
TEST(PassFiles, DirectivesBite) {
  const std::string result = "a = one\nb = two\nc = three\n";
  using D = Directive;
  const struct {
    std::vector<Directive> checks;
    const char* fault;
  } cases[] = {
      {{{D::kCheck, "one"}, {D::kNext, "two"}, {D::kCheck, "three"}}, ""},
      {{{D::kCheck, "two"}, {D::kCheck, "one"}}, "CHECK: one"},
      {{{D::kCheck, "one"}, {D::kNext, "three"}}, "CHECK-NEXT: three"},
      {{{D::kNot, "two"}, {D::kCheck, "three"}}, "CHECK-NOT: two"},
      {{{D::kCheck, "two"}, {D::kNot, "one"}}, ""},
      {{{D::kCheck, "one"}, {D::kNot, "three"}}, "CHECK-NOT: three"},
  };
  for (const auto& c : cases) EXPECT_EQ(FirstFault(c.checks, result), c.fault);
}

}  // namespace
}  // namespace lathe
