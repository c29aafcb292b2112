// GgufFile: maps a file, has it walked by gguf_cursor, then checks what only the whole shows
// (duplicates, places of tensors), and answers look-ups in place.
#include "models/gguf.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <limits>

#include "base/checksum.h"
#include "models/gguf_cursor.h"

namespace ebb::models {
namespace {

static_assert(std::endian::native == std::endian::little, "GGUF files are read in place");

constexpr uint64_t kAlignmentMax = 1ull << 20;
constexpr uint64_t kAlignmentDefault = 32;
constexpr std::string_view kAlignmentKey = "general.alignment";

std::string number(uint64_t value) { return std::to_string(value); }

/// Entries and tensors stay in the file's order; lookup is a binary search in an index sorted by
/// name. A hash table would be quicker, and open to files with chosen collisions.
template <class T, class Name>
std::vector<uint32_t> index_by_name(const std::vector<T>& items, Name name) {
  std::vector<uint32_t> index(items.size());
  for (uint32_t i = 0; i < index.size(); ++i) index[i] = i;
  std::sort(index.begin(), index.end(),
            [&](uint32_t a, uint32_t b) { return name(items[a]) < name(items[b]); });
  return index;
}

template <class T, class Name>
const T* find_by_name(const std::vector<T>& items, const std::vector<uint32_t>& index,
                      std::string_view wanted, Name name) {
  auto at = std::lower_bound(index.begin(), index.end(), wanted,
                             [&](uint32_t i, std::string_view w) { return name(items[i]) < w; });
  if (at == index.end() || name(items[*at]) != wanted) return nullptr;
  return &items[*at];
}

template <class T, class Name>
std::optional<std::string> first_duplicate(const std::vector<T>& items,
                                           const std::vector<uint32_t>& index, Name name) {
  for (size_t i = 1; i < index.size(); ++i)
    if (name(items[index[i - 1]]) == name(items[index[i]]))
      return std::string(name(items[index[i]]));
  return std::nullopt;
}

std::string_view entry_key(const Entry& entry) { return entry.key; }
std::string_view tensor_name(const TensorView& view) { return view.name; }

template <class T>
T load(const std::byte* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

/// An integer of any width as (negative?, magnitude); nothing for other types.
struct Integer {
  bool negative = false;
  uint64_t magnitude = 0;
};

Integer from_signed(int64_t value) {
  if (value < 0) return {true, 0 - static_cast<uint64_t>(value)};
  return {false, static_cast<uint64_t>(value)};
}

std::optional<Integer> load_integer(ValueType type, const std::byte* at) {
  switch (type) {
    case ValueType::kU8:
      return Integer{false, load<uint8_t>(at)};
    case ValueType::kU16:
      return Integer{false, load<uint16_t>(at)};
    case ValueType::kU32:
      return Integer{false, load<uint32_t>(at)};
    case ValueType::kU64:
      return Integer{false, load<uint64_t>(at)};
    case ValueType::kI8:
      return from_signed(load<int8_t>(at));
    case ValueType::kI16:
      return from_signed(load<int16_t>(at));
    case ValueType::kI32:
      return from_signed(load<int32_t>(at));
    case ValueType::kI64:
      return from_signed(load<int64_t>(at));
    default:
      return std::nullopt;
  }
}

std::string type_text(const Entry& entry) {
  if (entry.type != ValueType::kArray) return value_type_name(entry.type);
  return std::string("array of ") + value_type_name(entry.element);
}

Error wrong_type(const Entry& entry, const char* wanted) {
  return invalid("metadata " + std::string(entry.key) + ": is of type " + type_text(entry) +
                 ", wanted " + wanted);
}

/// The bytes of a string value at `at`; lengths were checked when the file was opened.
std::string_view load_string(const std::byte* at) {
  return {reinterpret_cast<const char*>(at + sizeof(uint64_t)), load<uint64_t>(at)};
}

}  // namespace

struct GgufFile::Impl {
  std::string path;
  const std::byte* base = nullptr;
  uint64_t size = 0;
  std::vector<Entry> entries;
  std::vector<uint32_t> entry_index;
  std::vector<TensorView> tensors;
  std::vector<uint32_t> tensor_index;
  std::optional<Digest> digest;

  ~Impl() {
    if (base != nullptr) munmap(const_cast<std::byte*>(base), size);
  }
  Result<void> map();
  Result<void> parse();
  Result<void> read_metadata(GgufCursor& cursor, uint64_t keys);
  Result<uint64_t> alignment() const;
  Result<void> refuse_split_file() const;
  Result<void> place_tensors(const std::vector<TensorRow>& rows, uint64_t table_end);
  Result<void> check_tensors_apart() const;
  const Entry* find(std::string_view key) const {
    return find_by_name(entries, entry_index, key, entry_key);
  }
  Result<Entry> get(std::string_view key) const;
};

/// The mapping outlives the descriptor. A file that shrinks while it is mapped raises SIGBUS in
/// whoever reads the lost pages: model files must be replaced by rename, never written in place.
Result<void> GgufFile::Impl::map() {
  int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);  // not blocked by a FIFO
  if (fd < 0) {
    std::string reason = std::strerror(errno);
    return errno == ENOENT ? not_found(reason) : invalid("cannot be opened: " + reason);
  }
  struct stat status {};
  void* mapped = MAP_FAILED;
  std::string reason;
  if (fstat(fd, &status) != 0) {
    reason = std::strerror(errno);
  } else if (!S_ISREG(status.st_mode)) {
    reason = "not a regular file";
  } else if (status.st_size == 0) {
    reason = "the file is empty";
  } else {
    mapped = mmap(nullptr, static_cast<size_t>(status.st_size), PROT_READ, MAP_SHARED, fd, 0);
    if (mapped == MAP_FAILED) reason = std::string("cannot be mapped: ") + std::strerror(errno);
  }
  ::close(fd);
  if (mapped == MAP_FAILED) return invalid(reason);
  base = static_cast<const std::byte*>(mapped);
  size = static_cast<uint64_t>(status.st_size);
  return {};
}

Result<void> GgufFile::Impl::read_metadata(GgufCursor& cursor, uint64_t keys) {
  for (uint64_t i = 0; i < keys; ++i) entries.push_back(EBB_TRY(read_gguf_entry(cursor, i)));
  entry_index = index_by_name(entries, entry_key);
  if (auto twice = first_duplicate(entries, entry_index, entry_key))
    return invalid("metadata " + *twice + ": occurs twice");
  return {};
}

Result<uint64_t> GgufFile::Impl::alignment() const {
  const Entry* entry = find(kAlignmentKey);
  if (entry == nullptr) return kAlignmentDefault;
  std::optional<Integer> value = load_integer(entry->type, entry->data);
  if (!value) return wrong_type(*entry, "an integer");
  if (value->negative || !std::has_single_bit(value->magnitude) || value->magnitude < 8 ||
      value->magnitude > kAlignmentMax)
    return invalid("metadata " + std::string(kAlignmentKey) + ": " + (value->negative ? "-" : "") +
                   number(value->magnitude) + " is not a power of two between 8 and " +
                   number(kAlignmentMax));
  return value->magnitude;
}

Result<void> GgufFile::Impl::refuse_split_file() const {
  const Entry* entry = find("split.count");
  if (entry == nullptr) return {};
  std::optional<Integer> count = load_integer(entry->type, entry->data);
  if (!count || count->negative) return wrong_type(*entry, "an unsigned integer");
  if (count->magnitude > 1)
    return unsupported("metadata split.count: this is one of " + number(count->magnitude) +
                       " parts of a model; merge them into one file");
  return {};
}

/// Turns offsets into pointers: each tensor aligned and inside the file.
Result<void> GgufFile::Impl::place_tensors(const std::vector<TensorRow>& rows, uint64_t table_end) {
  uint64_t align = EBB_TRY(alignment());
  uint64_t data_begin = (table_end + align - 1) / align * align;
  for (const TensorRow& row : rows) {
    std::string what = "tensor " + std::string(row.view.name);
    if (row.offset % align != 0)
      return invalid(what + ": offset " + number(row.offset) +
                     " is not a multiple of the alignment " + number(align));
    if (row.offset > std::numeric_limits<uint64_t>::max() - data_begin - row.view.bytes)
      return invalid(what + ": offset " + number(row.offset) + " is absurd");
    uint64_t begin = data_begin + row.offset;
    if (begin + row.view.bytes > size)
      return invalid(what + ": ends at byte " + number(begin + row.view.bytes) +
                     " but the file has " + number(size) + ": truncated?");
    TensorView view = row.view;
    view.data = base + begin;
    tensors.push_back(view);
  }
  return {};
}

Result<void> GgufFile::Impl::check_tensors_apart() const {
  std::vector<TensorView> by_place = tensors;
  std::sort(by_place.begin(), by_place.end(),
            [](const TensorView& a, const TensorView& b) { return a.data < b.data; });
  for (size_t i = 1; i < by_place.size(); ++i) {
    const TensorView& left = by_place[i - 1];
    const TensorView& right = by_place[i];
    if (left.data + left.bytes > right.data)
      return invalid("tensor " + std::string(right.name) + ": overlaps tensor " +
                     std::string(left.name));
  }
  return {};
}

Result<void> GgufFile::Impl::parse() {
  GgufCursor cursor(base, size);
  GgufHeader header = EBB_TRY(read_gguf_header(cursor));
  EBB_TRY_VOID(read_metadata(cursor, header.keys));
  EBB_TRY_VOID(refuse_split_file());
  std::vector<TensorRow> rows;
  for (uint64_t i = 0; i < header.tensors; ++i)
    rows.push_back(EBB_TRY(read_gguf_tensor_row(cursor, i)));
  EBB_TRY_VOID(place_tensors(rows, cursor.at()));
  tensor_index = index_by_name(tensors, tensor_name);
  if (auto twice = first_duplicate(tensors, tensor_index, tensor_name))
    return invalid("tensor " + *twice + ": occurs twice");
  return check_tensors_apart();
}

Result<Entry> GgufFile::Impl::get(std::string_view key) const {
  const Entry* entry = find(key);
  if (entry == nullptr) return not_found("metadata " + std::string(key) + ": not in " + path);
  return *entry;
}

GgufFile::GgufFile() : impl_(std::make_unique<Impl>()) {}
GgufFile::~GgufFile() = default;

Result<std::unique_ptr<GgufFile>> GgufFile::open(const std::string& path) {
  std::unique_ptr<GgufFile> file(new GgufFile);
  file->impl_->path = path;
  Result<void> done = file->impl_->map();
  if (done) done = file->impl_->parse();
  if (!done) return with_context("model file " + path, done.error());
  return file;
}

Result<uint64_t> GgufFile::get_u64(std::string_view key) const {
  Entry entry = EBB_TRY(impl_->get(key));
  std::optional<Integer> value = load_integer(entry.type, entry.data);
  if (!value) return wrong_type(entry, "an integer");
  if (value->negative)
    return invalid("metadata " + std::string(key) + ": -" + number(value->magnitude) +
                   " is negative");
  return value->magnitude;
}

Result<double> GgufFile::get_f64(std::string_view key) const {
  Entry entry = EBB_TRY(impl_->get(key));
  if (entry.type == ValueType::kF32) return double{load<float>(entry.data)};
  if (entry.type == ValueType::kF64) return load<double>(entry.data);
  return wrong_type(entry, "f32 or f64");
}

Result<bool> GgufFile::get_bool(std::string_view key) const {
  Entry entry = EBB_TRY(impl_->get(key));
  if (entry.type != ValueType::kBool) return wrong_type(entry, "bool");
  return entry.data[0] == std::byte{1};
}

Result<std::string> GgufFile::get_string(std::string_view key) const {
  Entry entry = EBB_TRY(impl_->get(key));
  if (entry.type != ValueType::kString) return wrong_type(entry, "string");
  return std::string(load_string(entry.data));
}

Result<std::vector<std::string_view>> GgufFile::get_strings(std::string_view key) const {
  Entry entry = EBB_TRY(impl_->get(key));
  if (entry.type != ValueType::kArray || entry.element != ValueType::kString)
    return wrong_type(entry, "array of string");
  std::vector<std::string_view> strings;
  strings.reserve(entry.count);
  const std::byte* at = entry.data;
  for (uint64_t i = 0; i < entry.count; ++i) {
    strings.push_back(load_string(at));
    at += sizeof(uint64_t) + strings.back().size();
  }
  return strings;
}

Result<std::vector<int32_t>> GgufFile::get_i32s(std::string_view key) const {
  constexpr uint64_t kMax = std::numeric_limits<int32_t>::max();
  Entry entry = EBB_TRY(impl_->get(key));
  if (entry.type != ValueType::kArray) return wrong_type(entry, "array of integers");
  std::vector<int32_t> values;
  for (uint64_t i = 0; i < entry.count; ++i) {
    std::optional<Integer> value =
        load_integer(entry.element, entry.data + i * value_type_bytes(entry.element));
    if (!value) return wrong_type(entry, "array of integers");
    if (value->magnitude > kMax + (value->negative ? 1 : 0))
      return invalid("metadata " + std::string(key) + ": element " + number(i) +
                     " does not fit into 32 bits");
    int64_t magnitude = static_cast<int64_t>(value->magnitude);
    values.push_back(static_cast<int32_t>(value->negative ? -magnitude : magnitude));
  }
  return values;
}

bool GgufFile::has(std::string_view key) const { return impl_->find(key) != nullptr; }

Result<TensorView> GgufFile::tensor(std::string_view name) const {
  const TensorView* view = find_by_name(impl_->tensors, impl_->tensor_index, name, tensor_name);
  if (view == nullptr) return not_found("tensor " + std::string(name) + ": not in " + impl_->path);
  return *view;
}

bool GgufFile::has_tensor(std::string_view name) const { return tensor(name).has_value(); }

std::span<const TensorView> GgufFile::tensors() const { return impl_->tensors; }

const Digest& GgufFile::digest() const {
  if (!impl_->digest)
    impl_->digest = DigestBuilder().add(std::span(impl_->base, impl_->size)).digest();
  return *impl_->digest;
}

const std::string& GgufFile::path() const { return impl_->path; }

}  // namespace ebb::models
