#include "kvstore/disk_space.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/units.h"

namespace ebb::kvstore {

uint64_t blocks_in(const std::string& directory) {
  DIR* dir = opendir(directory.c_str());
  if (dir == nullptr) return 0;
  uint64_t bytes = 0;
  while (const dirent* entry = readdir(dir)) {
    struct stat facts;
    if (fstatat(dirfd(dir), entry->d_name, &facts, AT_SYMLINK_NOFOLLOW) == 0 &&
        S_ISREG(facts.st_mode)) {
      bytes += static_cast<uint64_t>(facts.st_blocks) * 512;
    }
  }
  closedir(dir);
  return bytes;
}

Result<FileSystemRoom> file_system_room(const std::string& directory) {
  struct statvfs facts;
  if (statvfs(directory.c_str(), &facts) != 0) {
    return unavailable("statvfs " + directory + ": " + std::strerror(errno));
  }
  const uint64_t block = facts.f_frsize;
  return FileSystemRoom{facts.f_blocks * block, facts.f_bavail * block};
}

uint64_t effective_reserve(const DiskLimits& limits, const FileSystemRoom& room) {
  return std::min(limits.reserve_bytes, room.total_bytes / 10);
}

Result<void> check_reserve(const DiskLimits& limits, const FileSystemRoom& room, uint64_t bytes) {
  const uint64_t reserve = effective_reserve(limits, room);
  if (room.free_bytes >= reserve && room.free_bytes - reserve >= bytes) return {};
  return exhausted("file system has " + format_bytes(room.free_bytes) + " free, " +
                   format_bytes(reserve) + " of it in reserve");
}

}  // namespace ebb::kvstore
