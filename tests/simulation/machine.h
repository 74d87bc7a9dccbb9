#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "cuse-dxg/guest/driver.h"
#include "hostsim/adapter/profile.h"
#include "hostsim/machine/host.h"

// A whole machine in one process and on virtual time: client processes, the guest driver, the simulated host.
// There is no kernel in it: a client's memory is this process's own, what is brought into a client is mapped
// here, and every call runs to its end, or to where it waits, before it returns.

namespace dxg::simulation {

class Machine final : private Backend,
                      private client::Access,
                      private client::Delivery,
                      private hostsim::HostEvents {
 public:
  // The shipped discrete adapter, with so many bytes in each of its two segment groups.
  static AdapterProfile Discrete(uint64_t group_bytes);
  // With one adapter of that kind.
  explicit Machine(const AdapterProfile& profile);
  ~Machine() override;

  // -- Clients. A process opens the node once; its pid is `pid`.
  void Open(pid_t pid);
  // Also ends the calls of it that wait, as a death does.
  void Close(pid_t pid);
  bool is_open(pid_t pid) const { return files_.contains(pid); }
  // The result of an ioctl; kWaits where it waits for time to pass, or for somebody's signal.
  static constexpr int32_t kWaits = INT32_MIN;
  template <typename Args>
  int32_t Call(pid_t pid, uint32_t code, Args* args) {
    return CallAt(pid, code, reinterpret_cast<uint64_t>(args));
  }
  // A call that waits.
  class Waiting;
  // The last call that answered kWaits, unless that was taken before.
  std::shared_ptr<Waiting> TakeWaiting() { return std::move(waiting_); }
  // How many there are, and what one costs here: allocations of the test, not of what is tested.
  size_t waiting() const;
  static const int64_t kWaitingBytes;
  // What it came to, once it is done.
  bool TakeAnswer(int32_t* result);

  // An eventfd of that process, and what its counter reads.
  int NewEvent(pid_t pid);
  uint64_t Ticks(int event) const { return *events_.at(event).ticks; }
  void CloseEvent(int event) { events_.erase(event); }
  // A descriptor in another process, as by SCM_RIGHTS: numbers mean the same in all of them here.
  void CloseDescriptor(int descriptor);

  // -- The world
  hostsim::VirtualClock& clock() { return clock_; }
  void Settle();  // lets all the time pass that anybody waits for
  // The adapter goes, or comes; false where it cannot.
  bool RemoveAdapter();
  bool AddAdapter();
  // How often the guest was told that a device is not what it was.
  uint64_t state_changes() const { return state_changes_; }
  hostsim::Host& host() { return *host_; }
  hostsim::Caller HostCaller(pid_t pid);
  guest::Driver& driver() { return *driver_; }
  size_t mapped_bytes() const;

 private:
  struct Answer;
  class OpenRequest;
  class IoctlRequest;
  class Visit;

  int32_t CallAt(pid_t pid, uint32_t code, uint64_t argument);

  // Backend
  Status Start(BackendEvents* events) override;
  void Stop() override {}
  void Submit(const HostCall& call, Completion completion) override;
  std::optional<HostRegion> FindRegion(WindowAddress address) override;
  std::optional<HostRegion> HomeRegion(uint32_t process) override;
  std::optional<HostRegion> FindShared(uint32_t nt_handle, uint32_t allocation_index) override;
  Result<uint32_t> AddClientPages(std::shared_ptr<ClientPages> pages) override;
  void RemoveClientPages(uint32_t list) override;

  // client::Access
  bool Read(pid_t, uint64_t address, std::span<std::byte> to) override;
  bool Write(pid_t, uint64_t address, std::span<const std::byte> from) override;
  bool WritePieces(pid_t tid, std::span<const client::WritePiece> pieces) override;
  std::unique_ptr<client::AddressSpace> Pin(pid_t, uint64_t address, uint64_t size, bool writable) override;
  std::optional<client::Identity> Identify(pid_t tid) override;
  bool InGroup(pid_t tid, pid_t tgid) override { return tid == tgid; }
  uint64_t PidNamespace(pid_t) override { return 1; }

  // client::Delivery
  void Enter(const client::Waiting& at, const client::Identity& process, std::function<void()> answer,
             Entered entered) override;
  uint64_t TokenOfOpener(pid_t) override { return token_; }
  void Identify(const client::Waiting&, const client::Identity& process, int descriptor,
                std::function<void(uint64_t)> done) override;
  bool IsIdentifyCall(pid_t, uint32_t, uint64_t, uint64_t) override { return false; }
  void TakeEventFile(const client::Waiting&, const client::Identity& process, int descriptor,
                     TookEventFile done) override;
  Result<uint64_t> DoStep(pid_t pid, const client::Step& step);

  // hostsim::HostEvents
  void DeviceStateChanged(uint32_t, uint64_t, uint64_t, uint32_t) override;
  void GuestEvent(uint32_t, uint64_t event) override { driver_->GuestEvent(event); }
  void AdapterRemoved(uint64_t vgpu_luid) override;
  void AdapterArrived(const hostsim::AdapterInfo& info) override;

  class Pages;
  class CountedEvent;
  struct Event {
    pid_t owner;
    std::shared_ptr<uint64_t> ticks;
  };

  const AdapterProfile profile_;
  hostsim::VirtualClock clock_{1};
  std::unique_ptr<Pages> pages_;
  std::unique_ptr<hostsim::Host> host_;
  std::unique_ptr<guest::Driver> driver_;
  std::map<pid_t, uint64_t> files_;
  std::map<pid_t, std::map<uint64_t, uint64_t>> mappings_;  // by process: address and bytes
  std::map<int, uint64_t> descriptors_;
  int next_descriptor_ = 10;
  uint64_t token_ = 0;
  std::shared_ptr<Waiting> waiting_;
  std::vector<std::shared_ptr<Waiting>> all_waiting_;
  std::map<int, Event> events_;
  int next_event_ = 100000;
  std::map<uint64_t, uint64_t> luids_;  // of the adapters that were ever there: the guest's, by the host's
  uint64_t state_changes_ = 0;
};

// Ends once: with its answer, which an interrupt may bring on.
class Machine::Waiting {
 public:
  bool done() const { return done_; }
  int32_t result() const { return result_; }
  pid_t pid() const { return pid_; }
  // A signal arrives at the thread; and one that kills it.
  void Interrupt() { Run(&interrupted_); }
  void Kill();

 private:
  friend class Machine;
  static void Run(std::function<void()>* once);

  pid_t pid_ = 0;
  bool done_ = false;
  int32_t result_ = 0;
  std::function<void()> interrupted_, killed_;
};

}  // namespace dxg::simulation
