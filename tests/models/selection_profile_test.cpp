// Profiles: the committed one, the strict parser, and what follows from a profile.
#include "models/selection_profile.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "models/gguf.h"
#include "tests/support/real_model.h"
#include "tests/support/tree_paths.h"

namespace ebb::models {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

const char* kGood =
    "version: 1\n"
    "name: small\n"
    "model_name: \"a \\\"model\\\"\"\n"
    "layers: 8\n"
    "full: [0]\n"
    "anchors: [1, 4]\n"
    "budget_fraction: 0.1\n"
    "budget_min: 64\n"
    "sinks: 4\n"
    "window: 32\n"
    "scope: layer\n"
    "aggregation: max\n";

/// kGood with the line of one key replaced ("" drops it).
std::string with_line(const std::string& key, const std::string& line) {
  std::string text = kGood;
  size_t begin = text.find("\n" + key + ":") + 1;
  text.replace(begin, text.find('\n', begin) + 1 - begin, line.empty() ? "" : line + "\n");
  return text;
}

TEST(SelectionProfile, TheCommittedOneFitsTheRealModel) {
  Result<SelectionProfile> profile =
      read_selection_profile(ebb::test::source_path("configs/profiles/smollm2-135m-instruct.yaml"));
  ASSERT_TRUE(profile) << profile.error().text();
  EXPECT_EQ(profile->name, "smollm2-135m-instruct");
  EXPECT_EQ(profile->layers, 30u);
  EXPECT_THAT(profile->full, IsEmpty());
  EXPECT_THAT(profile->anchors, ElementsAre(0, 2, 7, 14, 17, 20, 23));
  EXPECT_EQ(profile->budget_fraction, 0.125);
  EXPECT_EQ(profile->budget_min, 512u);
  EXPECT_EQ(profile->sinks, 4u);
  EXPECT_EQ(profile->window, 256u);
  std::optional<std::string> path = testing::real_model_path();
  ASSERT_TRUE(path) << testing::kNoRealModel;
  Result<std::unique_ptr<GgufFile>> file = GgufFile::open(*path);
  ASSERT_TRUE(file) << file.error().text();
  EXPECT_EQ(profile->model_name, *(*file)->get_string("general.name"));
  EXPECT_EQ(profile->layers, *(*file)->get_u64("llama.block_count"));
}

TEST(SelectionProfile, SortsLayersIntoClassesAndBands) {
  Result<SelectionProfile> profile = parse_selection_profile(kGood, "test");
  ASSERT_TRUE(profile) << profile.error().text();
  EXPECT_EQ(profile->model_name, "a \"model\"");
  EXPECT_EQ(profile->layer_class(0), LayerClass::kFull);
  EXPECT_EQ(profile->layer_class(1), LayerClass::kAnchor);
  EXPECT_EQ(profile->layer_class(2), LayerClass::kFollower);
  EXPECT_EQ(profile->anchor_of(3), 1u);
  EXPECT_EQ(profile->anchor_of(5), 4u);
  EXPECT_THAT(profile->bands(), ElementsAre(LayerRange{0, 1}, LayerRange{1, 2}, LayerRange{2, 4},
                                            LayerRange{4, 5}, LayerRange{5, 8}));
}

TEST(SelectionProfile, PrintsWhatItReads) {
  SelectionProfile profile = *parse_selection_profile(kGood, "test");
  Result<SelectionProfile> again =
      parse_selection_profile(print_selection_profile(profile), "print");
  ASSERT_TRUE(again) << again.error().text();
  EXPECT_EQ(print_selection_profile(*again), print_selection_profile(profile));
  EXPECT_EQ(again->model_name, profile.model_name);
  EXPECT_EQ(again->budget_fraction, 0.1);
  EXPECT_EQ(again->anchors, profile.anchors);
  EXPECT_EQ(again->full, profile.full);
}

TEST(SelectionProfile, TheDenseOneHasOneBandPerLayerAndReadsBack) {
  SelectionProfile profile = dense_profile(3, "any");
  EXPECT_THAT(profile.bands(), ElementsAre(LayerRange{0, 1}, LayerRange{1, 2}, LayerRange{2, 3}));
  for (uint32_t layer = 0; layer < 3; ++layer)
    EXPECT_EQ(profile.layer_class(layer), LayerClass::kFull);
  EXPECT_TRUE(parse_selection_profile(print_selection_profile(profile), "dense"));
}

TEST(SelectionProfile, RefusesByKeyAndLimit) {
  struct Case {
    const char* key;
    const char* line;
    const char* message;
  };
  const Case cases[] = {
      {"sinks", "sink: 4", "sink: unknown key; did you mean sinks?"},
      {"window", "", "window: is missing"},
      {"window", "window: 32\nwindow: 16", "window: occurs twice"},
      {"version", "version: 3", "version: 3 is out of range (1 to 2)"},
      {"version", "version: 2", "budget_weights: is missing"},
      {"window", "window: 32\nbudget_weights: []", "budget_weights: is not known to version 1"},
      {"layers", "layers: 0", "layers: 0 is out of range (1 to 1024)"},
      {"layers", "layers: -8", "layers: \"-8\" is not a number"},
      {"layers", "layers: 8.5", "layers: \"8.5\" is not a number"},
      {"layers", "layers: [8]", "layers: must be a single value"},
      {"anchors", "anchors: [1, 8]", "anchors: 8 is out of range (0 to 7)"},
      {"anchors", "anchors: [4, 1]", "anchors: 1 after 4: layers must ascend"},
      {"anchors", "anchors: [1, 1]", "anchors: 1 after 1: layers must ascend"},
      {"anchors", "anchors: 1", "anchors: must be a list"},
      {"anchors", "anchors: [[1]]", "anchors: must be a single value"},
      {"anchors", "anchors: [0, 4]", "anchors: layer 0 is in full as well"},
      {"anchors", "anchors: [2, 4]", "layer 1 is a follower, but no anchor lies below it"},
      {"anchors", "anchors: []", "layer 1 is a follower, but no anchor lies below it"},
      {"budget_fraction", "budget_fraction: 1.5", "budget_fraction: 1.5 is out of range"},
      {"budget_fraction", "budget_fraction: nan", "budget_fraction: nan is out of range"},
      {"budget_fraction", "budget_fraction: 1e-999", "is not a number that fits here"},
      {"budget_min", "budget_min: 35", "budget_min: 35 is less than sinks + window = 36"},
      {"window", "window: 0", "window: 0 is out of range"},
      {"window", "window: 99999999999", "is not a number that fits here"},
      {"scope", "scope: head", "scope: \"head\" is not known (known: layer)"},
      {"aggregation", "aggregation: mean", "aggregation: \"mean\" is not known (known: max)"},
      {"name", "name: ''", "name: must be 1 to 128 bytes"},
      {"name", "name: \"a\\nb\"", "name: must be 1 to 128 bytes without control characters"},
  };
  for (const Case& c : cases) {
    std::string yaml = with_line(c.key, c.line);
    if (std::string_view(c.key) == "version") yaml = c.line + std::string(kGood).substr(10);
    Result<SelectionProfile> profile = parse_selection_profile(yaml, "origin.yaml");
    ASSERT_FALSE(profile) << c.line;
    EXPECT_EQ(profile.error().code, Code::kInvalid);
    EXPECT_THAT(profile.error().message, HasSubstr(c.message));
    EXPECT_THAT(profile.error().message, HasSubstr("origin.yaml"));
  }
}

TEST(SelectionProfile, SinceVersion2ItHasAWeightForEachLayerOrNone) {
  const auto with_weights = [](const std::string& list) {
    const std::string yaml =
        "version: 2" + std::string(kGood).substr(10) + "budget_weights: " + list + "\n";
    return parse_selection_profile(yaml, "origin.yaml");
  };
  const auto none = with_weights("[]");
  ASSERT_TRUE(none) << none.error().text();
  EXPECT_THAT(none->budget_weights, IsEmpty());
  const auto some = with_weights("[1, 1, 0.25, 4, 1.03125, 1, 1, 1]");
  ASSERT_TRUE(some) << some.error().text();
  EXPECT_THAT(some->budget_weights, ElementsAre(1, 1, 0.25, 4, 1.03125, 1, 1, 1));
  for (const auto& profile : {*none, *some}) {
    const auto again = parse_selection_profile(print_selection_profile(profile), "print");
    ASSERT_TRUE(again) << again.error().text();
    EXPECT_EQ(again->budget_weights, profile.budget_weights);
    EXPECT_EQ(again->version, 2u);
  }
  for (const auto& [list, message] :
       {std::pair{"[1]", "budget_weights: must be a list of 8 numbers"},
        {"1", "budget_weights: must be a list of 8 numbers"},
        {"[1, 1, 0.24, 1, 1, 1, 1, 1]", "budget_weights: 0.24 is out of range (0.25"},
        {"[1, 1, 4.1, 1, 1, 1, 1, 1]", "budget_weights: 4.1 is out of range"},
        {"[1, 1, nan, 1, 1, 1, 1, 1]", "budget_weights: nan is out of range"},
        {"[1, 1, [1], 1, 1, 1, 1, 1]", "budget_weights: must be a single value"},
        {"[1, 1, x, 1, 1, 1, 1, 1]", "budget_weights: \"x\" is not a number"}}) {
    const auto refused = with_weights(list);
    ASSERT_FALSE(refused) << list;
    EXPECT_THAT(refused.error().message, HasSubstr(message));
  }
}

TEST(SelectionProfile, RefusesTextThatIsNoProfile) {
  for (const std::string& text :
       {std::string(), std::string("[1, 2]"), std::string("a: [1"), std::string("\x01"),
        std::string(70000, '#'), std::string(50000, '['), std::string("? [a]\n: b")}) {
    Result<SelectionProfile> profile = parse_selection_profile(text, "origin.yaml");
    ASSERT_FALSE(profile) << text.substr(0, 20);
    EXPECT_EQ(profile.error().code, Code::kInvalid);
  }
  EXPECT_EQ(read_selection_profile("/nonexistent.yaml").error().code, Code::kNotFound);
}

}  // namespace
}  // namespace ebb::models
