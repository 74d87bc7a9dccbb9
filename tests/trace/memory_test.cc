// What a recording has of its clients' memory, and what it leaves out.
#include <gtest/gtest.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include <cerrno>
#include <chrono>
#include <cstring>

#include "base/mutex.h"
#include "cuse-dxg/trace/client_memory.h"
#include "cuse-dxg/trace/observers.h"
#include "cuse-dxg/trace/recorder.h"
#include "cuse-dxg/trace/redact.h"
#include "proto/contract/calls.gen.h"
#include "tests/trace/memory_sink.h"
#include "tests/trace/read_all.h"

namespace dxg::trace {
namespace {

constexpr pid_t kProcess = 7, kThread = 8;
constexpr uint64_t kShown = 0x700000, kGpu = 0x10000;
constexpr uint32_t kAllocation = 0x40;
constexpr std::chrono::minutes kSurely{1};  // a copy comes, however busy the machine is

// A client whose byte at each address is that address's lowest one. Some addresses never answer.
class Client {
 public:
  static constexpr uint64_t kNever = 0xdead0000;

  ~Client() { LetGo(); }
  ReadClient reader() {
    return [this](pid_t tid, uint64_t address, std::span<std::byte> to) {
      if (address == kNever) WaitUntilLetGo();
      if (tid != kThread || address == 0xbad0000) return false;
      for (size_t i = 0; i < to.size(); ++i) to[i] = static_cast<std::byte>(address + i);
      return true;
    };
  }
  void LetGo() {
    MutexLock lock(mutex_);
    let_go_ = true;
    changed_.NotifyAll();
    while (waiting_ != 0) changed_.Wait(mutex_);
  }
  void WaitForWaiters(int waiters) {
    MutexLock lock(mutex_);
    while (waiting_ < waiters) changed_.Wait(mutex_);
  }

 private:
  void WaitUntilLetGo() {
    MutexLock lock(mutex_);
    ++waiting_;
    changed_.NotifyAll();
    while (!let_go_) changed_.Wait(mutex_);
    --waiting_;
    changed_.NotifyAll();
  }

  Mutex mutex_;
  ConditionVariable changed_;
  bool let_go_ DXG_GUARDED_BY(mutex_) = false;
  int waiting_ DXG_GUARDED_BY(mutex_) = 0;
};

std::string BytesAt(uint64_t address, size_t count) {
  std::string bytes(count, '\0');
  for (size_t i = 0; i < count; ++i) bytes[i] = static_cast<char>(address + i);
  return bytes;
}

// Calls as an observer sees them.
class Program {
 public:
  explicit Program(ClientMemory& memory) : memory_(memory) { memory_.ProcessOpened(kProcess); }

  template <class Call>
  TraceCall Say(const typename Call::Request& request, const typename Call::Reply& reply = {},
                std::vector<guest::NamedMemory> named = {}, int result = 0) {
    const Status status(result);
    guest::CallReport report{&Call::Row(), Call::kCode, kThread, &request, &reply, &status, 0};
    report.pid = kProcess;
    report.memory = named;
    TraceCall call;
    memory_.AddTo(report, &call);
    return call;
  }
  void Map(uint64_t pages = 4, uint64_t from_page = 0) {
    calls::MapGpuVirtualAddress::Request request;
    calls::MapGpuVirtualAddress::Reply reply;
    request.set_allocation(kAllocation);
    request.set_size_in_pages(pages);
    request.set_offset_in_pages(from_page);
    reply.set_virtual_address(kGpu);
    Say<calls::MapGpuVirtualAddress>(request, reply, {}, 0x103);
  }
  TraceCall Lock(uint64_t bytes = 0x4000) {
    return Say<calls::Lock2>({}, {}, {{kShown, bytes, kAllocation}});
  }
  TraceCall Submit(uint64_t address, uint32_t length, int result = 0) {
    calls::SubmitCommand::Request request;
    request.set_command_buffer(address);
    request.set_command_length(length);
    return Say<calls::SubmitCommand>(request, {}, {}, result);
  }

 private:
  ClientMemory& memory_;
};

TEST(MemoryOfClients, CommandsAreReadWhereTheClientSeesThem) {
  Client client;
  ClientMemory memory(TraceHeader::FULL, client.reader(), kSurely);
  Program program(memory);
  program.Map(2, 1);
  EXPECT_EQ(program.Lock().memory_size(), 0);  // its contents are nobody's yet
  const TraceCall call = program.Submit(kGpu + 0x10, 32);
  ASSERT_EQ(call.memory_size(), 1);
  EXPECT_EQ(call.memory(0).address(), kShown + 0x1010);
  EXPECT_EQ(call.memory(0).bytes(), 32u);
  EXPECT_EQ(call.memory(0).contents(), BytesAt(kShown + 0x1010, 32));
  EXPECT_FALSE(call.memory(0).has_hash());
  // Where the client sees nothing, or nothing is.
  EXPECT_EQ(program.Submit(kGpu + 0x2000, 32).memory_size(), 0);
  EXPECT_EQ(program.Submit(kGpu - 1, 32).memory_size(), 0);
  EXPECT_EQ(program.Submit(kGpu, 32, -EINVAL).memory_size(), 0);
}

TEST(MemoryOfClients, AHashIsXxh64) {
  Client client;
  ClientMemory memory(TraceHeader::HASH, client.reader(), kSurely);
  Program program(memory);
  const TraceCall call =
      program.Say<calls::CreateAllocation>({}, {}, {{kShown, 4096, 1}, {kShown + 8192, 4096, 2}});
  ASSERT_EQ(call.memory_size(), 2);
  const std::string second = BytesAt(kShown + 8192, 4096);
  EXPECT_EQ(call.memory(1).hash(), XXH64(second.data(), second.size(), 0));
  EXPECT_FALSE(call.memory(1).has_contents());
}

TEST(MemoryOfClients, WhatWasLockedIsReadWhenItIsUnlocked) {
  Client client;
  ClientMemory memory(TraceHeader::FULL, client.reader(), kSurely);
  Program program(memory);
  program.Lock(64);
  calls::Unlock2::Request unlock;
  unlock.set_allocation(kAllocation);
  EXPECT_EQ(program.Say<calls::Unlock2>(unlock).memory(0).contents(), BytesAt(kShown, 64));
}

TEST(MemoryOfClients, WhatIsGoneIsNotRead) {
  Client client;
  ClientMemory memory(TraceHeader::FULL, client.reader(), kSurely);
  Program program(memory);
  program.Map();
  program.Lock();
  ASSERT_EQ(program.Submit(kGpu, 8).memory_size(), 1);
  calls::FreeGpuVirtualAddress::Request freed;
  freed.set_base_address(kGpu);
  program.Say<calls::FreeGpuVirtualAddress>(freed);
  EXPECT_EQ(program.Submit(kGpu, 8).memory_size(), 0);
  program.Map();
  calls::DestroyAllocation2::Request destroyed;
  destroyed.add_allocations(kAllocation);
  program.Say<calls::DestroyAllocation2>(destroyed);
  EXPECT_EQ(program.Submit(kGpu, 8).memory_size(), 0);
  program.Lock();
  memory.ProcessClosed(kProcess);
  EXPECT_EQ(program.Submit(kGpu, 8).memory_size(), 0);
}

TEST(MemoryOfClients, BeyondALimitOnlyItsSizeIsThere) {
  Client client;
  ClientMemory memory(TraceHeader::HASH, client.reader(), kSurely);
  Program program(memory);
  const uint64_t bytes = ClientMemory::kOfCallMax + 4096;
  const TraceCall call = program.Say<calls::CreateAllocation>({}, {}, {{kShown, bytes, 1}});
  ASSERT_EQ(call.memory_size(), 2);
  EXPECT_EQ(call.memory(0).bytes(), ClientMemory::kOfCallMax);
  EXPECT_TRUE(call.memory(0).has_hash());
  EXPECT_EQ(call.memory(1).address(), kShown + ClientMemory::kOfCallMax);
  EXPECT_EQ(call.memory(1).bytes(), 4096u);
  EXPECT_FALSE(call.memory(1).has_hash());
}

TEST(MemoryOfClients, MemoryThatNeverAnswersHoldsUpNoCall) {
  Client client;
  ClientMemory memory(TraceHeader::FULL, client.reader());
  Program program(memory);
  for (int i = 0; i < MemoryReader::kLeftMax; ++i) {
    const TraceCall call = program.Say<calls::CreateAllocation>({}, {}, {{Client::kNever, 4096, 1}});
    ASSERT_EQ(call.memory_size(), 1);
    EXPECT_EQ(call.memory(0).bytes(), 4096u);
    EXPECT_FALSE(call.memory(0).has_contents());
  }
  client.WaitForWaiters(MemoryReader::kLeftMax);
  // Enough threads are left there: nothing is read any more.
  EXPECT_FALSE(program.Say<calls::CreateAllocation>({}, {}, {{kShown, 4096, 1}}).memory(0).has_contents());
  client.LetGo();
  TraceCall call;
  do {
    call = program.Say<calls::CreateAllocation>({}, {}, {{kShown, 4096, 1}});
  } while (!call.memory(0).has_contents());
  EXPECT_EQ(call.memory(0).contents(), BytesAt(kShown, 4096));
}

TEST(MemoryOfClients, MemoryThatIsNotThereIsNamed) {
  Client client;
  ClientMemory memory(TraceHeader::FULL, client.reader());
  const TraceCall call = Program(memory).Say<calls::CreateAllocation>({}, {}, {{0xbad0000, 4096, 1}});
  ASSERT_EQ(call.memory_size(), 1);
  EXPECT_FALSE(call.memory(0).has_contents());
}

// -- What is left out.

TEST(Redaction, ReplacesBytesAtAnyDepthAndNothingElse) {
  calls::CreateAllocation::Request request;
  request.set_device(5);
  request.set_priv_drv_data("secret");
  request.add_allocation_info()->set_priv_drv_data("more secret");
  request.mutable_allocation_info(0)->set_priv_drv_data_size(11);
  Redact(&request);
  EXPECT_EQ(request.device(), 5u);
  EXPECT_EQ(request.priv_drv_data(), Redacted("secret"));
  EXPECT_EQ(request.allocation_info(0).priv_drv_data(), Redacted("more secret"));
  EXPECT_EQ(request.allocation_info(0).priv_drv_data_size(), 11u);
  EXPECT_TRUE(request.private_runtime_data().empty());
  EXPECT_EQ(Redacted("secret").rfind("<6 bytes ", 0), 0u);
  EXPECT_NE(Redacted("secret"), Redacted("secreT"));
}

TEST(Redaction, NothingOfItIsInTheFile) {
  MemoryFile file;
  TraceHeader header;
  header.set_redacted(true);
  calls::QueryAdapterInfo::Request request;
  request.set_private_data("secret");
  const Status status;
  {
    auto recorder = Recorder::Create(std::make_unique<MemorySink>(file), header);
    ASSERT_TRUE(recorder.ok());
    guest::CallReport report{
        &calls::QueryAdapterInfo::Row(), calls::QueryAdapterInfo::kCode, 1, &request, nullptr, &status, 0};
    (*recorder)->OnCall(report);
    const std::string raw = "raw secret";
    report.request = nullptr;
    report.raw = std::as_bytes(std::span(raw));
    (*recorder)->OnCall(report);
    (*recorder)->OnFile(
        {.what = guest::FileReport::What::kOpen, .file = 1, .tid = 1, .pid = 1, .name = "secret"});
  }
  const Read read = ReadAll(file.bytes());
  ASSERT_EQ(read.records.size(), 3u);
  for (const TraceRecord& record : read.records)
    EXPECT_EQ(record.SerializeAsString().find("secret"), std::string::npos) << record.DebugString();
  EXPECT_EQ(read.records[2].open().name(), Redacted("secret"));
  EXPECT_EQ(request.private_data(), "secret");  // the call goes on with what it has
}

TEST(RecordOptions, ThatDoNotGoTogetherAreRefused) {
  const auto make = [](const RecordOptions& options) {
    return MakeObserver({.record = options}, {}, nullptr).status();
  };
  EXPECT_EQ(make({.memory = "hash"}).value(), -EINVAL);
  EXPECT_EQ(make({.redact = true}).value(), -EINVAL);
  EXPECT_EQ(make({.file = "/nowhere/file", .memory = "full", .redact = true}).value(), -EINVAL);
  EXPECT_EQ(make({.file = "/nowhere/file", .memory = "hash", .redact = true}).value(), -ENOENT);
}

}  // namespace
}  // namespace dxg::trace
