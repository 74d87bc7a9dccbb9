#pragma once

#include <gtest/gtest.h>

#include <condition_variable>
#include <cstring>
#include <map>
#include <mutex>
#include <set>
#include <thread>

#include "cuse-dxg/guest/driver.h"
#include "proto/dxg/host.pb.h"

namespace dxg::guest {

// The client's memory is this process's own; callers are made up. Addresses in `unreadable` and `unwritable` fault.
class FakeAccess final : public client::Access {
 public:
  std::map<pid_t, pid_t> tgid_of;
  std::map<pid_t, uint64_t> start_of;  // by tgid
  std::set<uint64_t> unreadable, unwritable;

  bool Read(pid_t, uint64_t address, std::span<std::byte> to) override;
  bool Write(pid_t, uint64_t address, std::span<const std::byte> from) override;
  std::optional<client::Identity> Identify(pid_t tid) override;
  bool InGroup(pid_t tid, pid_t tgid) override { return tgid_of[tid] == tgid; }
  uint64_t PidNamespace(pid_t) override { return 1; }
};

// A host that says yes, hands out handles, and counts what it was asked. Commands named in `hold` are not answered until
// Release, which does it from another thread.
class FakeHost final : public Backend {
 public:
  std::set<std::string> hold;
  std::set<std::string> refuse;  // transport failure
  std::vector<std::string> asked;

  Status Start(BackendEvents*) override { return Status::Ok(); }
  void Submit(const HostCall& call, Completion completion) override;
  // Answers all that is held, each from a thread of its own, and waits for them.
  void Release();
  size_t held() {
    std::lock_guard lock(mutex_);
    return held_.size();
  }

 private:
  void Answer(const HostCall& call, Completion completion);

  std::mutex mutex_;
  std::vector<std::pair<HostCall, Completion>> held_;
  uint32_t next_handle_ = 0x40000000;
};

// What became of one request.
struct Outcome {
  std::mutex mutex;
  std::condition_variable changed;
  bool done = false;
  int32_t result = 0;
  std::vector<std::byte> out;
  uint64_t file = 0;

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
  template <typename Args>
  std::shared_ptr<Outcome> StartCall(uint64_t file, pid_t tid, uint32_t code, Args* args, bool restricted = false) {
    return StartRaw(file, tid, code, reinterpret_cast<uint64_t>(args), restricted ? sizeof(Args) : 0);
  }
  template <typename Args>
  int32_t Call(uint64_t file, pid_t tid, uint32_t code, Args* args) {
    return StartCall(file, tid, code, args)->Wait();
  }
  uint32_t OpenAdapter(uint64_t file, pid_t tid);
  uint32_t CreateDevice(uint64_t file, pid_t tid, uint32_t adapter);

  std::shared_ptr<Outcome> StartRaw(uint64_t file, pid_t tid, uint32_t code, uint64_t argument, size_t restricted_bytes);

  FakeAccess access;
  FakeHost host;
  Driver driver{host, access};
};

}  // namespace dxg::guest
