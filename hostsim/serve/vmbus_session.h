#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/unique_fd.h"
#include "hostsim/serve/guest_ram.h"
#include "hostsim/serve/guest_session.h"
#include "hostsim/serve/port.h"
#include "link/backend.h"
#include "link/simulated_bus/packet_channel.h"
#include "link/simulated_bus/protocol.h"
#include "link/vmbus/message.h"
#include "link/vmbus/pci_config.h"
#include "proto/dxg/control.pb.h"

namespace dxg::hostsim::serve {

// What a guest finds on its VMBus.
struct VmbusOptions {
  std::vector<ControlRequest::AddAdapter> adapters;  // none: the built-in default
  std::string window_file;                           // holds the window's bytes; empty: memory without a name
  uint32_t window_megabytes = 65472;
  bool map_guest_memory = false;  // takes pages by their frame numbers
};

// The file that holds a guest's window; a new one where the options name none. EINVAL: it is too short.
Result<UniqueFd> OpenWindow(const VmbusOptions& options);

// One guest at the other end of a link (cuse-dxg/backend/vmbus/link.h): its hypervisor, its virtual GPUs'
// configuration space, and the host behind their channels. What makes no sense on a channel is answered with
// nothing; on the link it ends the connection, and nothing else.
class VmbusSession final : public GuestSession, private BackendEvents {
 public:
  VmbusSession(UniqueFd connection, std::string name, const VmbusOptions& options);
  ~VmbusSession() override;

  // GuestSession
  void Run() override;
  void End() override { socket_->Close(); }

 private:
  struct Served;
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
    std::shared_ptr<Port> port;                 // once it is open
    std::shared_ptr<vmbus::PacketInbox> inbox;  // without rings
  };
  struct Gpadl {
    uint32_t relid = 0;
    uint64_t pages = 0;
    std::vector<uint64_t> frames;
    uint32_t list = 0;  // the back-end's; 0: of rings, or not all of it is told
  };

  // Control messages. False: they make no sense.
  bool HandleControl(const vmbus::link::Received& received, std::vector<UniqueFd> descriptors);
  bool Begin();
  bool OfferAll();
  bool Open(const vmbus::link::Open& open);
  std::unique_ptr<vmbus::Channel> OpenRings(const vmbus::link::Open& open, HostChannel& channel);
  bool CloseChannel(uint32_t relid);
  bool AddFrames(Gpadl& gpadl, uint32_t number, std::span<const std::byte> frames);
  bool BeginGpadl(std::span<const std::byte> payload);
  bool GoOnGpadl(std::span<const std::byte> payload);
  bool EndGpadl(const vmbus::link::GpadlTeardown& teardown);
  bool AnswerConfig(uint32_t function, uint32_t offset, std::optional<uint32_t> written);
  bool AnswerControl(std::span<const std::byte> request);
  void Tell(const Function& function);

  // Packets; on the ports' threads.
  void HandlePacket(uint32_t relid, const vmbus::Packet& packet);
  std::optional<uint64_t> AdapterOf(const HostChannel& channel, const vmbus::MessageHead& head,
                                    const contract::HostCommand& command);
  void TakeGpadlNumber(google::protobuf::Message* request);
  std::shared_ptr<Port> GlobalPort();
  void SendToGuest(const google::protobuf::Message& message);
  uint32_t version() const { return std::min(host_version_, guest_version_.load()); }

  // BackendEvents
  void AdapterArrived(const HostAdapter& adapter) override;
  void AdapterStopped(uint64_t luid) override;
  void AdapterRemoved(uint64_t luid) override;
  void DeviceStateChanged(uint64_t cookie) override;
  void GuestEvent(uint64_t event) override;
  void HostLost() override {}

  bool Wrong(std::string why);

  const std::string name_;
  const VmbusOptions options_;
  const std::shared_ptr<vmbus::link::Socket> socket_;
  const std::shared_ptr<GuestRam> ram_ = std::make_shared<GuestRam>();
  WindowFile window_;
  std::unique_ptr<Backend> backend_;  // from contact on
  uint32_t host_version_ = vmbus::kInterfaceVersion;
  std::atomic<uint32_t> guest_version_{vmbus::kInterfaceVersionOld};
  std::string why_;

  std::mutex mutex_;  // guards all below
  std::vector<Function> functions_;
  std::map<uint32_t, HostChannel> channels_;  // by relid
  std::map<uint32_t, Gpadl> gpadls_;
  uint64_t gpadl_pages_ = 0;
  uint32_t last_relid_ = 0;
  uint32_t last_function_ = 0;
  bool offered_ = false;
};

}  // namespace dxg::hostsim::serve
