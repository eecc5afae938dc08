// Texts of JSON numbers between bounds.
#pragma once

#include <optional>
#include <string>

#include "text/grammar/expr.h"

namespace lathe::grammar {

// A decimal number without exponent: "12", "-0.5".
struct Decimal {
  bool negative = false;
  std::string whole = "0";  // without leading zeros
  std::string fraction;     // without trailing zeros

  bool IsZero() const { return whole == "0" && fraction.empty(); }
  // -1, 0, 1.
  int Compare(const Decimal& other) const;
  Decimal Negated() const;
};
// The shortest decimal that reads as this double, or as this integer.
Decimal DecimalOf(double value);
Decimal DecimalOf(int64_t value);

struct Bound {
  Decimal value;
  bool exclusive = false;
};

// Integers of at most 18 digits within the bounds (of which fractions are rounded inwards).
ExprId IntegersBetween(const std::optional<Bound>& low, const std::optional<Bound>& high, ExprPool* pool);

// Numbers of at most 15 digits before and 16 behind the point, without exponent, within the bounds.
Expected<ExprId> NumbersBetween(const std::optional<Bound>& low, const std::optional<Bound>& high,
                                ExprPool* pool);

// Integers that `divisor` (1..4096) divides, by the code point automaton of `integers`.
Expected<ExprId> MultiplesOf(uint32_t divisor, ExprId integers, ExprPool* pool);

}  // namespace lathe::grammar
