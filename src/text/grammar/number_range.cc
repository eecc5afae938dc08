#include "text/grammar/number_range.h"

#include <algorithm>
#include <array>
#include <charconv>

namespace lathe::grammar {
namespace {

constexpr size_t kMaxIntegerDigits = 18;
constexpr size_t kMaxWholeDigits = 15;
constexpr uint32_t kMaxFractionDigits = 16;

int CompareWhole(const std::string& a, const std::string& b) {
  if (a.size() != b.size()) return a.size() < b.size() ? -1 : 1;
  const int c = a.compare(b);
  return c < 0 ? -1 : c > 0;
}

int CompareMagnitude(const Decimal& a, const Decimal& b) {
  if (const int c = CompareWhole(a.whole, b.whole); c != 0) return c;
  const int c = a.fraction.compare(b.fraction);  // no trailing zeros: a longer one is larger
  return c < 0 ? -1 : c > 0;
}

// One more, or one less (of at least 1), than a number written in digits.
std::string Plus(std::string digits, int by) {
  for (size_t i = digits.size(); i-- > 0;) {
    const int d = digits[i] - '0' + by;
    if (d >= 0 && d <= 9) {
      digits[i] = static_cast<char>('0' + d);
      by = 0;
      break;
    }
    digits[i] = by > 0 ? '0' : '9';
  }
  if (by > 0) digits.insert(digits.begin(), '1');
  const size_t zeros = std::min(digits.find_first_not_of('0'), digits.size() - 1);
  return digits.substr(zeros);
}

// Expressions over the digits of numbers that are not negative.
class Digits {
 public:
  explicit Digits(ExprPool* pool) : pool_(pool) {}

  ExprId One(char lo, char hi) {
    if (lo > hi) return pool_->Never();
    return pool_->Class(CodeSet({{static_cast<uint8_t>(lo), static_cast<uint8_t>(hi)}}), Spelling::kPlain);
  }
  ExprId Any(uint32_t min, uint32_t max) { return pool_->Repeat(One('0', '9'), min, max); }

  // Whole numbers from lo to hi, without leading zeros.
  ExprId Whole(const std::string& lo, const std::string& hi) {
    std::vector<ExprId> items;
    for (size_t n = lo.size(); n <= hi.size(); ++n) {
      const std::string from = n == lo.size() ? lo : "1" + std::string(n - 1, '0');
      const std::string to = n == hi.size() ? hi : std::string(n, '9');
      if (from <= to) items.push_back(SameLength(from, to));
    }
    return pool_->Alt(items);
  }

  // Digit strings of one length between two of that length.
  ExprId SameLength(std::string_view lo, std::string_view hi) {
    if (lo.empty()) return pool_->Empty();
    const auto n = static_cast<uint32_t>(lo.size() - 1);
    const bool all = lo.find_first_not_of('0') == std::string_view::npos &&
                     hi.find_first_not_of('9') == std::string_view::npos;
    if (all) return Any(n + 1, n + 1);
    if (lo[0] == hi[0]) return pool_->Seq({One(lo[0], lo[0]), SameLength(lo.substr(1), hi.substr(1))});
    const std::string zeros(n, '0'), nines(n, '9');
    return pool_->Alt(
        {pool_->Seq({One(lo[0], lo[0]), SameLength(lo.substr(1), nines)}),
         pool_->Seq({One(static_cast<char>(lo[0] + 1), static_cast<char>(hi[0] - 1)), Any(n, n)}),
         pool_->Seq({One(hi[0], hi[0]), SameLength(zeros, hi.substr(1))})});
  }

  // Fractions: digit strings, possibly empty, that stand for at least or at most 0.s. Zeros at the end of s
  // do not matter for the value but for what `exclusive` sees, so there are none.
  ExprId AtLeast(std::string_view s, bool exclusive) {
    const ExprId any = Any(0, kUnbounded);
    if (s.empty()) {
      if (!exclusive) return any;
      return pool_->Seq({pool_->Repeat(One('0', '0'), 0, kUnbounded), One('1', '9'), any});
    }
    return pool_->Alt({pool_->Seq({One(static_cast<char>(s[0] + 1), '9'), any}),
                       pool_->Seq({One(s[0], s[0]), AtLeast(s.substr(1), exclusive)})});
  }
  ExprId AtMost(std::string_view s, bool exclusive) {
    if (s.empty()) return exclusive ? pool_->Never() : pool_->Repeat(One('0', '0'), 0, kUnbounded);
    return pool_->Alt({pool_->Empty(),
                       pool_->Seq({One('0', static_cast<char>(s[0] - 1)), Any(0, kUnbounded)}),
                       pool_->Seq({One(s[0], s[0]), AtMost(s.substr(1), exclusive)})});
  }

  // Digits behind the point that satisfy both expressions (over code points), with the point; nothing for a
  // fraction of zero.
  Expected<ExprId> Fraction(ExprId a, ExprId b) {
    LATHE_ASSIGN_OR_RETURN(const Dfa dfa_a, CodePointDfa(pool_, a));
    LATHE_ASSIGN_OR_RETURN(const Dfa dfa_b, CodePointDfa(pool_, b));
    LATHE_ASSIGN_OR_RETURN(const Dfa length, CodePointDfa(pool_, Any(1, kMaxFractionDigits)));
    LATHE_ASSIGN_OR_RETURN(Dfa both, Combine(dfa_a, dfa_b, SetOp::kAnd, pool_->budget()));
    const bool zero = both.accept[0];
    LATHE_ASSIGN_OR_RETURN(both, Combine(both, length, SetOp::kAnd, pool_->budget()));
    const ExprId written = pool_->Seq({pool_->String("."), pool_->OfDfa(std::move(both), Spelling::kPlain)});
    return zero ? pool_->Optional(written) : written;
  }

 private:
  ExprPool* pool_;
};

// Numbers from low (not negative) to high.
Expected<ExprId> Magnitudes(const Bound& low, const Bound& high, ExprPool* pool) {
  Digits digits(pool);
  const ExprId any = digits.Any(0, kUnbounded);
  const ExprId from = digits.AtLeast(low.value.fraction, low.exclusive);
  const ExprId to = digits.AtMost(high.value.fraction, high.exclusive);
  const int order = CompareWhole(low.value.whole, high.value.whole);
  if (order > 0) return pool->Never();
  const ExprId low_whole = pool->String(low.value.whole);
  if (order == 0) {
    LATHE_ASSIGN_OR_RETURN(const ExprId fraction, digits.Fraction(from, to));
    return pool->Seq({low_whole, fraction});
  }
  LATHE_ASSIGN_OR_RETURN(const ExprId low_fraction, digits.Fraction(from, any));
  LATHE_ASSIGN_OR_RETURN(const ExprId high_fraction, digits.Fraction(to, any));
  LATHE_ASSIGN_OR_RETURN(const ExprId any_fraction, digits.Fraction(any, any));
  const std::string first = Plus(low.value.whole, 1), last = Plus(high.value.whole, -1);
  const ExprId between =
      CompareWhole(first, last) <= 0 ? pool->Seq({digits.Whole(first, last), any_fraction}) : pool->Never();
  return pool->Alt({pool->Seq({low_whole, low_fraction}), between,
                    pool->Seq({pool->String(high.value.whole), high_fraction})});
}

}  // namespace

int Decimal::Compare(const Decimal& other) const {
  if (IsZero() && other.IsZero()) return 0;
  if (negative != other.negative) return negative ? -1 : 1;
  const int c = CompareMagnitude(*this, other);
  return negative ? -c : c;
}

Decimal Decimal::Negated() const {
  Decimal out = *this;
  out.negative = !negative && !IsZero();
  return out;
}

Decimal DecimalOf(double value) {
  std::array<char, 512> text{};
  const auto end = std::to_chars(text.data(), text.data() + text.size(), value, std::chars_format::fixed).ptr;
  std::string_view s(text.data(), static_cast<size_t>(end - text.data()));
  Decimal out;
  if (s.starts_with('-')) {
    out.negative = true;
    s.remove_prefix(1);
  }
  const size_t point = std::min(s.find('.'), s.size());
  out.whole = s.substr(0, point);
  if (point < s.size()) out.fraction = s.substr(point + 1);
  while (out.fraction.ends_with('0')) out.fraction.pop_back();
  if (out.IsZero()) out.negative = false;
  return out;
}

Decimal DecimalOf(int64_t value) {
  Decimal out;
  out.negative = value < 0;
  out.whole = std::to_string(value).substr(value < 0 ? 1 : 0);
  return out;
}

ExprId IntegersBetween(const std::optional<Bound>& low, const std::optional<Bound>& high, ExprPool* pool) {
  const std::string most(kMaxIntegerDigits, '9');
  // Smallest and largest magnitude allowed on the side of `negative`; the bounds seen from zero.
  const auto side = [&](bool negative) -> ExprId {
    const auto& inner = negative ? high : low;
    const auto& outer = negative ? low : high;
    std::string from = negative ? "1" : "0", to = most;
    if (inner && inner->value.negative == negative && !inner->value.IsZero()) {
      const bool on_bound = inner->value.fraction.empty() && !inner->exclusive;
      from = on_bound ? inner->value.whole : Plus(inner->value.whole, 1);
    } else if (inner && inner->value.IsZero()) {
      if (inner->exclusive) from = "1";
    } else if (inner && inner->value.negative != negative && negative) {
      from = "1";
    }
    if (outer) {
      const bool opposite = outer->value.negative != negative && !outer->value.IsZero();
      if (opposite || (outer->value.IsZero() && (negative || outer->exclusive))) return pool->Never();
      if (CompareWhole(outer->value.whole, most) <= 0) {
        to = outer->value.whole;
        if (outer->exclusive && outer->value.fraction.empty()) to = to == "0" ? "" : Plus(to, -1);
      }
    }
    if (to.empty() || CompareWhole(from, to) > 0) return pool->Never();
    return Digits(pool).Whole(from, to);
  };
  const bool has_negative = !low || low->value.negative;
  const bool has_positive = !high || !high->value.negative;
  std::vector<ExprId> items;
  if (has_negative) items.push_back(pool->Seq({pool->String("-"), side(true)}));
  if (has_positive) items.push_back(side(false));
  return pool->Alt(items);
}

Expected<ExprId> NumbersBetween(const std::optional<Bound>& low, const std::optional<Bound>& high,
                                ExprPool* pool) {
  const Bound zero;
  const Bound most{{false, std::string(kMaxWholeDigits, '9'), std::string(kMaxFractionDigits, '9')}, false};
  const auto magnitude = [&](const std::optional<Bound>& bound) {
    Bound b = bound.value_or(most);
    b.value.negative = false;
    return b.value.Compare(most.value) > 0 ? most : b;
  };
  const auto beyond = [&](const std::optional<Bound>& bound) {
    return bound && CompareMagnitude(bound->value, most.value) > 0;
  };
  std::vector<ExprId> items;
  if ((!low || low->value.negative) && !(high && high->value.negative && beyond(high))) {
    // Below zero, seen from zero; zero itself is written without a sign.
    Bound from = zero;
    from.exclusive = true;
    if (high && high->value.negative) from = magnitude(high);
    LATHE_ASSIGN_OR_RETURN(const ExprId below, Magnitudes(from, magnitude(low), pool));
    items.push_back(pool->Seq({pool->String("-"), below}));
  }
  if ((!high || !high->value.negative) && !(low && !low->value.negative && beyond(low))) {
    const Bound from = low && !low->value.negative ? magnitude(low) : zero;
    LATHE_ASSIGN_OR_RETURN(const ExprId above, Magnitudes(from, magnitude(high), pool));
    items.push_back(above);
  }
  return pool->Alt(items);
}

Expected<ExprId> MultiplesOf(uint32_t divisor, ExprId integers, ExprPool* pool) {
  LATHE_ASSIGN_OR_RETURN(const Dfa all, CodePointDfa(pool, integers));
  // Node r + 1: the digits so far leave the remainder r; leading zeros do not hurt, `all` has none.
  Nfa nfa;
  for (uint32_t s = 0; s < divisor + 2; ++s) nfa.AddState();
  const uint32_t accept = divisor + 1;
  nfa.set_accept(accept);
  nfa.AddEdge(0, '-', '-', 1);
  nfa.AddEmpty(0, 1);
  nfa.AddEmpty(1, accept);
  for (uint32_t r = 0; r < divisor; ++r) {
    for (uint32_t d = 0; d < 10; ++d) nfa.AddEdge(r + 1, '0' + d, '0' + d, (r * 10 + d) % divisor + 1);
  }
  LATHE_ASSIGN_OR_RETURN(const Dfa multiples, Determinize(nfa, pool->budget()));
  LATHE_ASSIGN_OR_RETURN(Dfa both, Combine(all, multiples, SetOp::kAnd, pool->budget()));
  return pool->OfDfa(std::move(both), Spelling::kPlain);
}

}  // namespace lathe::grammar
