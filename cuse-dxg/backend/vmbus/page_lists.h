#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>

#include "base/mutex.h"
#include "cuse-dxg/backend/vmbus/bus.h"

namespace dxg::vmbus {

// The lists of clients' pages that the host has: GPADLs, which have the bus's numbers, or pages that are held
// in place, which have ours. A host takes either the ones or the others.
class PageLists {
 public:
  explicit PageLists(Bus& bus) : bus_(bus) {}

  // Of the channel that the host is told on.
  Result<uint32_t> AddGpadl(const ChannelOffer& channel, std::shared_ptr<ClientPages> pages)
      DXG_EXCLUDES(mutex_);
  Result<uint32_t> AddPinned(std::shared_ptr<ClientPages> pages) DXG_EXCLUDES(mutex_);
  // Also where the channel is gone meanwhile: the bus holds the pages until it is told.
  void Remove(uint32_t list) DXG_EXCLUDES(mutex_);
  // False: it is no list of pages that are held in place.
  bool Frames(uint32_t list, uint64_t page, std::span<uint64_t> frames) DXG_EXCLUDES(mutex_);

 private:
  Bus& bus_;
  Mutex mutex_;
  std::map<uint32_t, std::unique_ptr<Bus::Pinned>> pinned_ DXG_GUARDED_BY(mutex_);
  std::map<uint32_t, ChannelOffer> gpadls_ DXG_GUARDED_BY(mutex_);  // and the channel of each
  uint32_t last_list_ DXG_GUARDED_BY(mutex_) = 0;
};

}  // namespace dxg::vmbus
