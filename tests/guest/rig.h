#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstring>
#include <map>
#include <mutex>
#include <set>
#include <thread>

#include "cuse-dxg/guest/driver.h"
#include "proto/dxg/host.pb.h"

namespace dxg::guest {

// The client's memory is this process's own; callers are made up. Addresses in `unreadable` and `unwritable`
// fault.
class FakeAccess final : public client::Access {
 public:
  std::map<pid_t, pid_t> tgid_of;
  std::map<pid_t, uint64_t> start_of;  // by tgid
  // Of those in a pid namespace of their own, by the number that we see: which, and as whom it knows them.
  std::map<pid_t, std::pair<uint64_t, pid_t>> inside;
  std::set<uint64_t> unreadable, unwritable;
  bool pinnable = true;
  // What the client has mapped, where the test says it: whether all of a range is there. Null: the kernel
  // does not tell.
  std::function<client::Mapped(uint64_t address, uint64_t size)> shows;
  uint64_t program = 1;                               // which the client executes: an AddressMap is of one
  std::function<void(uint64_t address)> before_read;  // may last as long as the test likes

  bool Read(pid_t, uint64_t address, std::span<std::byte> to) override;
  bool Write(pid_t, uint64_t address, std::span<const std::byte> from) override;
  bool WritePieces(pid_t tid, std::span<const client::WritePiece> pieces) override;
  std::unique_ptr<client::AddressSpace> Pin(pid_t, uint64_t address, uint64_t size, bool writable) override;
  std::unique_ptr<client::AddressMap> MapOf(pid_t tid) override;
  std::optional<client::Identity> Identify(pid_t tid) override;
  bool InGroup(pid_t tid, pid_t tgid) override { return tgid_of[tid] == tgid; }
  uint64_t PidNamespace(pid_t) override { return 1; }
};

// A host that says yes, hands out handles, and counts what it was asked. Commands named in `hold` are not
// answered until Release, which does it from another thread.
class FakeHost final : public Backend {
 public:
  std::set<std::string> hold;
  std::set<std::string> refuse;  // transport failure
  std::vector<std::string> asked;
  // Memory: the regions by the address where they begin, whether processes have one of their own, what
  // allocations lock to, and the clients' pages that the host has.
  std::map<uint64_t, HostRegion> regions;
  uint64_t home = 0, exported = 0;
  uint64_t next_lock = 0;
  uint64_t allocation_bytes = 8192;
  // Fences: what commands that have one answer, the events that commands named, and what happens before such
  // a command is answered.
  int32_t status = 0;
  std::vector<uint64_t> events;
  std::function<void(const HostCall&)> before_answer;
  std::function<void(const HostCall&)> on_submit;  // on the thread that submits
  std::function<void(const HostCall&)>
      after_answer;  // sees each answer, and may change it, before the guest does
  std::map<uint32_t, std::shared_ptr<ClientPages>> client_pages;

  Status Start(BackendEvents*) override { return Status::Ok(); }
  void Stop() override {}
  void Submit(const HostCall& call, Completion completion) override;
  std::optional<HostRegion> FindRegion(WindowAddress address) override;
  std::optional<HostRegion> HomeRegion(uint32_t) override;
  std::optional<HostRegion> FindShared(uint32_t nt_handle, uint32_t allocation_index) override;
  Result<uint32_t> AddClientPages(std::shared_ptr<ClientPages> pages) override;
  void RemoveClientPages(uint32_t list) override;
  // The frame of page n is kFirstFrame + n.
  static constexpr uint64_t kFirstFrame = 0x1000;
  bool ClientFrames(uint32_t list, uint64_t page, std::span<uint64_t> frames) override;
  // Answers all that is held, each from a thread of its own, and waits for them.
  void Release();
  // Answers the first of them, from this thread.
  void ReleaseOne();
  size_t held() {
    std::lock_guard lock(mutex_);
    return held_.size();
  }
  size_t times_asked(const std::string& command) {
    std::lock_guard lock(mutex_);
    return static_cast<size_t>(std::count(asked.begin(), asked.end(), command));
  }

 private:
  void Answer(const HostCall& call, Completion completion);

  std::mutex mutex_;
  std::vector<std::pair<HostCall, Completion>> held_;
  std::atomic<uint32_t> next_handle_ = 0x40000000;
};

// An eventfd that only counts.
class CountingFile final : public client::EventFile {
 public:
  std::atomic<int> count{0};
  void Signal() override { ++count; }
};

// A way into clients that are this process: memory is what the test put into `at_address`, nodes are opened
// as a thread of ours. Every step is noted.
class FakeDelivery final : public client::Delivery {
 public:
  static constexpr pid_t kOpener = 9;

  int refuse_enter = 0;  // errno
  bool kill_after_answer = false;
  int refuse_step = 0;             // errno, of the next step
  uint64_t map_bytes_max = ~0ull;  // ENOMEM for a map of more
  bool no_room = false;  // for descriptors: the node is opened, and what was opened is left to the test
  std::vector<uint64_t> opened_in_vain;
  bool hold_thread = true;
  std::function<void()> before_step;
  uint64_t map_result = 0;       // what the next map gives; 0: kMapped and so on
  bool map_where_asked = false;  // a map with an address gets it
  std::function<uint64_t()> open_node;
  std::map<int, uint64_t> files;  // by descriptor
  std::map<int, std::shared_ptr<CountingFile>> eventfds;
  Status eventfd_refusal;  // of all of them
  std::vector<client::Step> steps;
  std::vector<int32_t> left;  // results that went by a visit
  int entered = 0;
  uid_t user = 0;  // whom the last visit counts for
  int mapped = 0;  // mappings that the client has

  void Enter(const client::Waiting& at, const client::Identity& process, std::function<void()> answer,
             Entered done) override;
  uint64_t TokenOfOpener(pid_t tid) override { return tid == kOpener ? token : 0; }
  void Identify(const client::Waiting&, const client::Identity&, int descriptor,
                std::function<void(uint64_t)> done) override {
    done(files.contains(descriptor) ? files[descriptor] : 0);
  }
  bool IsIdentifyCall(pid_t, uint32_t, uint64_t, uint64_t) override { return false; }
  void TakeEventFile(const client::Waiting&, const client::Identity&, int descriptor,
                     TookEventFile done) override {
    if (!eventfd_refusal.ok()) return done(eventfd_refusal);
    const auto found = eventfds.find(descriptor);
    if (found == eventfds.end()) return done(client::NoEventFile(descriptor));
    done(std::shared_ptr<client::EventFile>(found->second));
  }

  uint64_t token = 0;
  int next_descriptor = 50;
};

// What became of one request.
struct Outcome {
  std::mutex mutex;
  std::condition_variable changed;
  bool done = false;
  int32_t result = 0;
  std::vector<std::byte> out;
  uint64_t file = 0;
  std::function<void()> kill;       // set where the call waits for the host
  std::function<void()> interrupt;  // set where any signal ends it
  bool signal_pending = false;      // one came before that

  void SetKill(std::function<void()> killed) {
    std::lock_guard lock(mutex);
    kill = std::move(killed);
  }
  void SetInterrupt(std::function<void()> interrupted);
  // A signal reaches the caller: true where that ends the call.
  bool Signal();
  bool Kill();
  void Done(int32_t value, std::span<const std::byte> bytes, uint64_t opened);
  int32_t Wait();
};

// A driver with one adapter, and ways to call it.
class DriverTest : public testing::Test {
 protected:
  static constexpr uint64_t kLuid = 0x0badbeef00c0ffee;

  DriverTest();

  std::shared_ptr<Outcome> StartOpen(pid_t tid);
  uint64_t Open(pid_t tid);  // asserts success
  // The driver gets its way into clients; most tests do without.
  void Deliver();
  template <typename Args>
  std::shared_ptr<Outcome> StartCall(uint64_t file, pid_t tid, uint32_t code, Args* args,
                                     bool restricted = false) {
    return StartRaw(file, tid, code, reinterpret_cast<uint64_t>(args), restricted ? sizeof(Args) : 0);
  }
  // As StartCall, with what became of it in `outcome`.
  template <typename Args>
  void StartCallWith(std::shared_ptr<Outcome> outcome, uint64_t file, pid_t tid, uint32_t code, Args* args) {
    StartRawWith(std::move(outcome), file, tid, code, reinterpret_cast<uint64_t>(args), 0);
  }
  template <typename Args>
  int32_t Call(uint64_t file, pid_t tid, uint32_t code, Args* args) {
    return StartCall(file, tid, code, args)->Wait();
  }
  uint32_t OpenAdapter(uint64_t file, pid_t tid);
  int32_t OpenAdapterRaw(uint64_t file, pid_t tid);
  uint32_t CreateDevice(uint64_t file, pid_t tid, uint32_t adapter);

  void StartRawWith(std::shared_ptr<Outcome> outcome, uint64_t file, pid_t tid, uint32_t code,
                    uint64_t argument, size_t restricted_bytes);
  std::shared_ptr<Outcome> StartRaw(uint64_t file, pid_t tid, uint32_t code, uint64_t argument,
                                    size_t restricted_bytes);

  uid_t opener_uid = 0, caller_uid = 0;
  // Where not 0, that allocation of the driver's in a call fails (counted_memory.h); how many the last had.
  uint64_t fail_allocation = 0;
  std::atomic<uint64_t> allocations_of_call = 0;

  FakeAccess access;
  FakeHost host;
  FakeDelivery delivery;
  std::unique_ptr<Driver> owned_driver = std::make_unique<Driver>(host, access);
  Driver& driver = *owned_driver;
};

// A process with a device, memory of the host's for the pages of fences, and an eventfd.
class FenceTest : public DriverTest {
 protected:
  static constexpr int kEventfd = 4;

  FenceTest();
  ~FenceTest() override;

  CountingFile& eventfd() { return *delivery.eventfds[kEventfd]; }

  uint64_t file = 0;
  uint32_t adapter = 0, device = 0;
};

}  // namespace dxg::guest
