// What a host records of its guests: each command and its answer as the bytes of the VMBus, and what it sends
// itself.
#include "hostsim/serve/recorded_host.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <cstring>
#include <vector>

#include "hostsim/backend/in_process.h"
#include "link/vmbus/message.h"
#include "proto/contract/host_commands.gen.h"
#include "proto/dxg/host.pb.h"
#include "tests/trace/memory_sink.h"
#include "tests/trace/read_all.h"

namespace dxg::hostsim::serve {
namespace {

using trace::MemoryFile;

class Guest final : public BackendEvents {
 public:
  explicit Guest(MemoryFile& file) {
    auto recording = trace::Recording::Begin(std::make_unique<trace::MemorySink>(file), {});
    auto host = CreateInProcessBackendOf({});
    EXPECT_TRUE(recording.ok() && host.ok());
    host_ = Recorded(*std::move(host), *std::move(recording), 3);
    EXPECT_TRUE(host_->Start(this).ok());
  }

  template <class Request, class Reply>
  Status Ask(const Request& request, Reply* reply, uint64_t adapter = 0, uint32_t process = 0,
             bool asynchronous = false) {
    Status got;
    const HostCall call{contract::FindHostCommand(contract::kHostCommandId<Request>),
                        process,
                        adapter,
                        &request,
                        reply,
                        asynchronous};
    host_->Submit(
        call,
        {[](void* context, Status status) { *static_cast<Status*>(context) = std::move(status); }, &got});
    return got;
  }
  uint32_t NewProcess() {
    host::CreateProcess::Request request;
    host::CreateProcess::Reply reply;
    request.set_process_id(1234);
    (void)Ask(request, &reply);
    return reply.process();
  }

  void AdapterArrived(const HostAdapter& adapter) override { adapters.push_back(adapter); }
  void AdapterStopped(uint64_t) override {}
  void AdapterRemoved(uint64_t) override {}
  void DeviceStateChanged(uint64_t) override {}
  void GuestEvent(uint64_t) override {}
  void HostLost() override {}

  std::vector<HostAdapter> adapters;
  std::unique_ptr<Backend> host_;
};

std::span<const std::byte> BytesOf(const std::string& text) { return std::as_bytes(std::span(text)); }

TEST(RecordedHost, CommandsAndAnswersAreThereAsPackets) {
  MemoryFile file;
  host::QueryAdapterInfo::Request request;
  host::QueryAdapterInfo::Reply reply;
  uint64_t luid = 0;
  uint32_t process = 0;
  {
    Guest guest(file);
    process = guest.NewProcess();
    luid = guest.adapters.at(0).address;
    request.set_query_type(13);
    request.set_private_data_size(4);
    request.set_private_data(std::string(4, '\0'));
    ASSERT_TRUE(guest.Ask(request, &reply, luid, process).ok());
  }
  const trace::Read read = trace::ReadAll(file.bytes());
  ASSERT_EQ(read.records.size(), 3u) << "an adapter, a process, a question";
  EXPECT_EQ(read.records[0].adapter().change(), TraceAdapter::ARRIVED);
  const TraceHostCommand& created = read.records[1].host_command();
  EXPECT_EQ(created.command(), contract::kHostCommandId<host::CreateProcess::Request>);
  EXPECT_EQ(created.channel(), 0u);

  const TraceRecord& record = read.records[2];
  const TraceHostCommand& asked = record.host_command();
  EXPECT_EQ(asked.guest(), 3u);
  EXPECT_EQ(asked.process(), process);
  EXPECT_EQ(asked.channel(), luid);
  EXPECT_LE(record.begin_ns(), record.end_ns());
  const auto head = vmbus::DecodeHead(BytesOf(asked.packet()), false);
  ASSERT_TRUE(head.has_value());
  EXPECT_EQ(head->command, asked.command());
  EXPECT_EQ(head->process, process);
  const auto* command = contract::FindHostCommand(head->command);
  host::QueryAdapterInfo::Request decoded;
  host::QueryAdapterInfo::Reply answer;
  ASSERT_TRUE(command->decode_request(head->bytes, &decoded));
  EXPECT_EQ(decoded.SerializeAsString(), request.SerializeAsString());
  ASSERT_TRUE(command->decode_reply(BytesOf(asked.answer()), decoded, kInterfaceVersionNewest, &answer));
  EXPECT_EQ(answer.private_data(), reply.private_data());
  EXPECT_NE(answer.private_data(), std::string(4, '\0'));
}

TEST(RecordedHost, WhatTheHostSendsIsToTheGuest) {
  MemoryFile file;
  {
    Guest guest(file);
    dynamic_cast<BackendEvents&>(*guest.host_).GuestEvent(77);
  }
  const trace::Read read = trace::ReadAll(file.bytes());
  ASSERT_EQ(read.records.size(), 2u);
  const TraceHostCommand& sent = read.records[1].host_command();
  EXPECT_TRUE(sent.to_guest());
  host::SignalGuestEvent message;
  ASSERT_TRUE(contract::FindGuestMessage(sent.command())->decode(BytesOf(sent.packet()), &message));
  EXPECT_EQ(message.event(), 77u);
}

TEST(RecordedHost, ACommandThatDoesNotReachItIsThereWithItsError) {
  MemoryFile file;
  {
    Guest guest(file);
    guest.host_->Stop();
    host::CreateProcess::Reply reply;
    EXPECT_EQ(guest.Ask(host::CreateProcess::Request(), &reply).value(), -ENODEV);
  }
  const trace::Read read = trace::ReadAll(file.bytes());
  ASSERT_EQ(read.records.size(), 2u);
  EXPECT_EQ(read.records[1].result(), -ENODEV);
  EXPECT_TRUE(read.records[1].host_command().answer().empty());
}

TEST(RecordedHost, WithoutARecordingItIsTheHostItself) {
  auto host = CreateInProcessBackendOf({});
  ASSERT_TRUE(host.ok());
  Backend* const inner = (*host).get();
  EXPECT_EQ(Recorded(*std::move(host), nullptr, 1).get(), inner);
}

}  // namespace
}  // namespace dxg::hostsim::serve
