// Safetensors: what is read, and files that are wrong. Every one gets an error that names the
// tensor; none crashes or costs memory.
#include "models/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <functional>

#include "models/model_files.h"
#include "tests/support/peak_memory.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiny_hugging_face.h"

namespace ebb::models {
namespace {

using ::ebb::test::TempDir;
using ::ebb::testing::SafetensorsWriter;
using ::ebb::testing::tiny_shards;
using ::ebb::testing::TinyHuggingFace;
using ::testing::HasSubstr;

Result<std::vector<SafetensorsTensor>> parse(std::string_view bytes) {
  return parse_safetensors(std::as_bytes(std::span(bytes.data(), bytes.size())));
}

TEST(Safetensors, GivesTensorsAsRowsOfColumnsWithTheirBytes) {
  std::vector<float> values(6);
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i) / 4;
  SafetensorsWriter writer;
  writer.put("\"__metadata__\":{\"format\":\"pt\"}");
  writer.add("f32", {2, 3}, WeightType::kF32, values);
  writer.add("f16", {6}, WeightType::kF16, values)
      .add("bf16", {3, 1, 2}, WeightType::kBF16, values);
  writer.add("one", {}, WeightType::kF32, {5});
  const std::string bytes = writer.bytes();
  const auto tensors = parse(bytes);
  ASSERT_TRUE(tensors) << tensors.error().text();
  ASSERT_EQ(tensors->size(), 4u);
  const TensorView& matrix = (*tensors)[0].view;
  EXPECT_EQ((*tensors)[0].name, "f32");
  EXPECT_EQ(matrix.rows, 2u);
  EXPECT_EQ(matrix.columns, 3u);
  EXPECT_EQ(std::memcmp(matrix.data, values.data(), matrix.bytes), 0);
  EXPECT_EQ((*tensors)[1].view.type, WeightType::kF16);
  EXPECT_EQ((*tensors)[1].view.rows, 1u);
  EXPECT_EQ((*tensors)[2].view.rows, 3u);
  EXPECT_EQ((*tensors)[3].view.columns, 1u);
}

TEST(Safetensors, TheHeadersOrderDoesNotMatter) {
  SafetensorsWriter writer;
  writer.describe("b", "F32", {2}, 4, 12).describe("a", "F32", {1}, 0, 4).add_data(12);
  EXPECT_TRUE(parse(writer.bytes()));
}

struct Hostile {
  const char* name;
  std::function<std::string()> bytes;
  Code code;
  const char* message;
};

std::string with_header(std::string header, uint64_t data = 0) {
  std::string out;
  testing::append_raw(out, uint64_t{header.size()});
  return out + header + std::string(data, '\0');
}

std::string with_claim(uint64_t header_bytes) {
  SafetensorsWriter writer;
  writer.claimed_header_bytes = header_bytes;
  return writer.add("t", {2}, WeightType::kF32, {1, 2}).bytes();
}

std::string one_tensor(std::string_view dtype, const std::vector<uint64_t>& shape, uint64_t begin,
                       uint64_t end, uint64_t data) {
  return SafetensorsWriter().describe("t", dtype, shape, begin, end).add_data(data).bytes();
}

constexpr uint64_t kHuge = UINT64_MAX;

const Hostile kHostile[] = {
    {"five bytes", [] { return std::string("12345"); }, Code::kInvalid, "5 bytes: truncated?"},
    {"a header of 4 GiB", [] { return with_claim(4ull << 30); }, Code::kInvalid,
     "header: 4294967296 bytes exceed the limit of 33554432"},
    {"an absurd header", [] { return with_claim(kHuge); }, Code::kInvalid, "exceed the limit"},
    {"a header beyond the file", [] { return with_claim(5000); }, Code::kInvalid,
     "header: 5000 bytes, but the file has"},
    {"a header cut short", [] { return with_claim(16); }, Code::kInvalid, "not JSON at byte"},
    {"an empty header", [] { return with_header(""); }, Code::kInvalid, "not JSON at byte"},
    {"a list", [] { return with_header("[]"); }, Code::kInvalid, "a list where it does not belong"},
    {"a number", [] { return with_header("7"); }, Code::kInvalid, "a number where it does not"},
    {"garbage behind the header", [] { return with_header("{} x"); }, Code::kInvalid, "not JSON"},
    {"deep nesting", [] { return with_header(std::string(1 << 20, '[')); }, Code::kInvalid,
     "a list where it does not belong"},
    {"deep objects",
     [] {
       std::string text;
       for (int i = 0; i < 100000; ++i) text += "{\"a\":";
       return with_header(text);
     },
     Code::kInvalid, "tensor a: has a field that is not known"},
    {"invalid UTF-8", [] { return with_header("{\"\xff\":{}}"); }, Code::kInvalid, "not JSON"},
    {"a control character in a name", [] { return with_header("{\"a\\u0000b\":{}}"); },
     Code::kInvalid, "not printable ASCII"},
    {"a long name", [] { return one_tensor(std::string(2000, 'x'), {1}, 0, 4, 4); }, Code::kInvalid,
     "dtype is not a name"},
    {"the same name twice",
     [] {
       return SafetensorsWriter()
           .add("t", {1}, WeightType::kF32, {1})
           .add("t", {1}, WeightType::kF32, {2})
           .bytes();
     },
     Code::kInvalid, "tensor t: occurs twice"},
    {"a field twice", [] { return with_header("{\"t\":{\"dtype\":\"F32\",\"dtype\":\"F32\"}}"); },
     Code::kInvalid, "tensor t: has dtype twice"},
    {"a field of its own", [] { return with_header("{\"t\":{\"colour\":\"red\"}}"); },
     Code::kInvalid, "tensor t: has a field that is not known"},
    {"a field missing", [] { return with_header("{\"t\":{\"dtype\":\"F32\",\"shape\":[1]}}"); },
     Code::kInvalid, "tensor t: dtype, shape or data_offsets is missing"},
    {"offsets of three",
     [] {
       return with_header("{\"t\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4,8]}}", 8);
     },
     Code::kInvalid, "data_offsets has 3 numbers"},
    {"a negative extent",
     [] {
       return with_header("{\"t\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]}}", 4);
     },
     Code::kInvalid, "a negative number where it does not belong"},
    {"a real extent",
     [] {
       return with_header("{\"t\":{\"dtype\":\"F32\",\"shape\":[1.5],\"data_offsets\":[0,4]}}", 4);
     },
     Code::kInvalid, "1.5 where it does not belong"},
    {"many dimensions", [] { return one_tensor("F32", std::vector<uint64_t>(1000, 1), 0, 4, 4); },
     Code::kInvalid, "has more than 8 numbers"},
    {"metadata that are not text", [] { return with_header("{\"__metadata__\":{\"a\":1}}"); },
     Code::kInvalid, "__metadata__: a number where it does not belong"},
    {"an unsupported dtype", [] { return one_tensor("F8_E4M3", {4}, 0, 4, 4); }, Code::kUnsupported,
     "dtype F8_E4M3 is not supported (supported: F32, F16, BF16)"},
    {"a dtype that is none", [] { return one_tensor("Q4_0", {4}, 0, 4, 4); }, Code::kUnsupported,
     "dtype Q4_0"},
    {"a wrong dtype for the bytes", [] { return one_tensor("F16", {4}, 0, 16, 16); },
     Code::kInvalid, "has 4 elements of 2 bytes, but its data have 16 bytes"},
    {"an offset beyond the file", [] { return one_tensor("F32", {4}, 64, 80, 16); }, Code::kInvalid,
     "bytes 64 to 80, but the data have 16"},
    {"an absurd offset", [] { return one_tensor("F32", {1}, kHuge - 3, kHuge, 16); },
     Code::kInvalid, "but the data have 16"},
    {"an end before the beginning", [] { return one_tensor("F32", {1}, 8, 4, 16); }, Code::kInvalid,
     "bytes 8 to 4"},
    {"a dimension of 0",
     [] {
       return one_tensor("F32", {0, 4}, 0, 0, 0);
     },
     Code::kInvalid, "a dimension is 0"},
    {"a product that wraps",
     [] {
       return one_tensor("F32", {1ull << 32, 1ull << 32}, 0, 4, 4);
     },
     Code::kInvalid, "more elements than its 4 bytes hold"},
    {"the same bytes twice",
     [] {
       return SafetensorsWriter()
           .describe("a", "F32", {4}, 0, 16)
           .describe("b", "F32", {2}, 8, 16)
           .add_data(16)
           .bytes();
     },
     Code::kInvalid, "tensor b: overlaps another tensor"},
    {"a hole",
     [] {
       return SafetensorsWriter()
           .describe("a", "F32", {1}, 0, 4)
           .describe("b", "F32", {1}, 8, 12)
           .add_data(12)
           .bytes();
     },
     Code::kInvalid, "tensor b: begins at byte 8 of the data, but the one before ends at 4"},
    {"bytes that nobody names", [] { return one_tensor("F32", {1}, 0, 4, 400); }, Code::kInvalid,
     "end at byte 4 of the data, which have 400"},
    {"data that are not aligned",
     [] {
       return with_header(
           "{\"t\":{\"dtype\":\"F32\",\"shape\":[1],"
           "\"data_offsets\":[0,4]}} ",
           4);
     },
     Code::kUnsupported, "which is not a multiple of 4"},
};

TEST(HostileSafetensors, AreRefusedByTensor) {
  for (const Hostile& hostile : kHostile) {
    SCOPED_TRACE(hostile.name);
    const std::string bytes = hostile.bytes();
    auto tensors = parse(bytes);
    Result<void> refused;
    if (!tensors) {
      refused = tensors.error();
    } else {
      // Names that occur twice are found where all files come together.
      TempDir dir;
      dir.file("model.safetensors", bytes);
      auto weights = open_safetensors(dir.path());
      if (!weights) refused = weights.error();
    }
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, hostile.code) << refused.error().text();
    EXPECT_THAT(refused.error().message, HasSubstr(hostile.message));
  }
}

TEST(HostileSafetensors, AFileCutAnywhereIsRefused) {
  const std::string whole = tiny_shards({})[0].bytes();
  ASSERT_TRUE(parse(whole));
  for (size_t part = 0; part < 50; ++part)
    ASSERT_FALSE(parse(std::string_view(whole).substr(0, whole.size() * part / 50))) << part;
  for (size_t bytes = 0; bytes < 600; ++bytes)
    ASSERT_FALSE(parse(std::string_view(whole).substr(0, bytes))) << bytes;
}

TEST(HostileSafetensors, FlippedBytesNeverCrash) {
  const std::string whole = tiny_shards({.layers = 1})[0].bytes();
  testing::TinyRandom random(7);
  for (int round = 0; round < 3000; ++round) {
    std::string bytes = whole;
    for (int flips = 0; flips < 3; ++flips)
      bytes[random.next() % 1200] = static_cast<char>(random.next());
    const auto tensors = parse(bytes);
    if (!tensors) continue;
    size_t sum = 0;
    for (const SafetensorsTensor& tensor : *tensors)
      sum += static_cast<size_t>(tensor.view.data[tensor.view.bytes - 1]);
    EXPECT_GE(sum, 0u);
  }
}

TEST(HostileSafetensors, ARefusedHeaderCostsNoMemory) {
  std::string numbers = "{\"__metadata__\":[";
  while (numbers.size() < 30u << 20) numbers += "0,0,0,0,0,0,0,0,";
  const std::string bytes = with_header(numbers);
  ASSERT_FALSE(parse(bytes));
  EXPECT_LT(testing::peak_growth_kib([&] {
              for (int i = 0; i < 100; ++i) ASSERT_FALSE(parse(bytes));
            }),
            16 * 1024);
}

/// A sharded model whose index is `change`d.
Result<std::unique_ptr<ModelFiles>> open_with(
    const std::function<void(const TempDir&, std::string&)>& change) {
  const TinyHuggingFace options{.layers = 1, .shards = 2};
  TempDir dir;
  write_tiny_hugging_face(dir.path(), options);
  std::string index = index_json(tiny_shards(options));
  change(dir, index);
  dir.file("model.safetensors.index.json", index);
  return ModelFiles::open(dir.path());
}

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  for (size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size())
    text.replace(at, from.size(), to);
}

TEST(HostileIndex, ContradictionsAndWaysOutOfTheDirectoryAreRefused) {
  struct Case {
    std::function<void(const TempDir&, std::string&)> change;
    const char* message;
  };
  const auto rename = [](const char* to) {
    return [to](const TempDir&, std::string& index) {
      replace_all(index, "model-00001-of-00002.safetensors", to);
    };
  };
  const Case cases[] = {
      {rename("../model.safetensors"), "\"../model.safetensors\" is not the name of a"},
      {rename("../../etc/passwd"), "\"../../etc/passwd\" is not the name of a .safetensors file"},
      {rename("/etc/passwd"), "\"/etc/passwd\" is not the name of a .safetensors file"},
      {rename("sub/x.safetensors"), "is not the name of a"},
      {rename(".hidden.safetensors"), "is not the name of a"},
      {rename("config.json"), "\"config.json\" is not the name of a"},
      {rename("missing.safetensors"), "missing.safetensors: No such file"},
      {rename("model-00002-of-00002.safetensors"), "which the index says is there"},
      {[](const TempDir&, std::string& index) {
         replace_all(index, "model.norm.weight", "model.other.weight");
       },
       "tensor model.norm.weight is not in the index"},
      {[](const TempDir&, std::string& index) {
         const size_t at = index.find("00002-of");
         index.replace(at, 5, "00001");
       },
       "model-00001-of-00002.safetensors: does not have tensor"},
      {[](const TempDir&, std::string& index) { index = "{}"; }, "weight_map: missing"},
      {[](const TempDir&, std::string& index) { index = "[1]"; }, "weight_map: missing"},
      {[](const TempDir&, std::string& index) { index = "{\"weight_map\":{}}"; },
       "not in the model's files"},
      {[](const TempDir&, std::string& index) { index = "{\"weight_map\":{\"a\":1}}"; },
       "holds something else than file names"},
      {[](const TempDir&, std::string& index) { index = "{\"weight_map\":[]}"; },
       "holds something else than file names"},
      {[](const TempDir&, std::string& index) {
         index = "{\"weight_map\":{\"a\":\"b\",\"a\":\"c\"}}";
       },
       "tensor a is there twice"},
      {[](const TempDir&, std::string& index) { index = std::string(1 << 20, '['); },
       "nests deeper than 16 levels"},
      {[](const TempDir& dir, std::string&) {
         std::filesystem::resize_file(dir.path("model-00002-of-00002.safetensors"), 1000);
       },
       "model-00002-of-00002.safetensors: "},
  };
  for (const Case& c : cases) {
    const auto files = open_with(c.change);
    ASSERT_FALSE(files) << c.message;
    EXPECT_EQ(files.error().code, Code::kInvalid) << files.error().text();
    EXPECT_THAT(files.error().message, HasSubstr(c.message));
  }
}

TEST(HostileIndex, ATensorInTwoShardsIsRefused) {
  const TinyHuggingFace options{.layers = 1, .shards = 2};
  TempDir dir;
  write_tiny_hugging_face(dir.path(), options);
  auto shards = tiny_shards(options);
  shards[1].add(shards[0].names()[0], {1}, WeightType::kF32, {1});
  dir.file(testing::shard_name(1, 2), shards[1].bytes());
  const auto files = ModelFiles::open(dir.path());
  ASSERT_FALSE(files);
  EXPECT_THAT(files.error().message, HasSubstr("by the index"));
}

TEST(HostileIndex, ATensorOfAnotherShapeIsRefused) {
  TinyHuggingFace told, made;
  made.ffn_width = 128;
  TempDir dir;
  write_tiny_hugging_face(dir.path(), made);
  dir.file("config.json", tiny_config_json(told));
  const auto files = ModelFiles::open(dir.path());
  ASSERT_FALSE(files);
  EXPECT_THAT(files.error().message,
              HasSubstr("mlp.gate_proj.weight: is 128 x 64 (rows x columns), but the model's "
                        "numbers say 96 x 64"));
}

}  // namespace
}  // namespace ebb::models
