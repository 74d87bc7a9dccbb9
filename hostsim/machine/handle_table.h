#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <utility>
#include <vector>

#include "proto/abi/interface.h"

namespace dxg::hostsim {

// A handle as it was given out. A guest passes on what its client wrote, with any of the instance bits set.
inline constexpr uint32_t CanonicalHandle(uint32_t handle) {
  return handle & ~((1u << kHandleIndexShift) - 1);
}

// Names objects with 32-bit handles, so that an old name does not hit a new object. Pointer is a smart
// pointer.
//
//   31 30 | 29 ............................ 6 | 5 ........ 0
//  unique |              index                |   instance, 0
//
// The first handle is 0x40000000, the next ones 0x40 higher each; 0 is never one. An index rests until 128
// more are free and comes back with the next of three unique values, so a freed handle stays dead for several
// hundred creations. Layout: WDDM handles as clients see them. The owner's lock guards the table.
template <class Pointer>
class HandleTable {
 public:
  using Object = typename Pointer::element_type;

  explicit HandleTable(uint32_t objects_max) : objects_max_(objects_max) {}

  // The handle of the object, or 0 when the table is full. The object is dropped then. `newest`: where an
  // index is free it gets the one that was freed last, which otherwise rests the longest.
  uint32_t Insert(Pointer object, bool newest = false) {
    if (size_ >= objects_max_) return 0;
    uint32_t index;
    if (newest && !free_.empty()) {
      index = free_.back();
      free_.pop_back();
    } else if (free_.size() > kRestingMin || slots_.size() == kIndexes) {
      index = free_.front();
      free_.pop_front();
    } else {
      index = static_cast<uint32_t>(slots_.size());
      slots_.emplace_back();
    }
    slots_[index].object = std::move(object);
    ++size_;
    return Handle(index);
  }

  Object* Find(uint32_t handle) const {
    const Slot* slot = At(handle);
    return slot ? slot->object.get() : nullptr;
  }

  // As Find, with a share in the object.
  Pointer Share(uint32_t handle) const {
    const Slot* slot = At(handle);
    return slot ? slot->object : Pointer();
  }

  // Empty if there is no such object.
  Pointer Remove(uint32_t handle) {
    if (!At(handle)) return Pointer();
    const uint32_t index = (handle >> kHandleIndexShift) & kHandleIndexMask;
    Slot& slot = slots_[index];
    Pointer object = std::move(slot.object);
    slot.object = Pointer();
    slot.unique = slot.unique == 3 ? 1 : slot.unique + 1;
    free_.push_back(index);
    --size_;
    return object;
  }

  // Takes everything out.
  std::vector<Pointer> Drain() {
    std::vector<Pointer> objects;
    objects.reserve(size_);
    for (uint32_t index = 0; index < slots_.size(); ++index) {
      if (slots_[index].object) objects.push_back(Remove(Handle(index)));
    }
    return objects;
  }

  template <class Visit>
  void ForEach(Visit visit) const {
    for (const Slot& slot : slots_) {
      if (slot.object) visit(*slot.object);
    }
  }

  // A share in everything.
  std::vector<Pointer> ShareAll() const {
    std::vector<Pointer> objects;
    objects.reserve(size_);
    for (const Slot& slot : slots_) {
      if (slot.object) objects.push_back(slot.object);
    }
    return objects;
  }

  uint32_t size() const { return size_; }

 private:
  static constexpr uint32_t kIndexes = kHandleIndexMask + 1;
  static constexpr size_t kRestingMin = 128;

  struct Slot {
    Pointer object;
    uint8_t unique = 1;
  };

  uint32_t Handle(uint32_t index) const {
    return (static_cast<uint32_t>(slots_[index].unique) << kHandleUniqueShift) | (index << kHandleIndexShift);
  }

  const Slot* At(uint32_t handle) const {
    const uint32_t index = (handle >> kHandleIndexShift) & kHandleIndexMask;
    if (index >= slots_.size() || !slots_[index].object || Handle(index) != CanonicalHandle(handle))
      return nullptr;
    return &slots_[index];
  }

  const uint32_t objects_max_;
  uint32_t size_ = 0;
  std::vector<Slot> slots_;
  std::deque<uint32_t> free_;
};

}  // namespace dxg::hostsim
