// Files that are wrong: every one gets an error that names the field; none crashes or costs memory.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <functional>

#include "models/gguf.h"
#include "tests/support/gguf_writer.h"
#include "tests/support/peak_memory.h"
#include "tests/support/temp_file.h"
#include "tests/support/tiny_llama.h"

namespace ebb::models {
namespace {

using ::ebb::testing::append_raw;
using ::ebb::testing::gguf_string;
using ::ebb::testing::GgufWriter;
using ::ebb::testing::TempFile;
using ::testing::HasSubstr;

Result<std::unique_ptr<GgufFile>> open_bytes(std::string_view bytes) {
  TempFile temp(".gguf");
  GgufWriter::write_file(temp.path(), bytes);
  return GgufFile::open(temp.path());
}

struct Hostile {
  const char* name;
  std::function<std::string()> bytes;
  Code code;
  const char* message;
};

std::string array_of(uint32_t element, uint64_t count) {
  return GgufWriter::array_head(element, count);
}

std::string raw_u64(uint64_t value) {
  std::string out;
  append_raw(out, value);
  return out;
}

/// One F32 tensor table row of any numbers, and 256 bytes of data.
std::string one_tensor(std::vector<uint64_t> dimensions, uint32_t type, uint64_t offset) {
  return GgufWriter().describe_tensor("t", dimensions, type, offset).add_data(256).bytes();
}

std::string with_version(uint32_t version) {
  GgufWriter writer;
  writer.version = version;
  return writer.bytes();
}

std::string with_counts(std::optional<uint64_t> keys, std::optional<uint64_t> tensors) {
  GgufWriter writer;
  writer.claimed_keys = keys;
  writer.claimed_tensors = tensors;
  return writer.bytes();
}

std::string with_alignment(uint64_t alignment) {
  return GgufWriter().put_u64("general.alignment", alignment).bytes();
}

constexpr uint64_t kHuge = UINT64_MAX;

const Hostile kHeaders[] = {
    {"empty file", [] { return std::string(); }, Code::kInvalid, "the file is empty"},
    {"three bytes", [] { return std::string("GGU"); }, Code::kInvalid, "magic: needs 4 bytes"},
    {"another format", [] { return std::string(64, 'x'); }, Code::kInvalid,
     "magic: not a GGUF file"},
    {"version 1", [] { return with_version(1); }, Code::kUnsupported,
     "GGUF version 1 is not supported"},
    {"version 4", [] { return with_version(4); }, Code::kUnsupported,
     "GGUF version 4 is not supported"},
    {"big-endian", [] { return with_version(0x03000000); }, Code::kUnsupported, "big-endian"},
    {"absurd key count", [] { return with_counts(kHuge, {}); }, Code::kInvalid,
     "metadata count: 1844"},
    {"absurd tensor count", [] { return with_counts({}, kHuge); }, Code::kInvalid,
     "tensor count: 1844"},
    {"one key too many", [] { return with_counts(65537, {}); }, Code::kInvalid, "limit of 65536"},
    {"keys that are not there", [] { return with_counts(60000, {}); }, Code::kInvalid,
     "metadata key 0"},
    {"tensors that are not there", [] { return with_counts({}, 60000); }, Code::kInvalid,
     "name of tensor 0"},
};

const Hostile kMetadata[] = {
    {"unknown value type", [] { return GgufWriter().put_raw("k", 13, "").bytes(); }, Code::kInvalid,
     "metadata k: type: 13 is not a value type"},
    {"unknown element type",
     [] { return GgufWriter().put_raw("k", GgufWriter::kArray, array_of(99, 1)).bytes(); },
     Code::kInvalid, "metadata k: element type: 99"},
    {"array of arrays",
     [] {
       return GgufWriter()
           .put_raw("k", GgufWriter::kArray, array_of(GgufWriter::kArray, 1))
           .bytes();
     },
     Code::kUnsupported, "metadata k: is an array of arrays"},
    {"absurd array",
     [] {
       return GgufWriter()
           .put_raw("k", GgufWriter::kArray, array_of(GgufWriter::kU64, kHuge))
           .bytes();
     },
     Code::kInvalid, "metadata k: 18446744073709551615 elements exceed"},
    {"array beyond the file",
     [] {
       return GgufWriter()
           .put_raw("k", GgufWriter::kArray, array_of(GgufWriter::kU64, 9999))
           .bytes();
     },
     Code::kInvalid, "9999 elements of type u64 do not fit"},
    {"array of strings beyond the file",
     [] {
       return GgufWriter()
           .put_raw("k", GgufWriter::kArray,
                    array_of(GgufWriter::kString, 2) + gguf_string("ab") + raw_u64(99))
           .bytes();
     },
     Code::kInvalid, "metadata k: element 1: needs 99 bytes"},
    {"absurd string in an array",
     [] {
       return GgufWriter()
           .put_raw("k", GgufWriter::kArray, array_of(GgufWriter::kString, 1) + raw_u64(kHuge))
           .bytes();
     },
     Code::kInvalid, "element 0: length 18446744073709551615 exceeds the limit"},
    {"absurd string",
     [] { return GgufWriter().put_raw("k", GgufWriter::kString, raw_u64(kHuge)).bytes(); },
     Code::kInvalid, "metadata k: length 18446744073709551615 exceeds"},
    {"string beyond the file",
     [] { return GgufWriter().put_raw("k", GgufWriter::kString, raw_u64(5000)).bytes(); },
     Code::kInvalid, "metadata k: needs 5000 bytes"},
    {"long key", [] { return GgufWriter().put_u8(std::string(65536, 'k'), 1).bytes(); },
     Code::kInvalid, "metadata key 0: length 65536 exceeds the limit of 65535"},
    {"empty key", [] { return GgufWriter().put_u8("", 1).bytes(); }, Code::kInvalid,
     "metadata key 0: is empty"},
    {"key with a control character", [] { return GgufWriter().put_u8("a\nb", 1).bytes(); },
     Code::kInvalid, "metadata key 0: holds a byte"},
    {"key twice", [] { return GgufWriter().put_u8("k", 1).put_u8("j", 1).put_u8("k", 2).bytes(); },
     Code::kInvalid, "metadata k: occurs twice"},
    {"bool of 2", [] { return GgufWriter().put_raw("k", GgufWriter::kBool, "\x02").bytes(); },
     Code::kInvalid, "metadata k: a bool must be 0 or 1"},
    {"alignment 0", [] { return with_alignment(0); }, Code::kInvalid,
     "general.alignment: 0 is not a power"},
    {"alignment 4", [] { return with_alignment(4); }, Code::kInvalid,
     "general.alignment: 4 is not a power"},
    {"alignment 24", [] { return with_alignment(24); }, Code::kInvalid,
     "general.alignment: 24 is not a power"},
    {"absurd alignment", [] { return with_alignment(1ull << 63); }, Code::kInvalid,
     "general.alignment: 9223"},
    {"alignment as text", [] { return GgufWriter().put_string("general.alignment", "32").bytes(); },
     Code::kInvalid, "general.alignment: is of type string"},
};

const Hostile kTensors[] = {
    {"no dimensions", [] { return one_tensor({}, 0, 0); }, Code::kInvalid,
     "tensor t: 0 dimensions"},
    {"five dimensions",
     [] {
       return one_tensor({1, 1, 1, 1, 1}, 0, 0);
     },
     Code::kInvalid, "tensor t: 5 dimensions"},
    {"a dimension of 0",
     [] {
       return one_tensor({4, 0}, 0, 0);
     },
     Code::kInvalid, "dimension 1 is 0"},
    {"an absurd dimension", [] { return one_tensor({kHuge}, 0, 0); }, Code::kInvalid,
     "dimension 0 is 1844"},
    {"a product that wraps to 0",
     [] {
       return one_tensor({1ull << 32, 1ull << 32}, 0, 0);
     },
     Code::kInvalid, "more elements than a file"},
    {"a product that wraps to 16",
     [] {
       return one_tensor({16, 2, 1ull << 63, 1}, 0, 0);
     },
     Code::kInvalid, "dimension 2 is 9223372036854775808"},
    {"an unsupported storage type", [] { return one_tensor({256}, 23, 0); }, Code::kUnsupported,
     "tensor t: storage type IQ4_XS is not supported (supported: F32, F16, Q4_0, Q4_1, Q5_0, Q5_1, "
     "Q8_0, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, IQ4_NL, BF16)"},
    {"an unknown storage type", [] { return one_tensor({32}, 4711, 0); }, Code::kUnsupported,
     "tensor t: storage type number 4711 is not known"},
    {"half a block", [] { return one_tensor({48}, 8, 0); }, Code::kInvalid,
     "rows of 48 elements are not a multiple of 32, the block of Q8_0"},
    {"an offset between alignments", [] { return one_tensor({4}, 0, 16); }, Code::kInvalid,
     "tensor t: offset 16 is not a multiple of the alignment 32"},
    {"an offset beyond the file", [] { return one_tensor({4}, 0, 4096); }, Code::kInvalid,
     "truncated?"},
    {"an absurd offset", [] { return one_tensor({4}, 0, kHuge - 31); }, Code::kInvalid,
     "is absurd"},
    {"a tensor over the end", [] { return one_tensor({65}, 0, 0); }, Code::kInvalid,
     "tensor t: ends at byte 324 but the file has 320: truncated?"},
    {"the same name twice",
     [] {
       return GgufWriter()
           .describe_tensor("t", {8}, 0, 0)
           .describe_tensor("t", {8}, 0, 32)
           .add_data(64)
           .bytes();
     },
     Code::kInvalid, "tensor t: occurs twice"},
    {"the same bytes twice",
     [] {
       return GgufWriter()
           .describe_tensor("t", {16}, 0, 0)
           .describe_tensor("u", {8}, 0, 32)
           .add_data(64)
           .bytes();
     },
     Code::kInvalid, "tensor u: overlaps tensor t"},
    {"an empty name",
     [] { return GgufWriter().describe_tensor("", {8}, 0, 0).add_data(64).bytes(); },
     Code::kInvalid, "name of tensor 0: is empty"},
};

void expect_refused(const Hostile& hostile) {
  SCOPED_TRACE(hostile.name);
  Result<std::unique_ptr<GgufFile>> file = open_bytes(hostile.bytes());
  ASSERT_FALSE(file);
  EXPECT_EQ(file.error().code, hostile.code) << file.error().text();
  EXPECT_THAT(file.error().message, HasSubstr(hostile.message));
}

TEST(HostileGguf, HeadersAreRefusedByField) {
  for (const Hostile& hostile : kHeaders) expect_refused(hostile);
}

TEST(HostileGguf, MetadataAreRefusedByKey) {
  for (const Hostile& hostile : kMetadata) expect_refused(hostile);
}

TEST(HostileGguf, TensorsAreRefusedByName) {
  for (const Hostile& hostile : kTensors) expect_refused(hostile);
}

TEST(HostileGguf, AFileCutAnywhereIsRefused) {
  std::string whole = testing::tiny_llama().bytes();
  ASSERT_TRUE(open_bytes(whole));
  for (size_t part = 0; part < 50; ++part) {
    Result<std::unique_ptr<GgufFile>> file = open_bytes(whole.substr(0, whole.size() * part / 50));
    ASSERT_FALSE(file) << part << "/50";
    EXPECT_EQ(file.error().code, Code::kInvalid);
  }
}

TEST(HostileGguf, AFileCutAtAnyByteOfItsHeadIsRefused) {
  GgufWriter writer;
  writer.put_u32("number", 1).put_strings("texts", {"a", "b"}).put_bool("flag", true);
  writer.add_tensor("t", {8}, WeightType::kF32, std::vector<float>(8, 1.0f));
  std::string whole = writer.bytes();
  for (size_t bytes = 0; bytes < whole.size(); ++bytes)
    ASSERT_FALSE(open_bytes(std::string_view(whole).substr(0, bytes))) << bytes << " bytes";
}

TEST(HostileGguf, FlippedBytesNeverCrash) {
  std::string whole =
      testing::tiny_llama({.layers = 1, .vocabulary = testing::kTinyTokens}).bytes();
  testing::TinyRandom random(7);
  constexpr size_t kHead = 8192;  // header, metadata and tensor table; weights are of no interest
  ASSERT_GT(whole.size(), kHead);
  for (int round = 0; round < 2000; ++round) {
    std::string bytes = whole;
    for (int flips = 0; flips < 4; ++flips)
      bytes[random.next() % kHead] = static_cast<char>(random.next());
    Result<std::unique_ptr<GgufFile>> file = open_bytes(bytes);
    if (!file) continue;
    // What opens must also be safe to read, to the last byte of every string.
    size_t sum = 0;
    Result<std::vector<std::string_view>> tokens = (*file)->get_strings("tokenizer.ggml.tokens");
    if (tokens)
      for (std::string_view token : *tokens) sum += std::string(token).size();
    for (const TensorView& view : (*file)->tensors().all())
      sum += static_cast<size_t>(view.data[view.bytes - 1]);
    EXPECT_GT(sum, 0u);
  }
}

TEST(HostileGguf, ARefusedFileCostsNoMemory) {
  // Claims 2^22 strings, and has the bytes for the first thousand of them.
  std::string strings = array_of(GgufWriter::kString, 1u << 22);
  for (int i = 0; i < 1000; ++i) strings += gguf_string("x");
  std::string bytes = GgufWriter().put_raw("k", GgufWriter::kArray, strings).bytes();
  open_bytes(bytes).error();
  EXPECT_LT(testing::peak_growth_kib([&] {
              for (int i = 0; i < 200; ++i) ASSERT_FALSE(open_bytes(bytes));
            }),
            16 * 1024);
}

/// `head`, and zeros up to four gigabytes that take no room on the disk.
struct SparseFile {
  explicit SparseFile(const std::string& head) : file(".gguf") {
    GgufWriter::write_file(file.path(), head);
    std::filesystem::resize_file(file.path(), uint64_t{4} << 30);
  }
  TempFile file;
};

std::string counts(uint64_t tensors, uint64_t keys) {
  return std::string("GGUF\3\0\0\0", 8) + raw_u64(tensors) + raw_u64(keys);
}

std::string key_head(std::string_view key, uint32_t type) {
  std::string out = gguf_string(key);
  append_raw(out, type);
  return out;
}

TEST(HostileGguf, AHeaderOfFourGigabytesThatIsThereIsRefused) {
  const std::string text = key_head("k", GgufWriter::kString);
  const std::string list = key_head("k", GgufWriter::kArray);
  const std::pair<std::string, const char*> cases[] = {
      {counts(0, UINT32_MAX), "metadata count: 4294967295 exceeds the limit of 65536"},
      {counts(UINT32_MAX, 0), "tensor count: 4294967295 exceeds the limit of 65536"},
      {counts(65536, 65536), "metadata key 0: is empty"},
      {counts(65536, 0), "name of tensor 0: is empty"},
      {counts(0, 2) + raw_u64((uint64_t{4} << 30) - 32), "metadata key 0: length 4294967264"},
      {counts(0, 2) + text + raw_u64((uint64_t{4} << 30) - 64), "metadata k: length 4294967232"},
      {counts(0, 2) + text + raw_u64(16 << 20), "metadata key 1: is empty"},
      {counts(0, 2) + list + array_of(GgufWriter::kU8, uint64_t{4} << 30),
       "metadata k: 4294967296 elements exceed the limit of 4194304"},
      {counts(0, 2) + list + array_of(GgufWriter::kU64, 1 << 22), "metadata key 1: is empty"},
      {counts(0, 2) + list + array_of(GgufWriter::kString, 1 << 22), "metadata key 1: is empty"},
  };
  for (const auto& [head, message] : cases) {
    const SparseFile sparse(head);
    Result<std::unique_ptr<GgufFile>> file = invalid("");
    // The pages of 2^22 empty strings are looked at, no others.
    EXPECT_LT(testing::peak_growth_kib([&] { file = GgufFile::open(sparse.file.path()); }),
              40 * 1024);
    ASSERT_FALSE(file) << message;
    EXPECT_THAT(file.error().message, HasSubstr(message));
  }
}

TEST(HostileGguf, MetadataThatGoOnAndOnAreRefused) {
  // A key each page that skips 16 MiB: the limit ends it long before the count.
  std::string head = counts(0, 65536);
  std::string key = key_head("k", GgufWriter::kString) + raw_u64(16 << 20);
  const TempFile file(".gguf");
  GgufWriter::write_file(file.path(), head);
  std::fstream out(file.path(), std::ios::binary | std::ios::in | std::ios::out);
  for (uint64_t i = 0; i < 64; ++i) {
    key[8] = static_cast<char>('A' + i % 64);
    out.seekp(static_cast<std::streamoff>(head.size() + i * (key.size() + (16 << 20))));
    out.write(key.data(), static_cast<std::streamsize>(key.size()));
  }
  out.close();
  const auto opened = GgufFile::open(file.path());
  ASSERT_FALSE(opened);
  EXPECT_THAT(opened.error().message, HasSubstr("metadata goes beyond the limit of 67108864"));
}

}  // namespace
}  // namespace ebb::models
