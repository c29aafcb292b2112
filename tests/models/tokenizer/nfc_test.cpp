#include "models/tokenizer/nfc.h"

#include <gtest/gtest.h>

#include "models/tokenizer/normalizer.h"

namespace ebb::models {
namespace {

TEST(Nfc, ComposesWhatIsDecomposedAndKeepsTheRest) {
  EXPECT_EQ(to_nfc("Cafe\u0301"), "Caf\u00e9");
  EXPECT_EQ(to_nfc("plain"), std::nullopt);
  EXPECT_EQ(to_nfc("Caf\u00e9"), std::nullopt);
  EXPECT_EQ(to_nfc("\u4E2D\u6587"), std::nullopt);
  EXPECT_EQ(to_nfc(""), std::nullopt);
}

TEST(Nfc, FollowsTheHardCasesOfTheAnnex) {
  EXPECT_EQ(to_nfc("\u212B"), "\u00C5");                // a singleton
  EXPECT_EQ(to_nfc("\u1E9B\u0323"), std::nullopt);      // Unicode's own example, figure 6
  EXPECT_EQ(to_nfc("q\u0307\u0323"), "q\u0323\u0307");  // marks change places
  EXPECT_EQ(to_nfc("\u0958"), "\u0915\u093C");          // excluded from composition
  EXPECT_EQ(to_nfc("\u1100\u1161\u11A8"), "\uAC01");    // Hangul, by arithmetic
  EXPECT_EQ(to_nfc("\uAC00\u11A8"), "\uAC01");
  EXPECT_EQ(to_nfc("a\u0315\u0300\u05AE\u0062"), "\u00e0\u05AE\u0315b");
  EXPECT_EQ(to_nfc("\u0344"), "\u0308\u0301");
}

TEST(Nfc, AMegabyteOfMarksInTheWrongOrderIsNotQuadratic) {
  std::string text = "a";
  for (int i = 0; i < 250'000; ++i) text += "\u0301\u0323";  // above, below, above, ...
  const auto normalized = to_nfc(text);  // by exchanging neighbours this would take an hour
  ASSERT_TRUE(normalized.has_value());
  EXPECT_TRUE(normalized->starts_with("\u1EA1\u0323\u0323"));
  EXPECT_TRUE(normalized->ends_with("\u0301\u0301"));
}

TEST(Normalizer, AppliesItsStepsInOrderToWhatIsValid) {
  using Kind = NormalizerStep::Kind;
  const Normalizer normalizer(
      {{Kind::kNfc, "", ""}, {Kind::kPrepend, "", "\u2581"}, {Kind::kReplace, " ", "\u2581"}});
  EXPECT_EQ(normalizer.normalize("e\u0301 \xFF"
                                 "e\u0301\xC3"),
            "\u2581\u00e9\u2581\xFF\u00e9\xC3");
  EXPECT_EQ(normalizer.normalize(""), std::nullopt);
  EXPECT_EQ(replace_all("aaa", "aa", "b"), "ba");
}

}  // namespace
}  // namespace ebb::models
