#include "score/ruler_tasks.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <map>
#include <utility>

#include "base/check.h"
#include "score/word_lists.h"

namespace ebb::score {
namespace {

constexpr uint64_t kKeys = 4;         ///< of multi_key
constexpr uint64_t kValues = 3;       ///< of multi_value
constexpr uint64_t kQueries = 2;      ///< of multi_query, of kKeys
constexpr uint64_t kHops = 3;         ///< of variable_tracking
constexpr uint64_t kCommonWords = 5;  ///< of common_words
constexpr uint64_t kFrequent = 3;     ///< of frequent_words

/// "a", "a and b", "a, b and c"
std::string listed(const std::vector<std::string>& items) {
  std::string out;
  for (size_t i = 0; i < items.size(); ++i) {
    if (i > 0) out += i + 1 == items.size() ? " and " : ", ";
    out += items[i];
  }
  return out;
}

std::string joined(const std::vector<std::string>& parts, const char* between) {
  std::string out;
  for (const std::string& part : parts) out += (out.empty() ? "" : between) + part;
  return out;
}

/// Different four-digit numbers.
std::vector<std::string> numbers(Random& random, uint64_t count) {
  std::vector<std::string> out;
  while (out.size() < count) {
    const std::string number = std::to_string(1000 + random.below(9000));
    if (std::find(out.begin(), out.end(), number) == out.end()) out.push_back(number);
  }
  return out;
}

/// `amount` idle sentences with `planted` among them, in their order, at places that stay where
/// they are (as a share of the text) when the text grows.
std::string planted_text(Random& random, const std::vector<std::string>& planted, uint64_t amount) {
  std::vector<double> places;
  for (size_t i = 0; i < planted.size(); ++i)
    places.push_back(static_cast<double>(random.below(1000)) / 1000);
  std::sort(places.begin(), places.end());
  const uint64_t from = random.below(idle_sentences().size());
  std::vector<std::string> sentences;
  size_t next = 0;
  for (uint64_t i = 0; i <= amount; ++i) {
    while (next < planted.size() &&
           (i == amount || places[next] * static_cast<double>(amount) <= static_cast<double>(i)))
      sentences.push_back(planted[next++]);
    if (i < amount) sentences.push_back(idle_sentences()[(from + i) % idle_sentences().size()]);
  }
  return joined(sentences, " ");
}

std::string secret(const std::string& city, const std::string& number) {
  return "The secret number for " + city + " is " + number + ".";
}

Question multi_key(Random& random, uint64_t amount) {
  const auto keys = random.sample(cities(), kKeys);
  const auto values = numbers(random, kKeys);
  std::vector<std::string> planted;
  for (uint64_t i = 0; i < kKeys; ++i) planted.push_back(secret(keys[i], values[i]));
  const uint64_t asked = random.below(kKeys);
  return {planted_text(random, planted, amount),
          "\n\nWhat is the secret number for " + keys[asked] + "?",
          "The secret number for " + keys[asked] + " is",
          " " + values[asked],
          {values[asked]}};
}

Question multi_value(Random& random, uint64_t amount) {
  const std::string key = random.sample(cities(), 1)[0];
  const auto values = numbers(random, kValues);
  std::vector<std::string> planted;
  for (const std::string& value : values) planted.push_back(secret(key, value));
  return {planted_text(random, planted, amount),
          "\n\nThere are " + std::to_string(kValues) + " secret numbers for " + key +
              ". What are they?",
          "The secret numbers for " + key + " are", " " + listed(values), values};
}

Question multi_query(Random& random, uint64_t amount) {
  const auto keys = random.sample(cities(), kKeys);
  const auto values = numbers(random, kKeys);
  std::vector<std::string> planted;
  for (uint64_t i = 0; i < kKeys; ++i) planted.push_back(secret(keys[i], values[i]));
  const std::vector<std::string> asked(keys.begin(), keys.begin() + kQueries);
  const std::vector<std::string> expected(values.begin(), values.begin() + kQueries);
  planted = random.sample(planted, kKeys);  // not in the order of the question
  return {planted_text(random, planted, amount),
          "\n\nWhat are the secret numbers for " + listed(asked) + "?",
          "The secret numbers for " + listed(asked) + " are", " " + listed(expected), expected};
}

Question variable_tracking(Random& random, uint64_t amount) {
  std::vector<std::string> names;
  for (const std::string& word : random.sample(common_words(), 2 * (kHops + 1))) {
    std::string name = word;
    for (char& c : name) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
    names.push_back(name);
  }
  const auto values = numbers(random, 2);
  // Two chains: the one asked for, and one that leads astray.
  std::vector<std::string> planted;
  for (uint64_t hop = 0; hop <= kHops; ++hop) {
    for (uint64_t chain = 0; chain < 2; ++chain) {
      const uint64_t at = chain * (kHops + 1) + hop;
      planted.push_back("VAR " + names[at] + " = " + (hop == 0 ? values[chain] : names[at - 1]) +
                        ".");
    }
  }
  const std::vector<std::string> expected(names.begin(), names.begin() + kHops + 1);
  return {planted_text(random, planted, amount),
          "\n\nWhich variables have the value " + values[0] + ", directly or through another one?",
          "The variables with the value " + values[0] + " are", " " + listed(expected), expected};
}

/// A shuffled list of words, numbered.
std::string numbered_list(Random& random, std::vector<std::string> words) {
  for (size_t i = words.size(); i > 1; --i) std::swap(words[i - 1], words[random.below(i)]);
  std::string out;
  for (size_t i = 0; i < words.size(); ++i)
    out += (i == 0 ? "" : " ") + std::to_string(i + 1) + ". " + words[i];
  return out;
}

Question common_words_task(Random& random, uint64_t amount) {
  std::vector<std::string> pool = random.sample(common_words(), common_words().size());
  std::vector<std::string> expected(pool.begin(), pool.begin() + kCommonWords);
  const uint64_t others = pool.size() - kCommonWords;
  const uint64_t rounds = (amount + others - 1) / others;  // how often an uncommon word comes
  std::vector<std::string> words;
  for (const std::string& word : expected) words.insert(words.end(), 4 * rounds + 2, word);
  for (uint64_t i = 0; i < amount; ++i) words.push_back(pool[kCommonWords + i % others]);
  std::sort(expected.begin(), expected.end());
  return {numbered_list(random, std::move(words)),
          "\n\nWhich " + std::to_string(kCommonWords) +
              " words are most common in this list? Name them in alphabetical order.",
          "The most common words are", " " + listed(expected), expected};
}

/// A word that no language has: consonants and vowels in turn.
std::string made_up_word(Random& random) {
  static constexpr char kConsonants[] = "bdfgklmnprstvz";
  static constexpr char kVowels[] = "aeiou";
  std::string word;
  for (int i = 0; i < 3; ++i) {
    word += kConsonants[random.below(sizeof kConsonants - 1)];
    word += kVowels[random.below(sizeof kVowels - 1)];
  }
  return word;
}

Question frequent_words_task(Random& random, uint64_t amount) {
  std::vector<std::string> vocabulary;
  while (vocabulary.size() < 200) {
    const std::string word = made_up_word(random);
    if (std::find(vocabulary.begin(), vocabulary.end(), word) == vocabulary.end())
      vocabulary.push_back(word);
  }
  // Zipf's law with exponent 2, as in RULER; the first ranks differ even in short lists.
  std::vector<std::string> words;
  for (size_t rank = 0; rank < vocabulary.size(); ++rank) {
    const double place = static_cast<double>(rank + 1);
    const auto times = static_cast<uint64_t>(0.6 * static_cast<double>(amount) / (place * place));
    const uint64_t least = rank < kFrequent ? 2 * (kFrequent - rank) : 0;
    words.insert(words.end(), std::max(times, least), vocabulary[rank]);
  }
  const std::vector<std::string> expected(vocabulary.begin(), vocabulary.begin() + kFrequent);
  return {numbered_list(random, std::move(words)),
          "\n\nWhich " + std::to_string(kFrequent) +
              " words come most often in this list? Name them, the most frequent one first.",
          "The most frequent words are", " " + listed(expected), expected};
}

Question several_documents(Random& random, uint64_t amount) {
  static const std::vector<std::string> kFirst = {
      "Anna",  "Boris", "Clara", "David", "Elena", "Frank", "Grace",  "Hugo",  "Irene", "Jacob",
      "Karen", "Leon",  "Maria", "Nils",  "Olga",  "Peter", "Rachel", "Simon", "Tina",  "Victor"};
  static const std::vector<std::string> kLast = {"Baker",  "Carter", "Dunn",   "Ellis",  "Fisher",
                                                 "Grant",  "Hill",   "Jensen", "Keller", "Lang",
                                                 "Morris", "Norton", "Olsen",  "Price",  "Quinn",
                                                 "Reed",   "Stone",  "Turner", "Vogel",  "Weber"};
  static const std::vector<std::string> kJobs = {"teacher", "painter", "doctor", "farmer",
                                                 "singer",  "tailor",  "pilot",  "baker"};
  std::vector<std::string> names;
  for (const std::string& first : kFirst)
    for (const std::string& last : kLast) names.push_back(first + " " + last);
  names = random.sample(names, names.size());
  const double place = static_cast<double>(random.below(1000)) / 1000;
  const auto asked = static_cast<uint64_t>(place * static_cast<double>(amount));
  std::vector<std::string> documents;
  std::string person, city;
  for (uint64_t i = 0; i < amount; ++i) {
    // Beyond 400 documents a middle letter makes further people.
    std::string name = names[i % names.size()];
    if (i >= names.size())
      name.insert(name.find(' '),
                  " " + std::string(1, static_cast<char>('A' + i / names.size() % 26)) + ".");
    const std::string own_city = cities()[random.below(cities().size())];
    const std::string job = kJobs[random.below(kJobs.size())];
    documents.push_back("Document " + std::to_string(i + 1) + ": " + name + " is a " + job +
                        " and works in " + own_city + ". " +
                        idle_sentences()[random.below(idle_sentences().size())]);
    if (i != asked) continue;
    person = name;
    city = own_city;
  }
  return {joined(documents, "\n"),
          "\n\nIn which city does " + person + " work?",
          person + " works in",
          " " + city,
          {city}};
}

using Maker = Question (*)(Random&, uint64_t);

const std::vector<std::pair<std::string, Maker>>& makers() {
  static const std::vector<std::pair<std::string, Maker>> kMakers = {
      {"multi_key", multi_key},
      {"multi_value", multi_value},
      {"multi_query", multi_query},
      {"variable_tracking", variable_tracking},
      {"common_words", common_words_task},
      {"frequent_words", frequent_words_task},
      {"several_documents", several_documents}};
  return kMakers;
}

std::string lower(const std::string& text) {
  std::string out = text;
  for (char& c : out) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return out;
}

}  // namespace

const std::vector<std::string>& ruler_tasks() {
  static const std::vector<std::string> kNames = [] {
    std::vector<std::string> names;
    for (const auto& [name, maker] : makers()) names.push_back(name);
    return names;
  }();
  return kNames;
}

Question ruler_question(const std::string& task, uint64_t seed, uint64_t amount) {
  const auto at = std::find_if(makers().begin(), makers().end(),
                               [&](const auto& entry) { return entry.first == task; });
  EBB_CHECK(at != makers().end());
  Random random(seed_of(seed, task));
  return at->second(random, amount);
}

double fraction_found(const std::string& text, const std::vector<std::string>& expected) {
  if (expected.empty()) return 0;
  const std::string where = lower(text);
  const auto found = std::count_if(expected.begin(), expected.end(), [&](const std::string& item) {
    return where.find(lower(item)) != std::string::npos;
  });
  return static_cast<double>(found) / static_cast<double>(expected.size());
}

}  // namespace ebb::score
