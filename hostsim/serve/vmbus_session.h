#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/mutex.h"
#include "base/unique_fd.h"
#include "hostsim/machine/work_observer.h"
#include "hostsim/serve/guest_gpadls.h"
#include "hostsim/serve/guest_ram.h"
#include "hostsim/serve/guest_session.h"
#include "hostsim/serve/window.h"
#include "link/backend.h"
#include "link/simulated_bus/packet_channel.h"
#include "link/simulated_bus/protocol.h"
#include "link/vmbus/message.h"
#include "link/vmbus/pci_config.h"
#include "link/vmbus/port.h"
#include "proto/abi/interface.h"
#include "proto/dxg/control.pb.h"

namespace dxg::hostsim::serve {

// One guest at the other end of a link (link/simulated_bus/protocol.h): its hypervisor, its virtual GPUs'
// configuration space, and the host behind their channels. What makes no sense on a channel is answered with
// nothing; on the link it ends the connection, and nothing else.
class VmbusSession final : public GuestSession, private BackendEvents {
 public:
  // `guest` is its number in a recording.
  VmbusSession(UniqueFd connection, std::string name, const VmbusOptions& options, uint32_t guest = 1);
  ~VmbusSession() override;

  // GuestSession
  void Run() override;
  void End() override { socket_->Close(); }

 private:
  class Served;
  struct Function {
    uint32_t number;
    uint32_t relid;
    HostAdapter adapter;
    vmbus::Guid instance;
    bool gone = false;
  };
  struct HostChannel {
    uint64_t adapter = 0;  // HostAdapter::address; 0: the global channel
    std::vector<UniqueFd> bells;
    std::shared_ptr<vmbus::Port> port;          // once it is open
    std::shared_ptr<vmbus::PacketInbox> inbox;  // without rings
  };
  // Control messages. A refusal is the end of the connection, and says why.
  Status Serve() DXG_EXCLUDES(mutex_);
  Status HandleControl(const vmbus::link::Received& received, std::vector<UniqueFd> descriptors)
      DXG_EXCLUDES(mutex_);
  Status Begin() DXG_EXCLUDES(mutex_);
  Status OfferAll() DXG_EXCLUDES(mutex_);
  Status Open(const vmbus::link::Open& open) DXG_EXCLUDES(mutex_);
  std::unique_ptr<vmbus::Channel> OpenRings(const vmbus::link::Open& open, HostChannel& channel)
      DXG_REQUIRES(mutex_);
  void CloseChannel(uint32_t relid) DXG_EXCLUDES(mutex_);
  bool TakeDoorbells(uint32_t relid, std::vector<UniqueFd> bells) DXG_EXCLUDES(mutex_);
  bool IsOpen(uint32_t relid) DXG_EXCLUDES(mutex_);
  Status AnswerGpadl(const GuestGpadls::Outcome& outcome);
  Status AnswerConfig(uint32_t number, uint32_t offset, std::optional<uint32_t> written) DXG_EXCLUDES(mutex_);
  uint32_t ReadConfig(const Function& function, uint32_t offset) const;
  Status AnswerControl(std::span<const std::byte> request);
  void Tell(const Function& function);
  // A control message; refused where the guest does not read.
  template <class Message>
  Status Say(const Message& message, std::span<const int> descriptors = {},
             std::span<const std::byte> rest = {});

  // Packets; on the ports' threads.
  void HandlePacket(uint32_t relid, const vmbus::Packet& packet) DXG_EXCLUDES(mutex_);
  std::optional<uint64_t> AdapterOf(const HostChannel& channel, const vmbus::MessageHead& head,
                                    const contract::CommandRow& command) DXG_REQUIRES(mutex_);
  void TakeGpadlNumber(google::protobuf::Message* request);
  std::shared_ptr<vmbus::Port> GlobalPort() DXG_EXCLUDES(mutex_);
  void SendToGuest(const google::protobuf::Message& message);
  uint32_t version() const { return std::min(host_version_, guest_version_.load()); }

  // BackendEvents
  void AdapterArrived(const HostAdapter& adapter) override;
  void AdapterStopped(uint64_t luid) override;
  void AdapterRemoved(uint64_t luid) override;
  void DeviceStateChanged(uint64_t cookie) override;
  void GuestEvent(uint64_t event) override;
  void HostLost() override {}

  const std::string name_;
  const VmbusOptions options_;
  const uint32_t guest_;
  const std::shared_ptr<vmbus::link::Socket> socket_;
  const std::shared_ptr<GuestRam> ram_ = std::make_shared<GuestRam>();
  WindowFile window_;
  const std::unique_ptr<WorkObserver> work_;  // before the back-end, which tells it
  std::unique_ptr<Backend> backend_;          // from contact on
  GuestGpadls gpadls_{ram_};
  uint32_t host_version_ = kInterfaceVersionNewest;
  std::atomic<uint32_t> guest_version_{kInterfaceVersionOldest};

  // Taken before the locks of the link's socket, of gpadls_ and of ram_, by who tells the guest or opens a
  // channel.
  Mutex mutex_;
  std::vector<Function> functions_ DXG_GUARDED_BY(mutex_);
  std::map<uint32_t, HostChannel> channels_ DXG_GUARDED_BY(mutex_);  // by relid
  uint32_t last_relid_ DXG_GUARDED_BY(mutex_) = 0;
  uint32_t last_function_ DXG_GUARDED_BY(mutex_) = 0;
  bool offered_ DXG_GUARDED_BY(mutex_) = false;
};

}  // namespace dxg::hostsim::serve
