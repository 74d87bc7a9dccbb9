#include "cuse-dxg/backend/vmbus/page_lists.h"

#include <optional>
#include <utility>

namespace dxg::vmbus {

Result<uint32_t> PageLists::AddGpadl(const ChannelOffer& channel, std::shared_ptr<ClientPages> pages) {
  DXG_ASSIGN(const uint32_t gpadl, bus_.CreateGpadl(channel, std::move(pages)));
  MutexLock lock(mutex_);
  gpadls_[gpadl] = channel;
  return gpadl;
}

Result<uint32_t> PageLists::AddPinned(std::shared_ptr<ClientPages> pages) {
  DXG_ASSIGN(auto pinned, bus_.Pin(std::move(pages)));
  MutexLock lock(mutex_);
  while (++last_list_ == 0 || pinned_.contains(last_list_)) {
  }
  pinned_[last_list_] = std::move(pinned);
  return last_list_;
}

void PageLists::Remove(uint32_t list) {
  std::unique_ptr<Bus::Pinned> pinned;  // ends without the lock
  std::optional<ChannelOffer> channel;
  {
    MutexLock lock(mutex_);
    if (const auto found = pinned_.find(list); found != pinned_.end()) {
      pinned = std::move(found->second);
      pinned_.erase(found);
    } else if (const auto gpadl = gpadls_.find(list); gpadl != gpadls_.end()) {
      channel = gpadl->second;
      gpadls_.erase(gpadl);
    }
  }
  if (channel) bus_.TearDownGpadl(*channel, list);
}

bool PageLists::Frames(uint32_t list, uint64_t page, std::span<uint64_t> frames) {
  MutexLock lock(mutex_);
  const auto found = pinned_.find(list);
  return found != pinned_.end() && found->second->Frames(page, frames);
}

}  // namespace dxg::vmbus
