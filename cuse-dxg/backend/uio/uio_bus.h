#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <thread>

#include "base/mutex.h"
#include "cuse-dxg/backend/uio/sysfs.h"
#include "cuse-dxg/backend/uio/uio_node.h"
#include "cuse-dxg/backend/uio/uio_options.h"
#include "cuse-dxg/backend/vmbus/bus.h"

namespace dxg::vmbus {

// The VMBus of the Hyper-V guest that we are in, as uio_hv_generic shows it. Channels that are bound to that
// driver count as offered, and PCI functions without a driver as there; what comes and goes is seen by the
// kernel's device events.
class UioBus final : public Bus {
 public:
  using OpenNode = std::function<Result<std::unique_ptr<UioNode>>(const std::string& path)>;
  explicit UioBus(UioOptions options, OpenNode open_node = OpenUioNode);
  ~UioBus() override { Stop(); }

  Status Start(BusEvents* events) override;
  void Stop() override;
  Result<std::unique_ptr<Channel>> Open(const ChannelOffer& offer) override;
  Result<Window> ReserveWindow(const ChannelOffer& global) override;
  Result<uint32_t> CreateGpadl(const ChannelOffer& global, std::shared_ptr<ClientPages> pages) override;
  void TearDownGpadl(const ChannelOffer& global, uint32_t gpadl) override;
  Result<std::unique_ptr<Pinned>> Pin(std::shared_ptr<ClientPages> pages) override;

  // Looks at the machine again and tells what changed. Between Start and Stop.
  void Rescan();

 private:
  void Watch(int uevents);
  // Of a scan.
  void ForgetChannels(const Found& found) DXG_REQUIRES(scanning_);
  void ForgetFunctions(const Found& found) DXG_REQUIRES(scanning_);
  void LearnChannels(const Found& found) DXG_REQUIRES(scanning_);
  void LearnFunctions(const Found& found) DXG_REQUIRES(scanning_);
  void Arrive(const PciDevice& device) DXG_REQUIRES(scanning_);
  void Complain(const std::string& problem) DXG_REQUIRES(scanning_);

  const UioOptions options_;
  const OpenNode open_node_;

  Mutex scanning_ DXG_ACQUIRED_BEFORE(mutex_);  // held while events are told
  BusEvents* events_ DXG_GUARDED_BY(scanning_) = nullptr;
  std::map<std::string, PciDevice> arrived_ DXG_GUARDED_BY(scanning_);  // by name
  std::set<std::string> complaints_ DXG_GUARDED_BY(scanning_);          // each is logged once

  Mutex mutex_;                                                     // Open takes it inside of an event
  std::map<uint32_t, VmbusDevice> offered_ DXG_GUARDED_BY(mutex_);  // by relid

  UniqueFd stop_;  // an eventfd
  std::thread watcher_;
};

// ENODEV where there is no VMBus. Logs what this machine lets us do and what not (features.h).
Result<std::unique_ptr<Bus>> CreateUioBus(UioOptions options);

}  // namespace dxg::vmbus
