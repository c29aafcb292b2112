#include "models/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

namespace ebb::models {
namespace {

/// A descriptor that closes itself.
class OpenFile {
 public:
  explicit OpenFile(int fd) : fd_(fd) {}
  ~OpenFile() {
    if (fd_ >= 0) ::close(fd_);
  }
  OpenFile(const OpenFile&) = delete;
  OpenFile& operator=(const OpenFile&) = delete;
  int fd() const { return fd_; }
  int release() { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

std::string reason() { return std::strerror(errno); }

/// The size of a regular file that is not empty.
Result<uint64_t> regular_size(int fd) {
  if (fd < 0)
    return errno == ENOENT ? not_found(reason()) : invalid("cannot be opened: " + reason());
  struct stat status {};
  if (fstat(fd, &status) != 0) return invalid(reason());
  if (!S_ISREG(status.st_mode)) return invalid("not a regular file");
  if (status.st_size == 0) return invalid("the file is empty");
  return static_cast<uint64_t>(status.st_size);
}

int open_for_reading(const std::string& path) {
  return ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);  // not blocked by a FIFO
}

}  // namespace

Result<std::unique_ptr<MappedFile>> MappedFile::open(const std::string& path) {
  OpenFile file(open_for_reading(path));
  const uint64_t size = EBB_TRY(regular_size(file.fd()));
  void* mapped = mmap(nullptr, size, PROT_READ, MAP_SHARED, file.fd(), 0);
  if (mapped == MAP_FAILED) return invalid("cannot be mapped: " + reason());
  return std::unique_ptr<MappedFile>(
      new MappedFile(path, {static_cast<const std::byte*>(mapped), size}, file.release()));
}

MappedFile::~MappedFile() {
  munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
  ::close(descriptor_);
}

void forget_mapped_pages(const std::byte* data, uint64_t bytes) {
  const auto page = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  const uint64_t begin = (reinterpret_cast<uint64_t>(data) + page - 1) / page * page;
  const uint64_t end = (reinterpret_cast<uint64_t>(data) + bytes) / page * page;
  // Advice: where it is not taken, the pages stay, and nothing else changes.
  if (begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
}

Result<std::string> read_small_file(const std::string& path, uint64_t bytes_max) {
  const OpenFile file(open_for_reading(path));
  const uint64_t size = EBB_TRY(regular_size(file.fd()));
  if (size > bytes_max)
    return invalid("has " + std::to_string(size) + " bytes, over the limit of " +
                   std::to_string(bytes_max));
  std::string text(size, '\0');
  for (uint64_t done = 0; done < size;) {
    const ssize_t got = ::read(file.fd(), text.data() + done, size - done);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return invalid("cannot be read: " + reason());
    if (got == 0) return invalid("ended while it was read");
    done += static_cast<uint64_t>(got);
  }
  return text;
}

}  // namespace ebb::models
