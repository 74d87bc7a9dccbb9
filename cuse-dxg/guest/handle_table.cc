#include "cuse-dxg/guest/handle_table.h"

#include <algorithm>

namespace dxg::guest {

const char* HandleTypeName(HandleType type) {
  switch (type) {
    case HandleType::kAdapter:
      return "an adapter";
    case HandleType::kDevice:
      return "a device";
    case HandleType::kResource:
      return "a resource";
    case HandleType::kAllocation:
      return "an allocation";
    case HandleType::kContext:
      return "a context";
    case HandleType::kSyncObject:
      return "a sync object";
    case HandleType::kPagingQueue:
      return "a paging queue";
    case HandleType::kHwQueue:
      return "a hardware queue";
    case HandleType::kMonitoredFence:
      return "a queue's fence";
    case HandleType::kFree:
      break;
  }
  return "nothing";
}

HandleTable::~HandleTable() {
  if (account_ != nullptr) account_->Give(Charged::kObjects, live_count());
}

bool HandleTable::HasRoom() { return account_ == nullptr || account_->Take(Charged::kObjects, 1); }

bool HandleTable::Grow(uint32_t size) {
  const uint32_t old_size = static_cast<uint32_t>(entries_.size());
  const uint32_t new_size = std::min(size, kIndexMax + 1);
  if (new_size <= old_size) return false;
  entries_.resize(new_size);
  for (uint32_t index = old_size; index < new_size; ++index) Append(index);
  return true;
}

void HandleTable::Append(uint32_t index) {
  entries_[index].previous = free_tail_;
  entries_[index].next = kNone;
  (free_tail_ == kNone ? free_head_ : entries_[free_tail_].next) = index;
  free_tail_ = index;
  ++free_count_;
}

void HandleTable::Unlink(uint32_t index) {
  const Entry& entry = entries_[index];
  (entry.previous == kNone ? free_head_ : entries_[entry.previous].next) = entry.next;
  (entry.next == kNone ? free_tail_ : entries_[entry.next].previous) = entry.previous;
  --free_count_;
}

Handle HandleTable::Occupy(uint32_t index, uint32_t unique, HandleType type, Object object) {
  Unlink(index);
  Entry& entry = entries_[index];
  entry.type = type;
  entry.unique = static_cast<uint8_t>(unique);
  entry.object = std::move(object);
  return Handle::Make(index, unique);
}

Handle HandleTable::Allocate(HandleType type, Object object) {
  if (free_count_ <= kReuseDelay) Grow(static_cast<uint32_t>(entries_.size()) + kGrowth);
  if (free_head_ == kNone || !HasRoom()) return {};
  const uint32_t index = free_head_;
  return Occupy(index, entries_[index].unique, type, std::move(object));
}

HandleTable::Assigned HandleTable::Assign(Handle handle, HandleType type, Object object) {
  const uint32_t index = handle.index();
  if (index > kIndexMax) return Assigned::kIndexTooBig;
  if (index >= entries_.size()) Grow(index + kGrowth);
  if (entries_[index].type != HandleType::kFree) return Assigned::kInUse;
  if (!HasRoom()) return Assigned::kTooMany;
  Occupy(index, handle.unique(), type, std::move(object));
  return Assigned::kYes;
}

const HandleTable::Entry* HandleTable::Find(Handle handle) const {
  const uint32_t index = handle.index();
  if (index >= entries_.size()) return nullptr;
  const Entry& entry = entries_[index];
  return entry.type != HandleType::kFree && entry.unique == handle.unique() ? &entry : nullptr;
}

void HandleTable::Free(Handle handle) {
  if (Find(handle) == nullptr) return;
  Entry& entry = entries_[handle.index()];
  entry.type = HandleType::kFree;
  entry.unique = 2;  // the driver resets it to 1 and counts up: every later life of an index has 2
  entry.object.reset();
  if (account_ != nullptr) account_->Give(Charged::kObjects, 1);
  Append(handle.index());
}

std::vector<std::pair<Handle, HandleTable::Entry>> HandleTable::Live() const {
  std::vector<std::pair<Handle, Entry>> live;
  for (uint32_t index = 0; index < entries_.size(); ++index) {
    if (entries_[index].type != HandleType::kFree)
      live.emplace_back(Handle::Make(index, entries_[index].unique), entries_[index]);
  }
  return live;
}

}  // namespace dxg::guest
