// Texts through the parser, whole and in pieces, and what a client makes of the deltas.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <ostream>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/tools/output_parser.h"

namespace lathe::testing {

struct Call {
  std::string name, arguments;
  bool operator==(const Call&) const = default;
};

inline void PrintTo(const Call& call, std::ostream* os) { *os << call.name << "(" << call.arguments << ")"; }

// All deltas of one text put together, as a client does it.
struct Whole {
  std::string content, reasoning;
  std::vector<Call> calls;
  std::vector<std::string> ids;
  bool operator==(const Whole&) const = default;

  void Add(const ParsedDelta& delta) {
    content += delta.content;
    reasoning += delta.reasoning;
    int last = -1;
    for (const ToolCallDelta& call : delta.calls) {
      ASSERT_GT(call.index, last);
      last = call.index;
      const size_t index = static_cast<size_t>(call.index);
      ASSERT_EQ(call.first, index == calls.size());
      ASSERT_EQ(call.first, !call.name.empty());
      ASSERT_EQ(call.first, !call.id.empty());
      if (call.first) {
        calls.push_back({call.name, ""});
        ids.push_back(call.id);
      }
      // Only the newest call may still grow.
      ASSERT_EQ(index + 1, calls.size());
      calls[index].arguments += call.arguments;
    }
  }
};

inline void PrintTo(const Whole& whole, std::ostream* os) {
  *os << "content \"" << whole.content << "\" reasoning \"" << whole.reasoning << "\"";
  for (const Call& call : whole.calls) *os << " call " << call.name << "(" << call.arguments << ")";
}

inline Whole ParseWhole(const OutputParserOptions& options, std::string_view text) {
  OutputParser parser(options);
  ParsedDelta delta;
  parser.Push(text, &delta);
  // Within one delta the calls are in order, each with its own entry.
  Whole whole;
  int last = -1;
  for (const ToolCallDelta& call : delta.calls) {
    EXPECT_EQ(call.index, ++last);
    EXPECT_TRUE(call.first);
    whole.calls.push_back({call.name, call.arguments});
    whole.ids.push_back(call.id);
  }
  whole.content = delta.content;
  whole.reasoning = delta.reasoning;
  ParsedDelta tail;
  parser.Flush(&tail);
  whole.content += tail.content;
  whole.reasoning += tail.reasoning;
  EXPECT_TRUE(tail.calls.empty());
  EXPECT_EQ(parser.n_calls(), static_cast<int>(whole.calls.size()));
  return whole;
}

// `text` cut into pieces of whole characters at random, and what came out after each piece.
inline Whole ParseCut(const OutputParserOptions& options, std::string_view text, double cut,
                      std::mt19937* rng, std::vector<std::pair<size_t, Whole>>* steps) {
  OutputParser parser(options);
  Whole whole;
  std::bernoulli_distribution ends(cut);
  size_t begin = 0;
  for (size_t i = 1; i <= text.size(); ++i) {
    const bool whole_character = i == text.size() || (static_cast<unsigned char>(text[i]) & 0xC0) != 0x80;
    if (!whole_character || (i < text.size() && !ends(*rng))) continue;
    ParsedDelta delta;
    parser.Push(text.substr(begin, i - begin), &delta);
    for (const std::string* piece : {&delta.content, &delta.reasoning}) {
      EXPECT_TRUE(piece->empty() || (static_cast<unsigned char>(piece->front()) & 0xC0) != 0x80) << *piece;
    }
    // Deltas of one piece may finish one call and begin others: add them one by one.
    ParsedDelta rest;
    rest.content = delta.content;
    rest.reasoning = delta.reasoning;
    whole.Add(rest);
    for (const ToolCallDelta& call : delta.calls)
      whole.Add(ParsedDelta{.content = {}, .reasoning = {}, .calls = {call}});
    if (steps != nullptr) steps->emplace_back(i, whole);
    begin = i;
  }
  ParsedDelta tail;
  parser.Flush(&tail);
  whole.Add(tail);
  return whole;
}

inline bool Grows(const Whole& before, const Whole& after) {
  if (!after.content.starts_with(before.content) || !after.reasoning.starts_with(before.reasoning))
    return false;
  if (before.calls.size() > after.calls.size()) return false;
  for (size_t i = 0; i < before.calls.size(); ++i) {
    if (before.calls[i].name != after.calls[i].name || before.ids[i] != after.ids[i]) return false;
    if (!after.calls[i].arguments.starts_with(before.calls[i].arguments)) return false;
    if (i + 1 < before.calls.size() && after.calls[i] != before.calls[i]) return false;
  }
  return true;
}

// The same text cut in any way gives the same; what is out after a piece is what any other text with this
// beginning has out, and it stays.
inline void CheckCuts(const OutputParserOptions& options, const std::string& text, int rounds,
                      std::mt19937* rng) {
  const Whole expected = ParseWhole(options, text);
  std::map<size_t, Whole> at;  // what is out after so many bytes
  for (int round = 0; round < rounds; ++round) {
    std::vector<std::pair<size_t, Whole>> steps;
    const double cut = round == 0 ? 1.0 : 1.0 / static_cast<double>(1 + (*rng)() % 12);
    ASSERT_EQ(ParseCut(options, text, cut, rng, &steps), expected) << text;
    for (size_t i = 0; i + 1 < steps.size(); ++i)
      ASSERT_TRUE(Grows(steps[i].second, steps[i + 1].second)) << text;
    for (const auto& [size, whole] : steps) {
      ASSERT_EQ(at.try_emplace(size, whole).first->second, whole) << text;
      ASSERT_TRUE(Grows(whole, expected)) << text << "\n" << size;
    }
  }
}

}  // namespace lathe::testing
