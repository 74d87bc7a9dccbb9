#include "hostsim/serve/guest_ram.h"

#include <unistd.h>

#include <algorithm>
#include <iterator>
#include <utility>

#include "base/page.h"
#include "base/shared_memory.h"

namespace dxg::hostsim::serve {
namespace {

constexpr uint64_t kAddressMax = 1ull << 52;  // x86 has no physical address above

}  // namespace

bool GuestRam::Show(uint64_t address, uint64_t bytes, UniqueFd file, uint64_t file_offset) {
  const bool whole = bytes != 0 && (address | bytes) % kPageBytes == 0 && address < kAddressMax &&
                     bytes <= kAddressMax - address;
  if (!whole || file_offset > INT64_MAX - bytes) return false;
  WriterLock lock(mutex_);
  const auto after = ranges_.lower_bound(address);
  if (ranges_.size() >= kRangesMax || (after != ranges_.end() && after->first - address < bytes))
    return false;
  if (after != ranges_.begin() && address - std::prev(after)->first < std::prev(after)->second.bytes)
    return false;
  ranges_[address] = {bytes, std::make_shared<const UniqueFd>(std::move(file)), file_offset};
  return true;
}

bool GuestRam::Forget(uint64_t address) {
  WriterLock lock(mutex_);
  return ranges_.erase(address) != 0;
}

GuestRam::Range GuestRam::At(uint64_t address) {
  ReaderLock lock(mutex_);
  const auto after = ranges_.upper_bound(address);
  if (after == ranges_.begin()) return {};
  const auto& [start, range] = *std::prev(after);
  const uint64_t offset = address - start;
  if (offset >= range.bytes) return {};
  return {range.bytes - offset, range.file, range.file_offset + offset};
}

bool GuestRam::ReadAt(uint64_t address, std::span<std::byte> to) {
  while (!to.empty()) {
    const Range range = At(address);
    const size_t part = std::min<uint64_t>(range.bytes, to.size());
    if (part == 0 || pread(range.file->get(), to.data(), part, static_cast<off_t>(range.file_offset)) !=
                         static_cast<ssize_t>(part))
      return false;
    to = to.subspan(part);
    address += part;
  }
  return true;
}

bool GuestRam::WriteAt(uint64_t address, std::span<const std::byte> from) {
  while (!from.empty()) {
    const Range range = At(address);
    const size_t part = std::min<uint64_t>(range.bytes, from.size());
    if (part == 0 || pwrite(range.file->get(), from.data(), part, static_cast<off_t>(range.file_offset)) !=
                         static_cast<ssize_t>(part))
      return false;
    from = from.subspan(part);
    address += part;
  }
  return true;
}

std::shared_ptr<std::byte> GuestRam::Map(std::span<const uint64_t> frames) {
  if (frames.empty() || frames[0] > kAddressMax / kPageBytes) return nullptr;
  for (size_t i = 1; i < frames.size(); ++i) {
    if (frames[i] != frames[0] + i) return nullptr;
  }
  const Range range = At(frames[0] * kPageBytes);
  if (range.bytes < frames.size() * kPageBytes) return nullptr;
  return MapSharedMemory(range.file->get(), range.file_offset, frames.size() * kPageBytes);
}

// Pages whose frames follow each other are one access.
template <class Access>
bool GpadlPages::InRuns(uint64_t offset, uint64_t bytes, Access access) {
  if (offset > size() || bytes > size() - offset) return false;
  for (uint64_t done = 0; done < bytes;) {
    const uint64_t page = (offset + done) / kPageBytes, in_page = (offset + done) % kPageBytes;
    uint64_t run = 1;
    while (page + run < frames_.size() && run * kPageBytes - in_page < bytes - done &&
           frames_[page + run] == frames_[page] + run)
      ++run;
    const uint64_t part = std::min(bytes - done, run * kPageBytes - in_page);
    if (frames_[page] > kAddressMax / kPageBytes || !access(frames_[page] * kPageBytes + in_page, done, part))
      return false;
    done += part;
  }
  return true;
}

bool GpadlPages::Read(uint64_t offset, std::span<std::byte> to) {
  return InRuns(offset, to.size(), [&](uint64_t address, uint64_t at, uint64_t part) {
    return ram_->ReadAt(address, to.subspan(at, part));
  });
}

bool GpadlPages::Write(uint64_t offset, std::span<const std::byte> from) {
  return InRuns(offset, from.size(), [&](uint64_t address, uint64_t at, uint64_t part) {
    return ram_->WriteAt(address, from.subspan(at, part));
  });
}

}  // namespace dxg::hostsim::serve
