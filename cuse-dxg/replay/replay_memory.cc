#include "cuse-dxg/replay/replay_memory.h"

#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <vector>

#include "base/page.h"
#include "base/shared_memory.h"
#include "cuse-dxg/guest/open_file.h"

namespace dxg::replay {
namespace {

constexpr uint64_t kFileBytes = 256ull << 30;         // of which only what is touched is there
constexpr uint64_t kWindowBegins = 0x1000'0000'0000;  // anywhere

class ReplayedFile final : public guest::SharedObjectFile {
 public:
  ReplayedFile(guest::Driver& driver, const std::shared_ptr<ReplayedObject>& object)
      : SharedObjectFile(driver, object), object_(object) {}
  uint32_t Poll(std::unique_ptr<attach::PollWaiter> waiter) override {
    return object_->Poll(std::move(waiter));
  }

 private:
  const std::shared_ptr<ReplayedObject> object_;
};

}  // namespace

std::unique_ptr<guest::OpenFile> ReplayedObject::Open(guest::Driver& driver,
                                                      std::shared_ptr<SharedObject> self) {
  return std::make_unique<ReplayedFile>(driver, std::static_pointer_cast<ReplayedObject>(self));
}

uint32_t ReplayedObject::Poll(std::unique_ptr<attach::PollWaiter> next) {
  MutexLock lock(waiting);
  if (next != nullptr) waiter.swap(next);
  return ready ? POLLIN : 0;
}

void ReplayedObject::BecomeReady() {
  MutexLock lock(waiting);
  ready = true;
  if (waiter != nullptr) waiter->Wake();
}

Result<std::unique_ptr<ReplayMemory>> ReplayMemory::Create() {
  DXG_ASSIGN(UniqueFd file, MakeSharedMemory("dxg-replay", kFileBytes));
  return std::unique_ptr<ReplayMemory>(new ReplayMemory(std::move(file)));
}

WindowAddress ReplayMemory::AddressOf(const Range& range) {
  return WindowAddress(kWindowBegins + range.offset);
}

std::optional<HostRegion> ReplayMemory::FindRegion(WindowAddress address) {
  MutexLock lock(mutex_);
  if (address.value < kWindowBegins) return std::nullopt;
  const uint64_t offset = address.value - kWindowBegins;
  auto found = regions_.upper_bound(offset);
  if (found == regions_.begin()) return std::nullopt;
  --found;
  if (offset - found->first >= found->second) return std::nullopt;
  HostRegion region;
  region.window_address = WindowAddress(kWindowBegins + found->first);
  region.size = found->second;
  region.file = file_->get();
  region.file_offset = found->first;
  region.keep = file_;
  return region;
}

Result<ReplayMemory::Range> ReplayMemory::For(OfProcess object, uint64_t size, bool* is_new) {
  MutexLock lock(mutex_);
  const auto known = ranges_.find(object);
  *is_new = known == ranges_.end();
  if (!*is_new) return known->second;
  size = (size + kPageBytes - 1) / kPageBytes * kPageBytes;
  if (size > kFileBytes - end_)
    return Status::Refuse(ENOMEM, "a replay has no more than {} bytes of memory", kFileBytes);
  const Range range{end_, size};
  end_ += size;
  regions_[range.offset] = size;
  ranges_[object] = range;
  return range;
}

void ReplayMemory::Share(OfProcess object, const Range& range) {
  MutexLock lock(mutex_);
  ranges_.try_emplace(object, range);
}

uint64_t ReplayMemory::Fill(const Range& range, const std::string& contents) {
  const uint64_t bytes = std::min<uint64_t>(contents.size(), range.size);
  const ssize_t written = pwrite(file_->get(), contents.data(), bytes, static_cast<off_t>(range.offset));
  return written > 0 ? static_cast<uint64_t>(written) : 0;
}

uint64_t ReplayMemory::ValueAt(const Range& range) const {
  uint64_t value = 0;
  const ssize_t got = pread(file_->get(), &value, sizeof(value), static_cast<off_t>(range.offset));
  return got == sizeof(value) ? value : 0;
}

void ReplayMemory::Raise(OfProcess object, uint64_t value) {
  std::vector<std::shared_ptr<ReplayedObject>> ready;
  {
    MutexLock lock(mutex_);
    const auto found = ranges_.find(object);
    if (found == ranges_.end() || ValueAt(found->second) >= value) return;
    const auto at = static_cast<off_t>(found->second.offset);
    if (pwrite(file_->get(), &value, sizeof(value), at) < 0)
      spdlog::error("a fence of the replay cannot be raised: the machine has no memory");
    const auto [begin, end] = waiting_.equal_range(found->second.offset);
    for (auto each = begin; each != end; ++each) {
      auto still = each->second.value <= value ? each->second.object.lock() : nullptr;
      if (still != nullptr) ready.push_back(std::move(still));
    }
  }
  for (const auto& each : ready) each->BecomeReady();
}

std::shared_ptr<ReplayedObject> ReplayMemory::Watch(OfProcess fence, uint64_t value, uint32_t number) {
  MutexLock lock(mutex_);
  const auto found = ranges_.find(fence);
  if (found == ranges_.end()) return nullptr;
  auto object = std::make_shared<ReplayedObject>(number, ValueAt(found->second) >= value);
  std::erase_if(waiting_, [](const auto& each) { return each.second.object.expired(); });
  waiting_.emplace(found->second.offset, Waiting{value, object});
  return object;
}

void ReplayMemory::KeepOwn(OfProcess object, uint64_t address) {
  MutexLock lock(mutex_);
  own_[object] = address;
}

uint64_t ReplayMemory::Own(OfProcess object) {
  MutexLock lock(mutex_);
  const auto found = own_.find(object);
  return found == own_.end() ? 0 : found->second;
}

void ReplayMemory::Forget(uint32_t process) {
  MutexLock lock(mutex_);
  std::erase_if(own_, [process](const auto& each) { return each.first.first == process; });
  std::erase_if(ranges_, [process](const auto& each) { return each.first.first == process; });
}

}  // namespace dxg::replay
