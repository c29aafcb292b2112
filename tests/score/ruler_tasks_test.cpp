#include "score/ruler_tasks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <set>
#include <sstream>

#include "score/longgen.h"
#include "score/needle.h"
#include "score/word_lists.h"
#include "tests/score/fake_backend.h"

namespace ebb::score {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

size_t times_in(const std::string& text, const std::string& what) {
  size_t count = 0;
  for (size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++count;
  return count;
}

TEST(WordLists, HaveNoWordTwice) {
  for (const auto* list : {&cities(), &common_words(), &idle_sentences()}) {
    EXPECT_EQ(std::set<std::string>(list->begin(), list->end()).size(), list->size());
    EXPECT_GE(list->size(), 12u);
  }
}

TEST(Random, IsTheSameOnEveryMachine) {
  Random random(1234567);
  EXPECT_EQ(random.next(), 6457827717110365317ull);  // as published with SplitMix64
  EXPECT_EQ(random.next(), 3203168211198807973ull);
  EXPECT_NE(seed_of(1, "a"), seed_of(1, "b"));
  EXPECT_NE(seed_of(1, "a"), seed_of(2, "a"));
}

TEST(Random, ASampleHasNothingTwice) {
  const auto sample = Random(3).sample(cities(), 20);
  EXPECT_EQ(std::set<std::string>(sample.begin(), sample.end()).size(), 20u);
}

TEST(RulerTasks, AreDeterministicAndHoldTheirAnswer) {
  for (const std::string& task : ruler_tasks()) {
    for (const uint64_t seed : {1, 2, 3}) {
      const Question one = ruler_question(task, seed, 30);
      const Question again = ruler_question(task, seed, 30);
      EXPECT_EQ(one.haystack, again.haystack) << task;
      EXPECT_EQ(one.answer, again.answer) << task;
      ASSERT_FALSE(one.expected.empty()) << task;
      for (const std::string& item : one.expected)
        EXPECT_THAT(one.haystack, HasSubstr(item)) << task;
      EXPECT_EQ(fraction_found(one.answer, one.expected), 1) << task << ": " << one.answer;
      EXPECT_TRUE(one.answer.starts_with(" ")) << task;
    }
    EXPECT_NE(ruler_question(task, 1, 30).haystack, ruler_question(task, 2, 30).haystack) << task;
    EXPECT_GT(ruler_question(task, 1, 60).haystack.size(),
              ruler_question(task, 1, 30).haystack.size())
        << task;
  }
}

TEST(RulerTasks, KeysValuesAndQueries) {
  const Question key = ruler_question("multi_key", 5, 10);
  EXPECT_EQ(times_in(key.haystack, "The secret number for"), 4u);
  EXPECT_EQ(times_in(key.haystack, key.expected[0] + "."), 1u);
  const Question value = ruler_question("multi_value", 5, 10);
  EXPECT_EQ(value.expected.size(), 3u);
  const Question query = ruler_question("multi_query", 5, 10);
  EXPECT_EQ(query.expected.size(), 2u);
  EXPECT_EQ(times_in(query.haystack, "The secret number for"), 4u);
}

TEST(RulerTasks, VariablesArePassedOn) {
  const Question question = ruler_question("variable_tracking", 7, 5);
  ASSERT_EQ(question.expected.size(), 4u);
  for (size_t i = 1; i < question.expected.size(); ++i)
    EXPECT_THAT(question.haystack,
                HasSubstr("VAR " + question.expected[i] + " = " + question.expected[i - 1] + "."));
  EXPECT_EQ(times_in(question.haystack, "VAR "), 8u) << "another chain leads astray";
}

TEST(RulerTasks, CommonWordsAreTheMostCommonOnes) {
  for (const char* task : {"common_words", "frequent_words"}) {
    for (const uint64_t amount : {20, 400}) {
      const Question question = ruler_question(task, 9, amount);
      std::map<std::string, int> counts;
      std::istringstream words(question.haystack);
      for (std::string word; words >> word;)
        if (!word.ends_with(".")) ++counts[word];
      int least = 1 << 30, others = 0;
      for (const std::string& word : question.expected) least = std::min(least, counts[word]);
      for (const auto& [word, count] : counts) {
        const bool is_expected =
            std::count(question.expected.begin(), question.expected.end(), word);
        if (!is_expected) others = std::max(others, count);
      }
      EXPECT_GT(least, others) << task << " of " << amount;
    }
  }
}

TEST(RulerTasks, OneDocumentSaysIt) {
  const Question question = ruler_question("several_documents", 11, 500);
  const std::string person = question.begun.substr(0, question.begun.find(" works in"));
  EXPECT_EQ(times_in(question.haystack, ": " + person + " is a"), 1u);
  const size_t at = question.haystack.find(": " + person + " is a");
  const std::string document = question.haystack.substr(at, question.haystack.find('\n', at) - at);
  EXPECT_THAT(document, HasSubstr("works in " + question.expected[0] + "."));
}

TEST(RulerTasks, TheScoreIsAFractionWhateverTheCase) {
  EXPECT_EQ(fraction_found("PARIS, then rome", {"Paris", "Rome"}), 1);
  EXPECT_EQ(fraction_found("1234 and 99", {"1234", "5678"}), 0.5);
  EXPECT_EQ(fraction_found("", {"x"}), 0);
}

TEST(Haystack, SentencesKeepTheirWords) {
  EXPECT_THAT(sentences_of("One two.  Three\nfour?\n\nFive"),
              ElementsAre("One two.", "Three four?", "Five"));
  EXPECT_EQ(filler({"A.", "B.", "C."}, 2, 4), "C. A. B. C.");
}

TEST(Haystack, APromptFillsItsLengthAndNoMore) {
  FakeBackend backend([](const Task& task) { return even_answer(task); });
  const ChatFrame frame{"<user>", "<answer>"};
  for (const std::string& task : ruler_tasks()) {
    const auto make = [&](uint64_t amount) { return ruler_question(task, 1, amount); };
    for (const uint64_t length : {3000, 9000}) {
      Question fitted;
      const auto built = fit_question(backend, frame, length, make, &fitted);
      ASSERT_TRUE(built) << task << ": " << built.error().text();
      EXPECT_LE(built->prompt.size(), length) << task;
      EXPECT_GT(built->prompt.size(), length - 500) << task;
      EXPECT_EQ(built->decode_from, frame.before.size() + fitted.haystack.size());
      EXPECT_EQ(*backend.detokenize(built->prompt),
                frame.before + fitted.haystack + fitted.question + frame.after + fitted.begun);
    }
    const auto small = fit_question(backend, frame, 10, make);
    ASSERT_FALSE(small);
    EXPECT_THAT(small.error().message, HasSubstr("10 tokens is asked for; the shortest has"));
  }
}

TEST(Needle, LiesAtItsDepth) {
  const std::vector<std::string> sentences{"A a.", "B b.", "C c.", "D d."};
  for (const auto& [depth, place] :
       {std::pair{0.0, 0.0}, std::pair{0.5, 0.5}, std::pair{1.0, 1.0}}) {
    const Question question = needle_question(sentences, depth, 3, 100);
    const size_t at = question.haystack.find("The secret number for");
    EXPECT_NEAR(static_cast<double>(at) / static_cast<double>(question.haystack.size()), place,
                0.1);
    EXPECT_THAT(question.haystack, HasSubstr("is " + question.expected[0] + "."));
    EXPECT_EQ(question.answer, " " + question.expected[0]);
  }
}

TEST(Needle, TheFirstNumberCounts) {
  EXPECT_TRUE(first_number_is(" 1234.", "1234"));
  EXPECT_TRUE(first_number_is(" the number 1234, not 99", "1234"));
  EXPECT_FALSE(first_number_is(" 12345", "1234"));
  EXPECT_FALSE(first_number_is(" 99 or 1234", "1234"));
  EXPECT_FALSE(first_number_is("none", "1234"));
}

TEST(Table, IsCopiedInAnotherForm) {
  const Question question = table_question(4, 10);
  EXPECT_EQ(question.expected.size(), 8u) << "two rows are given";
  EXPECT_EQ(times_in(question.begun, "\n"), 2u);
  EXPECT_EQ(times_in(question.haystack, " | "), 2u * 11);
  EXPECT_EQ(lines_right(question.answer, question.expected), 8u);
  EXPECT_EQ(lines_right(question.expected[0] + "\n" + question.expected[0] + "\nother",
                        question.expected),
            1u);
}

}  // namespace
}  // namespace ebb::score
