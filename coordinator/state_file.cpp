#include "coordinator/state_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

namespace ebb::coordinator {
namespace {

constexpr const char* kName = "state.json";

Error disk_error(const std::string& path) {
  return unavailable(path + ": " + std::strerror(errno));
}

Result<void> write_synced(const std::string& path, const std::string& text) {
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd < 0) return disk_error(path);
  const bool written = ::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size());
  const bool synced = written && ::fsync(fd) == 0;
  if (!synced) {
    const Error error = disk_error(path);
    ::close(fd);
    return error;
  }
  ::close(fd);
  return {};
}

/// A rename lasts when the folder's own entry is on disk.
Result<void> sync_folder(const std::string& folder) {
  const int fd = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return disk_error(folder);
  const bool synced = ::fsync(fd) == 0;
  const Error error = disk_error(folder);
  ::close(fd);
  if (!synced) return error;
  return {};
}

}  // namespace

Result<std::unique_ptr<StateFile>> StateFile::open(const std::string& folder) {
  std::error_code failed;
  std::filesystem::create_directories(folder, failed);
  if (failed) return unavailable(folder + ": " + failed.message());
  auto state = std::unique_ptr<StateFile>(new StateFile(folder));
  EBB_TRY_VOID(state->load());
  // Finds out now, not with the first request, that nothing can be written here.
  EBB_TRY_VOID(state->save(state->epoch_, state->sequences_below_));
  return state;
}

Result<void> StateFile::load() {
  const std::string path = folder_ + "/" + kName;
  std::ifstream file(path);
  if (!file) return {};
  const auto json = nlohmann::json::parse(file, nullptr, false);
  const auto is_number = [&json](const char* key) {
    return json.contains(key) && json[key].is_number_unsigned();
  };
  if (!json.is_object() || !is_number("epoch") || !is_number("sequences_below")) {
    return corrupt(path +
                   ": not a coordinator's state; its epoch and sequence ids may not be guessed");
  }
  epoch_ = json["epoch"].get<uint64_t>();
  sequences_below_ = std::max<uint64_t>(json["sequences_below"].get<uint64_t>(), 1);
  next_sequence_ = sequences_below_;
  return {};
}

Result<void> StateFile::save(uint64_t epoch, uint64_t sequences_below) const {
  const nlohmann::json json = {{"epoch", epoch}, {"sequences_below", sequences_below}};
  const std::string path = folder_ + "/" + kName;
  const std::string draft = path + ".new";
  EBB_TRY_VOID(write_synced(draft, json.dump() + "\n"));
  if (::rename(draft.c_str(), path.c_str()) != 0) return disk_error(path);
  return sync_folder(folder_);
}

Result<Epoch> StateFile::mint_epoch() {
  const std::lock_guard lock(mutex_);
  EBB_TRY_VOID(save(epoch_ + 1, sequences_below_));
  return Epoch{++epoch_};
}

Result<SeqId> StateFile::mint_sequence() {
  const std::lock_guard lock(mutex_);
  if (next_sequence_ == sequences_below_) {
    EBB_TRY_VOID(save(epoch_, sequences_below_ + kSequenceBlock));
    sequences_below_ += kSequenceBlock;
  }
  return SeqId{next_sequence_++};
}

}  // namespace ebb::coordinator
