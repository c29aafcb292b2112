// The identity of model files.
#include "models/content_hash.h"

#include <gtest/gtest.h>

#include <cstring>
#include <string>

#include "base/checksum.h"
#include "tests/support/gguf_writer.h"
#include "tests/support/temp_file.h"

namespace ebb::models {
namespace {

using ::ebb::testing::TempFile;

std::unique_ptr<MappedFile> mapped(const TempFile& temp, std::string_view content) {
  testing::GgufWriter::write_file(temp.path(), content);
  auto file = MappedFile::open(temp.path());
  EBB_CHECK(file.has_value());
  return *std::move(file);
}

TEST(ContentHash, IsXxh3OfTheBytes) {
  TempFile temp(".bin");
  // xxhsum -H128 says so.
  EXPECT_EQ(to_hex(*content_hash(*mapped(temp, "ebb"))), "2ba7fdd7f35836519820c7390f1bb2ce");
}

TEST(ContentHash, SeesEveryByteOfAFileLargerThanItsBuffer) {
  TempFile temp(".bin");
  std::string content(1'000'003, 'x');
  const Digest whole = *content_hash(*mapped(temp, content));
  for (size_t at : {size_t{0}, size_t{262143}, size_t{262144}, size_t{1'000'002}}) {
    std::string changed = content;
    changed[at] = 'y';
    EXPECT_NE(*content_hash(*mapped(temp, changed)), whole) << at;
  }
  EXPECT_EQ(*content_hash(*mapped(temp, content)), whole);
}

TEST(ModelDigest, DependsOnEachFileAndTheirOrder) {
  TempFile a(".bin"), b(".bin");
  const auto one = mapped(a, "one"), two = mapped(b, "two");
  const MappedFile* forward[] = {one.get(), two.get()};
  const MappedFile* backward[] = {two.get(), one.get()};
  const MappedFile* alone[] = {one.get()};
  EXPECT_EQ(*model_digest(forward), *model_digest(forward));
  EXPECT_NE(*model_digest(forward), *model_digest(backward));
  EXPECT_NE(*model_digest(forward), *model_digest(alone));
}

TEST(ContentHash, SaysWhenAFileBecameShorter) {
  TempFile temp(".bin");
  const auto file = mapped(temp, std::string(100, 'x'));
  testing::GgufWriter::write_file(temp.path(), "short");
  EXPECT_EQ(content_hash(*file).error().code, Code::kInvalid);
}

}  // namespace
}  // namespace ebb::models
