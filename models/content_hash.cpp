#include "models/content_hash.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/checksum.h"

namespace ebb::models {
namespace {

constexpr size_t kBufferBytes = 256 << 10;  // stays in the second-level cache

struct StateDeleter {
  void operator()(XXH3_state_t* state) const { XXH3_freeState(state); }
};

}  // namespace

Result<Digest> content_hash(const MappedFile& file) {
  const std::unique_ptr<XXH3_state_t, StateDeleter> state(XXH3_createState());
  EBB_CHECK(state != nullptr && XXH3_128bits_reset(state.get()) == XXH_OK);
  std::vector<std::byte> buffer(kBufferBytes);
  const uint64_t size = file.bytes().size();
  for (uint64_t at = 0; at < size;) {
    const ssize_t got =
        pread(file.descriptor(), buffer.data(), buffer.size(), static_cast<off_t>(at));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return invalid(file.path() + ": cannot be read: " + std::strerror(errno));
    if (got == 0) return invalid(file.path() + ": became shorter while it was read");
    EBB_CHECK(XXH3_128bits_update(state.get(), buffer.data(), static_cast<size_t>(got)) == XXH_OK);
    at += static_cast<uint64_t>(got);
  }
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(state.get()));
  Digest digest;
  static_assert(sizeof canonical.digest == sizeof digest.bytes);
  std::memcpy(digest.bytes.data(), canonical.digest, sizeof canonical.digest);
  return digest;
}

Result<Digest> model_digest(std::span<const MappedFile* const> files) {
  DigestBuilder builder;
  builder.add(std::string_view("ebb model 2")).add_u64(files.size());
  for (const MappedFile* file : files)
    builder.add_u64(file->bytes().size()).add(EBB_TRY(content_hash(*file)));
  return builder.digest();
}

}  // namespace ebb::models
