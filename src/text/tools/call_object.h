// One tool call as a JSON object, {"name": .., "arguments": {..}}, read byte by byte.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace lathe {

// Follows one JSON object or array to the bracket that closes it: strings are skipped, brackets must pair.
// Nothing else about the inside is checked.
class BracketScanner {
 public:
  enum class State { kInside, kClosed, kBad };
  // The first byte must be '{' or '['. On kBad the byte is not part of the value.
  State Push(char c);

 private:
  std::string open_;  // brackets not yet closed, innermost last
  bool in_string_ = false, escaped_ = false;
};

// Reads one call object. Keys: "name" (a string), "arguments" or "parameters" (an object; a string that holds
// one; null or absent: {}); "type" and "id" are skipped, any other key before the call is known makes it no
// call.
class CallObject {
 public:
  enum class State { kOpen, kDone, kBad };

  // `names`: the known tools (empty: any name goes); must outlive the object.
  explicit CallObject(const std::vector<std::string>& names) : names_(names) {}

  // Takes the next byte; the first must be '{'. Appends to `arguments` what is decided of them now. kBad: the
  // byte cannot belong to a call; it has not been taken.
  State Push(char c, std::string* arguments);

  // The name is known and the arguments have begun: this is a call, whatever follows.
  bool committed() const { return committed_; }
  const std::string& name() const { return name_; }
  // The bytes taken so far; kept only until the call is committed.
  const std::string& raw() const { return raw_; }

 private:
  enum class Expect {
    kBrace,
    kFirstKey,
    kKey,
    kKeyText,
    kColon,
    kValue,
    kString,
    kNested,
    kScalar,
    kComma,
    kEnd
  };
  enum class Field { kName, kArguments, kOther };

  bool Take(char c, std::string* arguments);
  bool EndKey();
  bool BeginValue(char c, std::string* arguments);
  bool EndString(std::string* arguments);
  bool EndScalar();
  void ArgumentByte(char c, std::string* arguments);
  bool GiveArguments(std::string_view text, std::string* arguments);
  void CommitIfKnown(std::string* arguments);

  const std::vector<std::string>& names_;
  Expect expect_ = Expect::kBrace;
  Field field_ = Field::kOther;
  bool committed_ = false, has_name_ = false, has_arguments_ = false, escaped_ = false;
  std::string name_, raw_;
  std::string text_;     // the key, string or scalar being read, undecoded
  std::string pending_;  // arguments that came before the name
  BracketScanner nested_;
};

// Whether `name` is one of `names`, or anything not empty when there are none.
bool KnownTool(const std::vector<std::string>& names, std::string_view name);

// White space of JSON.
inline bool IsSpace(char c) { return c == ' ' || c == '\n' || c == '\r' || c == '\t'; }

}  // namespace lathe
