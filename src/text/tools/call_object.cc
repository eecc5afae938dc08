#include "text/tools/call_object.h"

#include <algorithm>

#include "base/json.h"

namespace lathe {
namespace {

// The text of a JSON string given without its quotes; false when its escapes are wrong.
bool Unescape(std::string_view body, std::string* out) {
  std::string quoted = "\"";
  quoted.append(body).push_back('"');
  Expected<Json> value = ParseJson(quoted, "a tool call");
  if (!value.ok() || !value->is_string()) return false;
  *out = value->get<std::string>();
  return true;
}

}  // namespace

bool KnownTool(const std::vector<std::string>& names, std::string_view name) {
  if (names.empty()) return !name.empty();
  return std::find(names.begin(), names.end(), name) != names.end();
}

BracketScanner::State BracketScanner::Push(char c) {
  if (in_string_) {
    if (escaped_) {
      escaped_ = false;
    } else if (c == '\\') {
      escaped_ = true;
    } else if (c == '"') {
      in_string_ = false;
    }
    return State::kInside;
  }
  if (c == '"') {
    in_string_ = true;
  } else if (c == '{' || c == '[') {
    open_.push_back(c);
  } else if (c == '}' || c == ']') {
    if (open_.empty() || open_.back() != (c == '}' ? '{' : '[')) return State::kBad;
    open_.pop_back();
    if (open_.empty()) return State::kClosed;
  }
  return State::kInside;
}

CallObject::State CallObject::Push(char c, std::string* arguments) {
  if (!Take(c, arguments)) return State::kBad;
  if (committed_) {
    raw_.clear();
  } else {
    raw_.push_back(c);
  }
  return expect_ == Expect::kEnd ? State::kDone : State::kOpen;
}

bool CallObject::Take(char c, std::string* arguments) {
  switch (expect_) {
    case Expect::kBrace: expect_ = Expect::kFirstKey; return c == '{';
    case Expect::kFirstKey:
    case Expect::kKey:
      if (IsSpace(c)) return true;
      text_.clear();
      expect_ = Expect::kKeyText;
      return c == '"';
    case Expect::kKeyText:
      if (c == '"') return EndKey();
      text_.push_back(c);
      return c != '\\';  // none of the known keys needs an escape
    case Expect::kColon:
      if (IsSpace(c)) return true;
      expect_ = Expect::kValue;
      return c == ':';
    case Expect::kValue: return IsSpace(c) || BeginValue(c, arguments);
    case Expect::kString:
      if (c == '"' && !escaped_) return EndString(arguments);
      escaped_ = c == '\\' && !escaped_;
      text_.push_back(c);
      return true;
    case Expect::kNested: {
      const BracketScanner::State state = nested_.Push(c);
      if (state == BracketScanner::State::kBad) return false;
      if (field_ == Field::kArguments) ArgumentByte(c, arguments);
      if (state == BracketScanner::State::kClosed) expect_ = Expect::kComma;
      return true;
    }
    case Expect::kScalar:
      if (!IsSpace(c) && c != ',' && c != '}') {
        text_.push_back(c);
        return c != '"' && c != '{' && c != '[' && c != ']' && c != ':';
      }
      if (!EndScalar()) return false;
      expect_ = Expect::kComma;
      [[fallthrough]];
    case Expect::kComma:
      if (IsSpace(c)) return true;
      if (c == ',') {
        expect_ = Expect::kKey;
        return true;
      }
      if (c != '}' || !has_name_) return false;
      expect_ = Expect::kEnd;
      if (!has_arguments_) {
        has_arguments_ = true;
        pending_ = "{}";
        CommitIfKnown(arguments);
      }
      return true;
    case Expect::kEnd: return false;
  }
  return false;
}

bool CallObject::EndKey() {
  expect_ = Expect::kColon;
  if (committed_) {
    field_ = Field::kOther;
    return true;
  }
  if (text_ == "name" && !has_name_) {
    field_ = Field::kName;
    return true;
  }
  if ((text_ == "arguments" || text_ == "parameters") && !has_arguments_) {
    field_ = Field::kArguments;
    return true;
  }
  field_ = Field::kOther;
  return text_ == "type" || text_ == "id";
}

bool CallObject::BeginValue(char c, std::string* arguments) {
  text_.clear();
  escaped_ = false;
  if (c == '"') {
    expect_ = Expect::kString;
    return true;
  }
  if (field_ == Field::kName) return false;
  if (c == '{' || c == '[') {
    if (field_ == Field::kArguments && c == '[') return false;
    expect_ = Expect::kNested;
    nested_ = BracketScanner();
    nested_.Push(c);
    if (field_ == Field::kArguments) {
      has_arguments_ = true;
      ArgumentByte(c, arguments);
    }
    return true;
  }
  text_.push_back(c);
  expect_ = Expect::kScalar;
  return c == '-' || c == 't' || c == 'f' || c == 'n' || (c >= '0' && c <= '9');
}

bool CallObject::EndString(std::string* arguments) {
  expect_ = Expect::kComma;
  if (field_ == Field::kOther) return true;
  std::string value;
  if (!Unescape(text_, &value)) return false;
  if (field_ == Field::kArguments) return GiveArguments(value, arguments);
  if (!KnownTool(names_, value)) return false;
  has_name_ = true;
  name_ = std::move(value);
  CommitIfKnown(arguments);
  return true;
}

bool CallObject::EndScalar() {
  if (field_ != Field::kArguments) return true;
  return text_ == "null";  // the call has none: {} at its end
}

void CallObject::ArgumentByte(char c, std::string* arguments) {
  if (committed_) {
    arguments->push_back(c);
    return;
  }
  pending_.push_back(c);
  CommitIfKnown(arguments);
}

bool CallObject::GiveArguments(std::string_view text, std::string* arguments) {
  Expected<Json> value = ParseJson(text, "the arguments of a tool call");
  if (!value.ok() || !value->is_object()) return false;
  has_arguments_ = true;
  pending_ = text;
  CommitIfKnown(arguments);
  return true;
}

void CallObject::CommitIfKnown(std::string* arguments) {
  if (!has_name_ || !has_arguments_) return;
  committed_ = true;
  arguments->append(pending_);
  pending_.clear();
}

}  // namespace lathe
