#include "models/grammar/code_points.h"

#include <algorithm>
#include <array>
#include <map>
#include <string>

namespace ebb::models::grammar {
namespace {

constexpr uint32_t kSurrogatesBegin = 0xD800, kSurrogatesEnd = 0xDFFF;

/// A code point's bytes, each from a range: what Unicode's table 3-7 calls well-formed sequences.
struct Sequence {
  std::array<uint8_t, 4> low{}, high{};
  size_t length = 0;
};

size_t encode(uint32_t code_point, std::array<uint8_t, 4>& bytes) {
  const auto tail = [&](int shift) {
    return static_cast<uint8_t>(0x80 | ((code_point >> shift) & 0x3F));
  };
  if (code_point < 0x80) {
    bytes = {static_cast<uint8_t>(code_point)};
    return 1;
  }
  if (code_point < 0x800) {
    bytes = {static_cast<uint8_t>(0xC0 | (code_point >> 6)), tail(0)};
    return 2;
  }
  if (code_point < 0x10000) {
    bytes = {static_cast<uint8_t>(0xE0 | (code_point >> 12)), tail(6), tail(0)};
    return 3;
  }
  bytes = {static_cast<uint8_t>(0xF0 | (code_point >> 18)), tail(12), tail(6), tail(0)};
  return 4;
}

/// Cuts a range until each part has one length and its trailing bytes run over their whole range or
/// stand still, so that the part is a product of byte ranges.
void split(uint32_t low, uint32_t high, std::vector<Sequence>& out) {
  for (const uint32_t last : {0x7Fu, 0x7FFu, 0xFFFFu}) {
    if (low <= last && last < high) {
      split(low, last, out);
      return split(last + 1, high, out);
    }
  }
  for (int trailing = 1; low >= 0x80 && trailing < 4; ++trailing) {
    const uint32_t mask = (1u << (6 * trailing)) - 1;
    if ((low & ~mask) == (high & ~mask)) continue;
    if ((low & mask) != 0) {
      split(low, low | mask, out);
      return split((low | mask) + 1, high, out);
    }
    if ((high & mask) != mask) {
      split(low, (high & ~mask) - 1, out);
      return split(high & ~mask, high, out);
    }
  }
  Sequence sequence;
  sequence.length = encode(low, sequence.low);
  encode(high, sequence.high);
  out.push_back(sequence);
}

void add_utf8(GrammarBuilder& builder, State from, const CodePointSet& set, State to) {
  std::vector<Sequence> sequences;
  for (const auto& range : set.ranges()) split(range.low, range.high, sequences);
  // Ends that are alike are shared: most scripts end in 80..BF.
  std::map<std::string, State> ends;
  for (const Sequence& sequence : sequences) {
    State next = to;
    std::string end;
    for (size_t i = sequence.length - 1; i > 0; --i) {
      end += static_cast<char>(sequence.low[i]);
      end += static_cast<char>(sequence.high[i]);
      const auto [found, fresh] = ends.try_emplace(end, 0);
      if (fresh) {
        found->second = builder.add_state();
        builder.add_bytes(found->second, sequence.low[i], sequence.high[i], next);
      }
      next = found->second;
    }
    builder.add_bytes(from, sequence.low[0], sequence.high[0], next);
  }
}

/// The letter of a code point's short escape; 0: it has none.
char short_escape(uint32_t code_point) {
  switch (code_point) {
    case '"':
      return '"';
    case '\\':
      return '\\';
    case '\b':
      return 'b';
    case '\f':
      return 'f';
    case '\n':
      return 'n';
    case '\r':
      return 'r';
    case '\t':
      return 't';
    default:
      return 0;
  }
}

/// Escapes of those members of `set` that cannot stand for themselves, sharing their beginnings.
void add_json_escapes(GrammarBuilder& builder, State from, const CodePointSet& set, State to) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::map<std::string, State> begun;
  const auto after = [&](State state, const std::string& path) {
    const auto [found, fresh] = begun.try_emplace(path, 0);
    if (!fresh) return found->second;
    found->second = builder.add_state();
    builder.add_text(state, path.substr(path.size() - 1), found->second);
    return found->second;
  };
  const auto add = [&](uint32_t code_point) {
    State state = after(from, "\\");
    std::string path = "\\";
    std::string last(1, short_escape(code_point));
    if (last[0] == 0) {
      for (const char c : {'u', '0', '0', kDigits[code_point >> 4]}) {
        path += c;
        state = after(state, path);
      }
      last = kDigits[code_point & 15];
    }
    builder.add_text(state, last, to);
  };
  for (const uint32_t other : {uint32_t{'"'}, uint32_t{'\\'}}) {
    if (set.contains(other)) add(other);
  }
  for (uint32_t control = 0; control < 0x20; ++control) {
    if (set.contains(control)) add(control);
  }
}

const CodePointSet& json_escaped() {
  static const CodePointSet kSet({{0, 0x1F}, {'"', '"'}, {'\\', '\\'}});
  return kSet;
}

}  // namespace

CodePointSet::CodePointSet(std::vector<Range> ranges) : ranges_(std::move(ranges)) { normalise(); }

void CodePointSet::normalise() {
  std::sort(ranges_.begin(), ranges_.end(),
            [](const Range& a, const Range& b) { return a.low < b.low; });
  std::vector<Range> apart;
  for (const Range& range : ranges_) {
    if (!apart.empty() && range.low <= apart.back().high + 1) {
      apart.back().high = std::max(apart.back().high, range.high);
    } else {
      apart.push_back(range);
    }
  }
  ranges_.clear();
  for (const Range& range : apart) {
    if (range.low < kSurrogatesBegin) {
      ranges_.push_back({range.low, std::min(range.high, kSurrogatesBegin - 1)});
    }
    if (range.high > kSurrogatesEnd) {
      ranges_.push_back({std::max(range.low, kSurrogatesEnd + 1), range.high});
    }
  }
}

void CodePointSet::add(uint32_t low, uint32_t high) {
  ranges_.push_back({low, high});
  normalise();
}

void CodePointSet::add(const CodePointSet& other) {
  ranges_.insert(ranges_.end(), other.ranges_.begin(), other.ranges_.end());
  normalise();
}

CodePointSet CodePointSet::complement() const {
  CodePointSet out;
  uint32_t next = 0;
  for (const Range& range : ranges_) {
    if (range.low > next) out.ranges_.push_back({next, range.low - 1});
    next = range.high + 1;
  }
  if (next <= kCodePointMax) out.ranges_.push_back({next, kCodePointMax});
  out.normalise();
  return out;
}

CodePointSet CodePointSet::without(const CodePointSet& other) const {
  CodePointSet either = complement();
  either.add(other);
  return either.complement();
}

bool CodePointSet::contains(uint32_t code_point) const {
  return std::any_of(ranges_.begin(), ranges_.end(), [&](const Range& range) {
    return range.low <= code_point && code_point <= range.high;
  });
}

void add_code_points(GrammarBuilder& builder, State from, const CodePointSet& set,
                     Spelling spelling, State to) {
  if (spelling == Spelling::kPlain) return add_utf8(builder, from, set, to);
  add_utf8(builder, from, set.without(json_escaped()), to);
  add_json_escapes(builder, from, set, to);
}

}  // namespace ebb::models::grammar
