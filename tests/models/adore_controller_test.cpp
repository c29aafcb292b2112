// Controllers of policy adore: what is read, and files that are wrong.
#include "models/adore_controller.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "tests/support/adore_file.h"
#include "tests/support/temp_file.h"

namespace ebb::models {
namespace {

using ebb::testing::AdoreFile;
using ::testing::HasSubstr;

Result<AdoreController> read(const AdoreFile& file) {
  const ebb::testing::TempFile path;
  file.write(path.path());
  return read_adore_controller(path.path());
}

TEST(AdoreControllerFile, IsReadAsItWasWritten) {
  AdoreFile file("a model", 12, 4);
  const auto read_back = read(file);
  ASSERT_TRUE(read_back) << read_back.error().text();
  EXPECT_EQ(read_back->model_name, "a model");
  EXPECT_EQ(read_back->hidden, 12u);
  EXPECT_EQ(read_back->width, 4u);
  EXPECT_EQ(read_back->input_weight, file.tensor("input.weight").values);
  EXPECT_EQ(read_back->gru_weight_hh, file.tensor("gru.weight_hh").values);
  EXPECT_EQ(read_back->distance, file.tensor("distance.weight").values);
  EXPECT_EQ(read_back->score_bias, file.tensor("head.1.bias").values);
}

TEST(AdoreControllerFile, OfAnotherModelIsRefusedByName) {
  const auto controller = read(AdoreFile("a model", 12));
  ModelShape shape;
  shape.name = "another model";
  shape.width = 12;
  const auto other = check_trained_for(*controller, shape);
  ASSERT_FALSE(other);
  EXPECT_THAT(other.error().message, HasSubstr("\"a model\", not \"another model\""));
  shape.name = "a model";
  EXPECT_TRUE(check_trained_for(*controller, shape));
  shape.width = 16;
  EXPECT_THAT(check_trained_for(*controller, shape).error().message, HasSubstr("12 elements"));
}

TEST(AdoreControllerFile, ThatIsNotThereIsNotFound) {
  EXPECT_EQ(read_adore_controller("/nowhere/at.all").error().code, Code::kNotFound);
}

struct Wrong {
  const char* name;
  std::function<void(AdoreFile&)> change;
  const char* says;
};

class WrongController : public ::testing::TestWithParam<Wrong> {};

TEST_P(WrongController, IsInvalidAndNamesWhatIsWrong) {
  AdoreFile file("a model", 12, 4);
  GetParam().change(file);
  const auto refused = read(file);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kInvalid);
  EXPECT_THAT(refused.error().message, HasSubstr(GetParam().says));
}

INSTANTIATE_TEST_SUITE_P(
    All, WrongController,
    ::testing::Values(
        Wrong{"Format", [](AdoreFile& f) { f.metadata["ebb_format"] = "adore-controller-2"; },
              "ebb_format: \"adore-controller-2\""},
        Wrong{"NoFormat", [](AdoreFile& f) { f.metadata.erase("ebb_format"); },
              "ebb_format: missing"},
        Wrong{"NoModel", [](AdoreFile& f) { f.metadata.erase("model_name"); },
              "model_name: missing"},
        Wrong{"WidthIsNoNumber", [](AdoreFile& f) { f.metadata["width"] = "4x"; },
              "width: \"4x\" is not in [1, 1024]"},
        Wrong{"WidthIsEmpty", [](AdoreFile& f) { f.metadata["width"] = ""; }, "width: missing"},
        Wrong{"WidthIsHuge", [](AdoreFile& f) { f.metadata["width"] = "99999999999999999999999"; },
              "[1, 1024]"},
        Wrong{"HiddenIsZero", [](AdoreFile& f) { f.metadata["hidden"] = "0"; }, "[1, 65536]"},
        Wrong{"OtherBuckets", [](AdoreFile& f) { f.metadata["buckets"] = "64"; },
              "buckets: 64, wanted 176"},
        Wrong{"OtherHidden", [](AdoreFile& f) { f.metadata["hidden"] = "13"; },
              "tensor input.weight: is [4, 12], wanted [4, 13]"},
        Wrong{"Missing", [](AdoreFile& f) { f.tensors.pop_back(); }, "tensor head.1.bias: missing"},
        Wrong{"Unknown",
              [](AdoreFile& f) {
                f.tensors.push_back({"more", {1}, WeightType::kF32, {1}});
              },
              "tensor more: not known"},
        Wrong{"Twice", [](AdoreFile& f) { f.tensors.push_back(f.tensors.front()); },
              "tensor input.weight: is there twice"},
        Wrong{"HalfPrecision",
              [](AdoreFile& f) { f.tensor("head.0.bias").type = WeightType::kF16; },
              "tensor head.0.bias: is F16, wanted F32"},
        Wrong{"NoNumber",
              [](AdoreFile& f) {
                f.tensor("gru.bias_ih").values[3] = std::numeric_limits<float>::infinity();
              },
              "tensor gru.bias_ih: has a value that is no number"}),
    [](const auto& wrong) { return std::string(wrong.param.name); });

TEST(AdoreControllerFile, CutAtAnyByteIsRefused) {
  const std::string whole = AdoreFile("a model", 3, 2).bytes();
  for (size_t length = 1; length < whole.size(); length += 37) {
    const ebb::testing::TempFile path;
    std::ofstream(path.path(), std::ios::binary) << whole.substr(0, length);
    EXPECT_FALSE(read_adore_controller(path.path())) << length;
  }
}

}  // namespace
}  // namespace ebb::models
