#include "models/grammar/number_range.h"

#include <algorithm>
#include <string>

namespace ebb::models::grammar {
namespace {

/// Numbers without sign, as digits without leading zeros.
class Digits {
 public:
  explicit Digits(GrammarBuilder& builder) : builder_(builder) {}

  void between(State from, int64_t low, int64_t high, State to) {
    const std::string first = std::to_string(low), last = std::to_string(high);
    for (size_t length = first.size(); length <= last.size(); ++length) {
      const std::string least = "1" + std::string(length - 1, '0');
      same_length(from, length == first.size() ? first : least,
                  length == last.size() ? last : std::string(length, '9'), to);
    }
  }

 private:
  void digit(State from, char low, char high, State to) {
    if (low <= high)
      builder_.add_bytes(from, static_cast<uint8_t>(low), static_cast<uint8_t>(high), to);
  }
  State after(State from, char low, char high) {
    const State next = builder_.add_state();
    digit(from, low, high, next);
    return next;
  }
  void any(State from, size_t count, State to) {
    for (size_t i = 0; i < count; ++i) from = after(from, '0', '9');
    builder_.add_skip(from, to);
  }
  /// Digits not below (or not above) those of `limit`.
  void bounded(State from, std::string_view limit, bool is_low, State to) {
    if (limit.empty()) return builder_.add_skip(from, to);
    const char c = limit[0];
    bounded(after(from, c, c), limit.substr(1), is_low, to);
    const char low = is_low ? static_cast<char>(c + 1) : '0';
    const char high = is_low ? '9' : static_cast<char>(c - 1);
    if (low <= high) any(after(from, low, high), limit.size() - 1, to);
  }
  void same_length(State from, std::string_view low, std::string_view high, State to) {
    if (low.empty()) return builder_.add_skip(from, to);
    if (low[0] == high[0]) {
      return same_length(after(from, low[0], low[0]), low.substr(1), high.substr(1), to);
    }
    bounded(after(from, low[0], low[0]), low.substr(1), true, to);
    bounded(after(from, high[0], high[0]), high.substr(1), false, to);
    const char above = static_cast<char>(low[0] + 1), below = static_cast<char>(high[0] - 1);
    if (above <= below) any(after(from, above, below), low.size() - 1, to);
  }

  GrammarBuilder& builder_;
};

enum class Fraction { kAny, kZero, kNotZero };

/// Nothing, or a point with digits; kNotZero: always the latter.
void add_fraction(GrammarBuilder& builder, State from, Fraction wanted, State to) {
  if (wanted != Fraction::kNotZero) builder.add_skip(from, to);
  State zeros = builder.add_state();  // so far only zeros
  State some = builder.add_state();   // a digit that is not zero was there
  builder.add_bytes(from, '.', '.', zeros);
  for (uint32_t i = 0; i < kRangeFractionDigits; ++i) {
    const State next_zeros = builder.add_state(), next_some = builder.add_state();
    builder.add_bytes(zeros, '0', '0', next_zeros);
    if (wanted != Fraction::kZero) builder.add_bytes(zeros, '1', '9', next_some);
    if (i > 0) builder.add_bytes(some, '0', '9', next_some);
    if (wanted != Fraction::kNotZero) builder.add_skip(next_zeros, to);
    builder.add_skip(next_some, to);
    zeros = next_zeros;
    some = next_some;
  }
}

/// Numbers without sign between `low` and `high`, both at least 0.
void add_magnitudes(GrammarBuilder& builder, State from, RealLimit low, RealLimit high, State to) {
  const bool empty = low.value > high.value || (low.value == high.value && (low.open || high.open));
  if (empty) return;
  Digits digits(builder);
  const auto add = [&](int64_t first, int64_t last, Fraction fraction) {
    const State whole = builder.add_state();
    digits.between(from, first, last, whole);
    add_fraction(builder, whole, fraction, to);
  };
  if (!high.open) add(high.value, high.value, Fraction::kZero);
  if (low.value == high.value) return;
  add(low.value, low.value, low.open ? Fraction::kNotZero : Fraction::kAny);
  if (low.value + 1 <= high.value - 1) add(low.value + 1, high.value - 1, Fraction::kAny);
}

}  // namespace

void add_integers(GrammarBuilder& builder, State from, int64_t low, int64_t high, State to) {
  Digits digits(builder);
  if (high >= 0) digits.between(from, std::max<int64_t>(low, 0), high, to);
  if (low >= 0) return;
  const State minus = builder.add_state();
  builder.add_bytes(from, '-', '-', minus);
  digits.between(minus, std::max<int64_t>(-high, 1), -low, to);
}

void add_reals(GrammarBuilder& builder, State from, std::optional<RealLimit> low,
               std::optional<RealLimit> high, State to) {
  const RealLimit least = low.value_or(RealLimit{-kIntegerMax, false});
  const RealLimit most = high.value_or(RealLimit{kIntegerMax, false});
  if (most.value >= 0) {
    const RealLimit from_zero = least.value >= 0 ? least : RealLimit{0, false};
    add_magnitudes(builder, from, from_zero, most, to);
  }
  if (least.value >= 0) return;
  const State minus = builder.add_state();
  builder.add_bytes(from, '-', '-', minus);
  // -0 is 0: below zero the magnitude is over it, unless zero is allowed anyway.
  const RealLimit nearest = most.value < 0 ? RealLimit{-most.value, most.open}
                                           : RealLimit{0, most.value == 0 && most.open};
  add_magnitudes(builder, minus, nearest, RealLimit{-least.value, least.open}, to);
}

}  // namespace ebb::models::grammar
