// Models in several GGUF files.
#include "models/gguf_parts.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "models/model_files.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiny_llama.h"

namespace ebb::models {
namespace {

using ::ebb::test::TempDir;
using ::ebb::testing::GgufWriter;
using ::testing::HasSubstr;

/// Metadata in the first part, tensors in the second.
struct TwoParts {
  TempDir dir;
  GgufWriter first, second;
  std::string first_name = "tiny-00001-of-00002.gguf";
  std::string second_name = "tiny-00002-of-00002.gguf";

  TwoParts() {
    put_tiny_metadata(first, {});
    testing::put_tiny_tokenizer(first, 288);
    first.put_u16("split.no", 0).put_u16("split.count", 2).put_i32("split.tensors.count", 20);
    add_tiny_tensors(second, {});
  }
  Result<std::unique_ptr<ModelFiles>> open() {
    first.write(dir.path(first_name));
    second.write(dir.path(second_name));
    return ModelFiles::open(dir.path(first_name));
  }
};

void expect_refused(TwoParts& parts, const std::string& message) {
  const auto files = parts.open();
  ASSERT_FALSE(files) << message;
  EXPECT_THAT(files.error().message, HasSubstr(message));
  EXPECT_NE(files.error().code, Code::kInternal);
}

TEST(GgufParts, AreOneModel) {
  TwoParts parts;
  parts.second.put_u16("split.no", 1).put_u16("split.count", 2);
  const auto files = parts.open();
  ASSERT_TRUE(files) << files.error().text();
  EXPECT_EQ((*files)->shape().layers, 2u);
  const TensorView view = *(*files)->tensor(TensorRole::kDown, 1);
  EXPECT_EQ(view.name, "blk.1.ffn_down.weight");
  EXPECT_NE(view.data[view.bytes - 1], std::byte{255});  // it is mapped
}

TEST(GgufParts, DigestFollowsEveryPart) {
  TwoParts parts, other;
  parts.second.put_u16("split.no", 1).put_u16("split.count", 2);
  other.second.put_u16("split.no", 1).put_u16("split.count", 2).put_u8("one.more", 1);
  EXPECT_NE((*parts.open())->shape().digest, (*other.open())->shape().digest);
}

TEST(GgufParts, ThatContradictEachOtherAreRefused) {
  TwoParts wrong_number;
  wrong_number.second.put_u16("split.no", 2).put_u16("split.count", 2);
  expect_refused(wrong_number, "is part 2 of 2 (counted from 0), wanted part 1 of 2");
  TwoParts wrong_count;
  wrong_count.second.put_u16("split.no", 1).put_u16("split.count", 3);
  expect_refused(wrong_count, "is part 1 of 3");
  TwoParts none;
  expect_refused(none, "split.no: not in");
  TwoParts twice;
  twice.second.put_u16("split.no", 1).put_u16("split.count", 2);
  twice.first.add_tensor("output_norm.weight", {64}, WeightType::kF32, std::vector<float>(64, 1));
  expect_refused(twice, "split.tensors.count: 20, but the parts have 21 tensors together");
}

TEST(GgufParts, AreFoundByTheirNames) {
  TwoParts missing;
  missing.second_name = "other.gguf";
  expect_refused(missing, "tiny-00002-of-00002.gguf: No such file");
  TwoParts renamed;
  renamed.first_name = "first.gguf";
  expect_refused(renamed, "its name does not end in -00001-of-00002.gguf");
  TwoParts later;
  later.second.put_u16("split.no", 1).put_u16("split.count", 2);
  ASSERT_TRUE(later.open());
  const auto files = ModelFiles::open(later.dir.path(later.second_name));
  ASSERT_FALSE(files);
  EXPECT_THAT(files.error().message, HasSubstr("open the one that ends in -00001-of-00002.gguf"));
}

TEST(GgufParts, AnAbsurdCountIsRefused) {
  GgufWriter writer;
  writer.put_u64("split.count", UINT64_MAX).put_u16("split.no", 0);
  TempDir dir;
  writer.write(dir.path("x-00001-of-00002.gguf"));
  const auto files = ModelFiles::open(dir.path("x-00001-of-00002.gguf"));
  ASSERT_FALSE(files);
  EXPECT_THAT(files.error().message, HasSubstr("exceeds the limit of 4096 parts"));
}

}  // namespace
}  // namespace ebb::models
