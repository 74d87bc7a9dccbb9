#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "hostsim/machine/work_observer.h"
#include "hostsim/serve/guest_session.h"
#include "link/backend.h"
#include "link/backlog.h"
#include "link/socket/connection.h"
#include "link/socket/packets.h"
#include "link/trace/recording.h"
#include "proto/dxg/protocol.pb.h"

namespace dxg::hostsim::serve {

// One device process: a host of its own, which ends with the connection. What the device sends is not
// trusted: what makes no sense ends the connection and nothing else.
class SocketSession final : public GuestSession, private BackendEvents {
 public:
  // Of the calls of one device that have no answer yet: how many there may be, and the bytes of their
  // requests.
  static constexpr uint64_t kWaitingMax = 1u << 20;
  static constexpr uint64_t kWaitingBytesMax = kBacklogBytesMax;

  // `defaults` are the adapters where the device asks for none; none there either: the built-in default.
  // `scenario` befalls all adapters where the device names none. `recording`: null: none; `guest` is the
  // device's number in it.
  SocketSession(UniqueFd connection, std::string name, std::vector<ControlRequest::AddAdapter> defaults,
                std::string scenario = "", std::shared_ptr<trace::Recording> recording = nullptr,
                uint32_t guest = 1);
  ~SocketSession() override;

  // GuestSession
  void Run() override;
  void End() override { connection_.Close(); }

 private:
  class Served;
  class FilePages;

  // A refusal is the end of the connection, and says why.
  Status Serve();
  Status HandleAll();
  Status Handle(const protocol::ToHost& message, std::vector<UniqueFd> descriptors);
  Status Greet(const protocol::Hello& hello, std::vector<UniqueFd> descriptors);
  Status HandleCall(const vmbus::Packet& packet);
  Status Submit(const socket::CallPacket& call);
  Status Answer(const protocol::Question& question, std::vector<UniqueFd> descriptors);
  Status SendRegion(uint64_t number, const std::optional<HostRegion>& region);
  Status Send(const protocol::FromHost& message, std::span<const int> descriptors = {});
  std::shared_ptr<UniqueFd> FileOf(uint64_t number, UniqueFd descriptor);
  uint32_t AddPages(const protocol::ClientPages& pages, std::vector<UniqueFd> descriptors);

  // BackendEvents
  void AdapterArrived(const HostAdapter& adapter) override;
  void AdapterStopped(uint64_t luid) override;
  void AdapterRemoved(uint64_t luid) override;
  void DeviceStateChanged(uint64_t cookie) override;
  void GuestEvent(uint64_t event) override;
  void HostLost() override { connection_.Close(); }  // then the device has none either

  socket::Connection connection_;
  const std::string name_;
  const std::vector<ControlRequest::AddAdapter> defaults_;
  const std::string scenario_;
  const std::shared_ptr<trace::Recording> recording_;
  const uint32_t guest_;
  const std::unique_ptr<WorkObserver> work_;             // before the back-end, which tells it
  std::unique_ptr<Backend> backend_;                     // from the greeting on
  std::atomic<uint64_t> waiting_{0}, waiting_bytes_{0};  // calls that have no answer yet, and their requests
  std::set<uint32_t> lists_;                             // of client pages
  std::map<uint64_t, std::weak_ptr<UniqueFd>> files_;    // behind them, by the guest's numbers
};

}  // namespace dxg::hostsim::serve
