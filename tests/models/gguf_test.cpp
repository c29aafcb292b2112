// What GgufFile promises for files that are right.
#include "models/gguf.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "tests/support/gguf_writer.h"
#include "tests/support/real_model.h"
#include "tests/support/temp_file.h"

namespace ebb::models {
namespace {

using ::ebb::testing::GgufWriter;
using ::ebb::testing::TempFile;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class Gguf : public ::testing::Test {
 protected:
  const GgufFile& open(const GgufWriter& writer) {
    writer.write(temp_.path());
    Result<std::unique_ptr<GgufFile>> file = GgufFile::open(temp_.path());
    if (!file) throw std::runtime_error(file.error().text());
    file_ = std::move(*file);
    return *file_;
  }
  TempFile temp_{".gguf"};
  std::unique_ptr<GgufFile> file_;
};

TEST_F(Gguf, ReadsMetadataOfEveryType) {
  GgufWriter writer;
  writer.put_u8("u8", 200).put_i8("i8", -3).put_u16("u16", 60000).put_i16("i16", -300);
  writer.put_u32("u32", 4'000'000'000u).put_i32("i32", -5).put_u64("u64", 1ull << 63);
  writer.put_i64("i64", 77).put_f32("f32", 0.5f).put_f64("f64", 1e-300).put_bool("yes", true);
  writer.put_string("text", "h\xc3\xa9llo").put_strings("texts", {"a", "", "bcd"});
  writer.put_i32s("ints", {1, -2, 3});
  const GgufFile& file = open(writer);
  EXPECT_EQ(*file.get_u64("u8"), 200u);
  EXPECT_EQ(*file.get_u64("u16"), 60000u);
  EXPECT_EQ(*file.get_u64("u32"), 4'000'000'000u);
  EXPECT_EQ(*file.get_u64("u64"), 1ull << 63);
  EXPECT_EQ(*file.get_u64("i64"), 77u);
  EXPECT_EQ(*file.get_f64("f32"), 0.5);
  EXPECT_EQ(*file.get_f64("f64"), 1e-300);
  EXPECT_TRUE(*file.get_bool("yes"));
  EXPECT_EQ(*file.get_string("text"), "h\xc3\xa9llo");
  EXPECT_THAT(*file.get_strings("texts"), ElementsAre("a", "", "bcd"));
  EXPECT_THAT(*file.get_i32s("ints"), ElementsAre(1, -2, 3));
  EXPECT_TRUE(file.has("ints"));
  EXPECT_FALSE(file.has("int"));
}

TEST_F(Gguf, NamesTheKeyInEveryErrorAboutMetadata) {
  const GgufFile& file = open(GgufWriter().put_i8("small", -3).put_string("text", "x"));
  EXPECT_EQ(file.get_u64("absent").error().code, Code::kNotFound);
  EXPECT_THAT(file.get_u64("absent").error().message, HasSubstr("absent"));
  EXPECT_EQ(file.get_u64("small").error().code, Code::kInvalid);
  EXPECT_THAT(file.get_u64("small").error().message, HasSubstr("small: -3 is negative"));
  EXPECT_THAT(file.get_u64("text").error().message,
              HasSubstr("text: is of type string, wanted an integer"));
  EXPECT_THAT(file.get_strings("text").error().message, HasSubstr("wanted array of string"));
  EXPECT_THAT(file.get_bool("small").error().message, HasSubstr("wanted bool"));
  EXPECT_THAT(file.get_f64("small").error().message, HasSubstr("wanted f32 or f64"));
}

TEST_F(Gguf, RefusesIntegersThatDoNotFitInto32Bits) {
  std::string bytes = GgufWriter::array_head(GgufWriter::kI64, 2);
  testing::append_raw(bytes, int64_t{INT32_MIN});
  testing::append_raw(bytes, int64_t{INT32_MAX} + 1);
  const GgufFile& file = open(GgufWriter().put_raw("wide", GgufWriter::kArray, bytes));
  EXPECT_THAT(file.get_i32s("wide").error().message, HasSubstr("element 1 does not fit"));
}

TEST_F(Gguf, GivesTensorsAsRowsOfColumnsWithTheirBytes) {
  std::vector<float> values(64 * 3);
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i) / 8;
  GgufWriter writer;
  for (WeightType type : {WeightType::kF32, WeightType::kF16, WeightType::kBF16, WeightType::kQ8_0,
                          WeightType::kQ4_0, WeightType::kQ4_1})
    writer.add_tensor(weight_type_name(type), {64, 3}, type, values);
  writer.add_tensor("vector", {64}, WeightType::kF32, std::vector<float>(64, 1.0f));
  writer.add_tensor("cube", {4, 2, 3}, WeightType::kF32, std::vector<float>(24, 2.0f));
  const GgufFile& file = open(writer);
  EXPECT_EQ(file.tensors().all().size(), 8u);
  EXPECT_EQ(file.tensors().all()[0].name, "F32");
  for (WeightType type : {WeightType::kF32, WeightType::kF16, WeightType::kBF16, WeightType::kQ8_0,
                          WeightType::kQ4_0, WeightType::kQ4_1}) {
    TensorView view = *file.tensor(weight_type_name(type));
    EXPECT_EQ(view.type, type);
    EXPECT_EQ(view.rows, 3u);
    EXPECT_EQ(view.columns, 64u);
    std::string expected = testing::encode_weights(type, values);
    ASSERT_EQ(view.bytes, expected.size());
    EXPECT_EQ(std::memcmp(view.data, expected.data(), expected.size()), 0) << view.name;
  }
  EXPECT_EQ(file.tensor("vector")->rows, 1u);
  EXPECT_EQ(file.tensor("cube")->rows, 6u);
  EXPECT_EQ(file.tensor("nothing").error().code, Code::kNotFound);
}

TEST_F(Gguf, HonoursTheFilesOwnAlignment) {
  GgufWriter writer;
  writer.alignment = 8;
  writer.put_u32("general.alignment", 8);
  writer.add_tensor("a", {3}, WeightType::kF32, {1, 2, 3});
  writer.add_tensor("b", {1}, WeightType::kF32, {4});
  const GgufFile& file = open(writer);
  EXPECT_EQ(file.tensor("b")->data - file.tensor("a")->data, 16);
}

TEST_F(Gguf, ReadsVersionTwo) {
  GgufWriter writer;
  writer.version = 2;
  EXPECT_EQ(*open(writer.put_u32("x", 1)).get_u64("x"), 1u);
}

TEST_F(Gguf, ReadsAFileWithoutAnything) { EXPECT_TRUE(open(GgufWriter()).tensors().all().empty()); }

TEST_F(Gguf, SaysWhenAFileIsMissingOrNotAFile) {
  EXPECT_EQ(GgufFile::open("/nonexistent/model.gguf").error().code, Code::kNotFound);
  Error error = GgufFile::open("/tmp").error();
  EXPECT_EQ(error.code, Code::kInvalid);
  EXPECT_THAT(error.message, HasSubstr("not a regular file"));
}

TEST(RealModel, HasTheTensorsAndKeysItIsKnownFor) {
  std::optional<std::string> path = testing::real_model_path();
  ASSERT_TRUE(path) << testing::kNoRealModel;
  Result<std::unique_ptr<GgufFile>> file = GgufFile::open(*path);
  ASSERT_TRUE(file) << file.error().text();
  std::map<WeightType, int> types;
  for (const TensorView& view : (*file)->tensors().all()) ++types[view.type];
  EXPECT_EQ(types[WeightType::kQ4_1], 210);
  EXPECT_EQ(types[WeightType::kF32], 61);
  EXPECT_EQ(types[WeightType::kQ8_0], 1);
  EXPECT_EQ((*file)->get_strings("tokenizer.ggml.tokens")->size(), 49152u);
  EXPECT_EQ((*file)->get_strings("tokenizer.ggml.merges")->size(), 48900u);
  EXPECT_EQ(*(*file)->get_string("tokenizer.ggml.pre"), "smollm");
}

}  // namespace
}  // namespace ebb::models
