#include "cuse-dxg/backend/uio/uio_signal.h"

#include <unistd.h>

#include <atomic>
#include <cerrno>

namespace dxg::vmbus {
namespace {

constexpr unsigned kMonitorMap = 2;
constexpr size_t kMonitorBytes = 4096;
constexpr unsigned kMonitorIdsMax = 128;

// In the monitor page: 4 groups of 32 monitors, each { u32 pending, u32 armed }.
constexpr size_t kGroupsOffset = 8, kGroupBytes = 8;
constexpr unsigned kGroupMonitors = 32;

}  // namespace

Result<std::unique_ptr<UioSignal>> UioSignal::Create(std::shared_ptr<UioNode> node,
                                                     std::optional<unsigned> monitor) {
  uint32_t* pending = nullptr;
  uint32_t bit = 0;
  if (monitor) {
    if (*monitor >= kMonitorIdsMax)
      return Status::Refuse(EPROTO, "monitor {}: there are only {}", *monitor, kMonitorIdsMax);
    DXG_ASSIGN(const auto page, node->Map(kMonitorMap, kMonitorBytes));
    // Safety: 4 bytes at a multiple of 4, within the page.
    pending =
        reinterpret_cast<uint32_t*>(page.data() + kGroupsOffset + *monitor / kGroupMonitors * kGroupBytes);
    bit = uint32_t{1} << *monitor % kGroupMonitors;
  }
  return std::unique_ptr<UioSignal>(new UioSignal(std::move(node), pending, bit));
}

void UioSignal::Ring() {
  if (pending_ != nullptr) {
    std::atomic_ref<uint32_t>(*pending_).fetch_or(bit_);
    return;
  }
  const int32_t one = 1;
  // It fails only when the channel is rescinded, which Take says.
  (void)!write(node_->fd(), &one, sizeof(one));
}

bool UioSignal::Take() {
  int32_t interrupts;
  const ssize_t got = read(node_->fd(), &interrupts, sizeof(interrupts));
  return got > 0 || (got < 0 && (errno == EAGAIN || errno == EINTR));
}

}  // namespace dxg::vmbus
