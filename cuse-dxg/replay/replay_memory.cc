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

constexpr uint64_t kFileBytes = 256ull << 30;  // of a process; only what is touched is there
constexpr uint64_t kWindowEnds = 1ull << 63;

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

std::optional<HostRegion> ReplayMemory::FindRegion(WindowAddress address) {
  MutexLock lock(mutex_);
  auto found = regions_.upper_bound(address);
  if (found == regions_.begin()) return std::nullopt;
  --found;
  const Range& range = *found->second;
  if (address - range.window_address >= range.size) return std::nullopt;
  HostRegion region;
  region.window_address = range.window_address;
  region.size = range.size;
  region.file = range.file->get();
  region.file_offset = range.offset;
  region.keep = found->second;
  return region;
}

Result<std::shared_ptr<const ReplayMemory::Range>> ReplayMemory::For(
    OfProcess object, const std::shared_ptr<guest::Account>& account, uint64_t size, bool* is_new) {
  MutexLock lock(mutex_);
  const auto known = ranges_.find(object);
  *is_new = known == ranges_.end();
  if (!*is_new) return known->second;
  const auto process = processes_.find(object.first);
  if (process == processes_.end()) return Status::Refuse(ENODATA, "the process has ended");
  OfOne& of = process->second;
  size = (size + kPageBytes - 1) / kPageBytes * kPageBytes;
  if (size > kFileBytes - of.end || size > kWindowEnds - next_.value)
    return Status::Refuse(ENOMEM, "a replay has no more than {} bytes of memory for a process", kFileBytes);
  guest::Charge charge(account, guest::Charged::kBytes, size);
  if (!charge)
    return Status::Refuse(ENOMEM,
                          "this process has {} bytes of memory, and it or its user may not have {} more",
                          account->used(guest::Charged::kBytes), size);
  if (of.file == nullptr) {
    DXG_ASSIGN(UniqueFd file, MakeSharedMemory("dxg-replay", kFileBytes));
    of.file = std::make_shared<const UniqueFd>(std::move(file));
  }
  auto range = std::make_shared<const Range>(Range{next_, of.end, size, of.file, std::move(charge)});
  of.end += size;
  next_ = next_ + size;
  regions_[range->window_address] = range;
  ranges_[object] = range;
  return range;
}

void ReplayMemory::Share(OfProcess object, const std::shared_ptr<const Range>& range) {
  MutexLock lock(mutex_);
  if (processes_.contains(object.first)) ranges_.try_emplace(object, range);
}

uint64_t ReplayMemory::Fill(const Range& range, const std::string& contents) {
  const uint64_t bytes = std::min<uint64_t>(contents.size(), range.size);
  const ssize_t written = pwrite(range.file->get(), contents.data(), bytes, static_cast<off_t>(range.offset));
  return written > 0 ? static_cast<uint64_t>(written) : 0;
}

uint64_t ReplayMemory::ValueAt(const Range& range) {
  uint64_t value = 0;
  const ssize_t got = pread(range.file->get(), &value, sizeof(value), static_cast<off_t>(range.offset));
  return got == sizeof(value) ? value : 0;
}

void ReplayMemory::Raise(OfProcess object, uint64_t value) {
  std::vector<std::shared_ptr<ReplayedObject>> ready;
  {
    MutexLock lock(mutex_);
    const auto found = ranges_.find(object);
    if (found == ranges_.end() || ValueAt(*found->second) >= value) return;
    const Range& range = *found->second;
    const auto at = static_cast<off_t>(range.offset);
    if (pwrite(range.file->get(), &value, sizeof(value), at) < 0)
      spdlog::error("a fence of the replay cannot be raised: the machine has no memory");
    const auto [begin, end] = waiting_.equal_range(range.window_address);
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
  auto object = std::make_shared<ReplayedObject>(number, ValueAt(*found->second) >= value);
  std::erase_if(waiting_, [](const auto& each) { return each.second.object.expired(); });
  waiting_.emplace(found->second->window_address, Waiting{value, object});
  return object;
}

void ReplayMemory::KeepOwn(OfProcess object, uint64_t address) {
  MutexLock lock(mutex_);
  if (processes_.contains(object.first)) own_[object] = address;
}

uint64_t ReplayMemory::Own(OfProcess object) {
  MutexLock lock(mutex_);
  const auto found = own_.find(object);
  return found == own_.end() ? 0 : found->second;
}

void ReplayMemory::Begin(uint32_t process) {
  MutexLock lock(mutex_);
  processes_.try_emplace(process);
}

void ReplayMemory::Forget(uint32_t process) {
  MutexLock lock(mutex_);
  std::erase_if(own_, [process](const auto& each) { return each.first.first == process; });
  for (auto each = ranges_.begin(); each != ranges_.end();) {
    if (each->first.first != process) {
      ++each;
      continue;
    }
    regions_.erase(each->second->window_address);
    waiting_.erase(each->second->window_address);
    each = ranges_.erase(each);
  }
  processes_.erase(process);
}

}  // namespace dxg::replay
