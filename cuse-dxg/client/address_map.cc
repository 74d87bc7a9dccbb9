#include "cuse-dxg/client/address_map.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <span>
#include <utility>

#include "base/mutex.h"
#include "base/unique_fd.h"

namespace dxg::client {
namespace {

// struct procmap_query of linux/fs.h, Linux 6.11; the headers may be older.
struct MapQuery {
  uint64_t size = sizeof(MapQuery);
  uint64_t flags = 0;
  uint64_t address = 0;
  uint64_t begin = 0, end = 0;
  uint64_t rights = 0;
  uint64_t page_size = 0;
  uint64_t offset = 0;
  uint64_t inode = 0;
  uint32_t device_major = 0, device_minor = 0;
  uint32_t name_size = 0, build_id_size = 0;
  uint64_t name = 0, build_id = 0;
};
static_assert(sizeof(MapQuery) == 104);
constexpr unsigned long kMapQuery = _IOWR('f', 17, MapQuery);
constexpr uint64_t kReadable = 1, kWritable = 2, kShared = 8;

// Of one range: a client may split its mapping by the rights of single pages.
constexpr int kPiecesMax = 64;
// Of the text, where there is nothing better: some thousand mappings, for one address that is asked often. To
// walk takes one pass, and more mappings than a process has by default.
constexpr off_t kTextMax = 1 << 20, kWalkedTextMax = 16 << 20;

// Whether the kernel can be asked for one address, learned from the first map.
bool CanQuery(const UniqueFd& maps) {
  static const bool can = [&] {
    MapQuery query;
    return ioctl(maps.get(), kMapQuery, &query) == 0 || errno != ENOTTY;
  }();
  return can;
}

bool ParseLine(const char* line, MappedRange* range) {
  unsigned long begin, end, offset, inode;
  unsigned device_major, device_minor;
  char rights[5];
  int name = 0;
  if (std::sscanf(line, "%lx-%lx %4s %lx %x:%x %lu %n", &begin, &end, rights, &offset, &device_major,
                  &device_minor, &inode, &name) != 7)
    return false;
  *range = {.begin = begin,
            .end = end,
            .readable = rights[0] == 'r',
            .writable = rights[1] == 'w',
            .shared = rights[3] == 's',
            .offset = offset,
            .file = {makedev(device_major, device_minor), inode},
            .name = line + name};
  return true;
}

class ProcMaps final : public AddressMap {
 public:
  ProcMaps(pid_t tid, UniqueFd maps, bool by_text) : tid_(tid), maps_(std::move(maps)), by_text_(by_text) {}

  Mapped Shows(uint64_t address, uint64_t size, const FileId& file, uint64_t offset) override {
    if (file == FileId{}) return Mapped::kUnknown;
    const uint64_t end = address + size;
    if (end < address) return Mapped::kNo;
    uint64_t covered = address;
    for (int piece = 0; covered < end; ++piece) {
      MappedRange range;
      const Mapped mapped = piece == kPiecesMax ? Mapped::kNo : Find(covered, &range, {});
      if (mapped != Mapped::kYes) return mapped;
      if (!range.shared || range.file != file ||
          range.offset + (covered - range.begin) != offset + (covered - address))
        return Mapped::kNo;
      covered = range.end;
    }
    return Mapped::kYes;
  }

  std::optional<MappedRange> At(uint64_t address) override {
    MappedRange range;
    std::array<char, 4096> name;
    if (Find(address, &range, name) != Mapped::kYes) return std::nullopt;
    return range;
  }

  bool Walk(uint64_t address, uint64_t size, const std::function<bool(const MappedRange&)>& each) override {
    if (!by_text_) return AddressMap::Walk(address, size, each);
    uint64_t covered = address;
    (void)ReadText(kWalkedTextMax, [&](const MappedRange& range) {
      if (range.end <= covered) return true;
      if (range.begin > covered || !each(range)) return false;
      covered = range.end;
      return covered < address + size;
    });
    return covered >= address + size;
  }

  bool is_quick() const override { return !by_text_; }

  bool alive() override {
    MapQuery query;
    if (!by_text_) return ioctl(maps_.get(), kMapQuery, &query) == 0 || errno != ESRCH;
    char byte;
    return pread(maps_.get(), &byte, 1, 0) == 1;
  }

 private:
  Mapped Find(uint64_t address, MappedRange* range, std::span<char> name) {
    if (!by_text_) {
      MapQuery query = {.address = address,
                        .name_size = static_cast<uint32_t>(name.size()),
                        .name = reinterpret_cast<uint64_t>(name.data())};  // Safety: the interface's way
      if (name.empty()) query.name = 0;
      if (ioctl(maps_.get(), kMapQuery, &query) != 0) return Mapped::kNo;
      *range = RangeOf(query);
      if (query.name_size != 0) range->name = name.data();
      return Mapped::kYes;
    }
    MutexLock lock(mutex_);
    if (IsAsLastRead(address)) {
      *range = last_read_;
      return Mapped::kYes;
    }
    const Mapped found = FindInText(address, range);
    if (found == Mapped::kYes) {
      last_read_ = *range;
      last_link_ = LinkOf(*range);
    }
    return found;
  }

  static MappedRange RangeOf(const MapQuery& query) {
    return {.begin = query.begin,
            .end = query.end,
            .readable = (query.rights & kReadable) != 0,
            .writable = (query.rights & kWritable) != 0,
            .shared = (query.rights & kShared) != 0,
            .offset = query.offset,
            .file = {makedev(query.device_major, query.device_minor), query.inode},
            .name = {}};
  }

  Mapped FindInText(uint64_t address, MappedRange* found) {
    Mapped mapped = Mapped::kNo;
    const bool whole = ReadText(kTextMax, [&](const MappedRange& range) {
      if (range.end <= address) return true;
      if (range.begin <= address) {
        *found = range;
        mapped = Mapped::kYes;
      }
      return false;
    });
    return whole ? mapped : Mapped::kUnknown;
  }

  // Line by line, until `each` says false. False: there is more text than that.
  bool ReadText(off_t text_max, const std::function<bool(const MappedRange&)>& each) const {
    std::string text;
    std::array<char, 16384> piece;
    for (off_t at = 0; at < text_max;) {
      const ssize_t got = pread(maps_.get(), piece.data(), piece.size(), at);
      if (got <= 0) return true;
      at += got;
      text.append(piece.data(), static_cast<size_t>(got));
      size_t begin = 0;
      for (size_t end; (end = text.find('\n', begin)) != std::string::npos; begin = end + 1) {
        text[end] = '\0';
        MappedRange range;
        if (ParseLine(text.c_str() + begin, &range) && !each(range)) return true;
      }
      text.erase(0, begin);
    }
    return false;
  }

  // A mapping of a file has a link of its own, named by its bounds. Where that is as it was, so is the
  // mapping, unless a file of the same name, or another part of the file, took its very place. The link is of
  // whatever the process executes, so this address space must have been there after it was read.
  bool IsAsLastRead(uint64_t address) DXG_REQUIRES(mutex_) {
    return address >= last_read_.begin && address < last_read_.end && !last_link_.empty() &&
           LinkOf(last_read_) == last_link_ && alive();
  }
  std::string LinkOf(const MappedRange& range) const {
    std::array<char, 256> target;
    const std::string link = fmt::format("/proc/{}/map_files/{:x}-{:x}", tid_, range.begin, range.end);
    const ssize_t got = readlink(link.c_str(), target.data(), target.size());
    return {target.data(), static_cast<size_t>(std::max<ssize_t>(got, 0))};
  }

  const pid_t tid_;
  const UniqueFd maps_;
  const bool by_text_;
  Mutex mutex_;
  MappedRange last_read_ DXG_GUARDED_BY(mutex_);
  std::string last_link_ DXG_GUARDED_BY(mutex_);
};

std::unique_ptr<AddressMap> OpenMaps(pid_t tid, bool by_text) {
  UniqueFd maps(open(fmt::format("/proc/{}/maps", tid).c_str(), O_RDONLY | O_CLOEXEC));
  if (!maps.valid()) return nullptr;
  by_text = by_text || !CanQuery(maps);
  return std::make_unique<ProcMaps>(tid, std::move(maps), by_text);
}

}  // namespace

std::unique_ptr<AddressMap> AddressMap::Of(pid_t tid) { return OpenMaps(tid, false); }

std::unique_ptr<AddressMap> AddressMap::ByText(pid_t tid) { return OpenMaps(tid, true); }

}  // namespace dxg::client
