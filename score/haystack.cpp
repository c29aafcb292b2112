#include "score/haystack.h"

#include <algorithm>

#include "base/check.h"

namespace ebb::score {
namespace {

/// Filler units that no prompt needs: the search for a length ends there.
constexpr uint64_t kUnitsMax = 1 << 22;

}  // namespace

Result<BuiltQuestion> build_question(Backend& backend, const ChatFrame& frame,
                                     const Question& question) {
  BuiltQuestion built;
  // In two parts: where the decode path takes over has to be a token's end.
  built.prompt = EBB_TRY(backend.tokenize(frame.before + question.haystack));
  built.decode_from = built.prompt.size();
  const Tokens rest = EBB_TRY(backend.tokenize(question.question + frame.after + question.begun));
  built.prompt.insert(built.prompt.end(), rest.begin(), rest.end());
  built.answer = EBB_TRY(backend.tokenize(question.answer));
  return built;
}

Result<BuiltQuestion> fit_question(Backend& backend, const ChatFrame& frame, uint64_t length,
                                   const std::function<Question(uint64_t)>& make,
                                   Question* fitted) {
  BuiltQuestion best = EBB_TRY(build_question(backend, frame, make(1)));
  if (best.prompt.size() > length)
    return invalid("a prompt of " + std::to_string(length) +
                   " tokens is asked for; the shortest has " + std::to_string(best.prompt.size()));
  uint64_t good = 1, bad = kUnitsMax;
  // The first guess is from the size of one unit; then the gap is halved.
  for (uint64_t units = 2; good + 1 < bad;) {
    BuiltQuestion tried = EBB_TRY(build_question(backend, frame, make(units)));
    const bool fits = tried.prompt.size() <= length;
    if (fits) {
      good = units;
      best = std::move(tried);
    } else {
      bad = units;
    }
    units = bad == kUnitsMax ? std::min(good * 2, bad - 1) : good + (bad - good) / 2;
  }
  if (fitted != nullptr) *fitted = make(good);
  return best;
}

std::vector<std::string> sentences_of(const std::string& text) {
  std::vector<std::string> sentences;
  std::string now;
  for (const char c : text) {
    const bool space = c == ' ' || c == '\n' || c == '\t' || c == '\r';
    if (space && (now.empty() || now.back() == ' ')) continue;
    if (space && (now.ends_with(".") || now.ends_with("!") || now.ends_with("?"))) {
      sentences.push_back(std::move(now));
      now.clear();
      continue;
    }
    now += space ? ' ' : c;
  }
  while (now.ends_with(" ")) now.pop_back();
  if (!now.empty()) sentences.push_back(std::move(now));
  return sentences;
}

std::string filler(const std::vector<std::string>& sentences, uint64_t from, uint64_t count) {
  EBB_CHECK(!sentences.empty());
  std::string out;
  for (uint64_t i = 0; i < count; ++i)
    out += (i == 0 ? "" : " ") + sentences[(from + i) % sentences.size()];
  return out;
}

uint64_t Random::next() {
  state_ += 0x9e3779b97f4a7c15;
  uint64_t z = state_;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

std::vector<std::string> Random::sample(const std::vector<std::string>& items, uint64_t count) {
  EBB_CHECK(count <= items.size());
  std::vector<std::string> left = items;
  for (uint64_t i = 0; i < count; ++i) std::swap(left[i], left[i + below(left.size() - i)]);
  left.resize(count);
  return left;
}

uint64_t seed_of(uint64_t seed, const std::string& place) {
  uint64_t mixed = seed;
  for (const unsigned char c : place) mixed = Random(mixed ^ c).next();
  return mixed;
}

}  // namespace ebb::score
