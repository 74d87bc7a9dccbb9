// Records of what no client asked for: each sort is printed, named and refused as it should be.
#include "cuse-dxg/trace/events.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <nlohmann/json.hpp>

#include "cuse-dxg/trace/decode.h"
#include "cuse-dxg/trace/filter.h"
#include "proto/contract/host_commands.gen.h"

namespace dxg::trace {
namespace {

std::string LineOf(const TraceRecord& record) {
  Decoder decoder;
  const Status status = decoder.Decode(record);
  return status.ok() ? trace::LineOf(record, decoder) : std::string(status.why());
}

nlohmann::json JsonOf(const TraceRecord& record) {
  Decoder decoder;
  EXPECT_TRUE(decoder.Decode(record).ok());
  return nlohmann::json::parse(trace::JsonOf(record, decoder));
}

bool Passes(const TraceRecord& record, const char* filter) { return Filter::Parse(filter)->Passes(record); }

TEST(Events, ProcessesAreLines) {
  TraceRecord record;
  record.set_pid(12);
  TraceProcess& process = *record.mutable_process();
  process.set_child(13);
  EXPECT_EQ(LineOf(record), "0.000000 --- process 12 forked 13\n");
  process.set_change(TraceProcess::THREAD);
  EXPECT_EQ(LineOf(record), "0.000000 --- process 12 began thread 13\n");
  process.set_change(TraceProcess::EXECUTED);
  process.set_program("/bin/a\x1b[2J");
  EXPECT_EQ(LineOf(record), "0.000000 --- process 12 executes \"/bin/a\\x1b[2J\"\n");
  EXPECT_EQ(JsonOf(record)["change"], "EXECUTED");
  process.set_change(TraceProcess::EXITED);
  process.set_status(9);
  EXPECT_EQ(LineOf(record), "0.000000 --- process 12 ended with status 0x9\n");
  EXPECT_TRUE(Passes(record, "call=process"));
}

TEST(Events, DescriptorsThatMoveAreLines) {
  TraceRecord record;
  record.set_pid(12);
  record.mutable_moved()->set_fd(5);
  record.mutable_moved()->set_file(3);
  record.mutable_moved()->set_from_fd(4);
  EXPECT_EQ(LineOf(record), "0.000000 --- process 12 duplicated into descriptor 5 of file 3, from 4\n");
  record.mutable_moved()->set_change(TraceMove::TAKEN);
  EXPECT_EQ(LineOf(record), "0.000000 --- process 12 took descriptor 5 of file 3\n");
  EXPECT_EQ(JsonOf(record)["fd"], 5);
  EXPECT_TRUE(Passes(record, "call=descriptor"));
}

TEST(Events, EventsAreLines) {
  TraceRecord record;
  TraceEvent& event = *record.mutable_event();
  event.set_process(3);
  event.set_object(0x40);
  event.set_value(7);
  event.set_node(1);
  event.set_kind(TraceEvent::FENCE);
  EXPECT_EQ(LineOf(record), "0.000000 --- event FENCE {process=3, object=0x40, value=7}\n");
  event.set_kind(TraceEvent::WORK_BEGAN);
  EXPECT_EQ(LineOf(record), "0.000000 --- event WORK_BEGAN {process=3, object=0x40, value=7, node=1}\n");
  EXPECT_EQ(JsonOf(record)["kind"], "WORK_BEGAN");
  event.set_kind(TraceEvent::DEVICE_STATE);
  event.set_adapter(0x10000000f);
  EXPECT_EQ(LineOf(record),
            "0.000000 --- event DEVICE_STATE {process=3, object=0x40, value=7, adapter=00000001-0000000f}\n");
  EXPECT_EQ(JsonOf(record)["adapter"], 0x10000000fu);
  EXPECT_TRUE(Passes(record, "call=event"));
}

TEST(Events, AnEventfdHasItsFence) {
  const TraceRecord record =
      RecordOf({.pid = 12, .process = 3, .fd = 9, .object = 0x40, .value = 7, .at_ns = 5});
  EXPECT_EQ(record.pid(), 12u);
  EXPECT_EQ(record.begin_ns(), 5u);
  EXPECT_EQ(LineOf(record), "0.000000 --- event EVENTFD {process=3, object=0x40, value=7, fd=9}\n");
  EXPECT_EQ(JsonOf(record)["fd"], 9);
}

TEST(Events, HostCommandsAreDecoded) {
  const contract::CommandRow* row = nullptr;
  for (const contract::CommandRow& each : contract::HostCommands()) {
    if (std::string_view(each.name) == "CREATEDEVICE") row = &each;
  }
  ASSERT_NE(row, nullptr);
  host::CreateDevice::Request request;
  request.set_flags(5);
  std::string packet(row->request_size(request), '\0');
  row->encode_request(request, reinterpret_cast<std::byte*>(packet.data()));  // Safety: bytes
  TraceRecord record;
  record.mutable_host_command()->set_command(row->id);
  record.mutable_host_command()->set_packet(packet);
  EXPECT_NE(LineOf(record).find("0.000000 --- host command CREATEDEVICE({"), std::string::npos)
      << LineOf(record);
  EXPECT_NE(LineOf(record).find("flags=5"), std::string::npos) << LineOf(record);
  EXPECT_EQ(JsonOf(record)["request"]["flags"], 5);
  record.mutable_host_command()->set_packet("short");
  EXPECT_EQ(LineOf(record), "0.000000 --- host command CREATEDEVICE(5 bytes)\n");
  record.mutable_host_command()->set_command(0xfffff);
  EXPECT_EQ(LineOf(record), "0.000000 --- host command 0xfffff(5 bytes)\n");
  EXPECT_TRUE(Passes(record, "call=host"));
}

TEST(Events, RefusesChangesThatItDoesNotKnow) {
  TraceRecord process, moved, event, adapter;
  process.mutable_process()->set_change(static_cast<TraceProcess::Change>(9));
  moved.mutable_moved()->set_change(static_cast<TraceMove::Change>(9));
  event.mutable_event()->set_kind(static_cast<TraceEvent::Kind>(-1));
  adapter.mutable_adapter()->set_change(static_cast<TraceAdapter::Change>(3));
  for (const TraceRecord& record : {process, moved, event, adapter, TraceRecord()}) {
    Decoder decoder;
    EXPECT_EQ(decoder.Decode(record).value(), -EINVAL);
  }
}

}  // namespace
}  // namespace dxg::trace
