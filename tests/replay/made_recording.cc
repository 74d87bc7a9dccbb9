#include "tests/replay/made_recording.h"

#include <gtest/gtest.h>

#include "link/trace/trace_writer.h"
#include "tests/trace/memory_sink.h"
#include "tests/trace/read_all.h"

namespace dxg::replay {

TraceRecord& MadeRecording::New(uint32_t pid, uint32_t tid) {
  constexpr uint64_t kNs = 1000;
  TraceRecord& record = records.emplace_back();
  record.set_pid(pid);
  record.set_tid(tid);
  record.set_begin_ns(now_ns_);
  record.set_end_ns(now_ns_ + kNs);
  now_ns_ += 2 * kNs;
  return record;
}

void MadeRecording::Open(uint32_t pid, std::string_view name) {
  TraceRecord& record = New(pid, pid);
  record.mutable_open()->set_file(records.size());
  record.mutable_open()->set_name(std::string(name));
}

void MadeRecording::Close(uint32_t pid) { New(pid, 0).mutable_close()->set_file(records.size()); }

TraceRecord& MadeRecording::Call(uint32_t pid, uint32_t tid, uint32_t code, const Message& request,
                                 const Message& reply, int32_t result) {
  TraceRecord& record = New(pid, tid);
  record.set_result(result);
  record.mutable_call()->set_code(code);
  record.mutable_call()->set_request(request.SerializeAsString());
  record.mutable_call()->set_reply(reply.SerializeAsString());
  return record;
}

std::string MadeRecording::Bytes() const {
  trace::MemoryFile file;
  trace::MemorySink sink(file);
  const auto writer = *trace::TraceWriter::Begin(sink, header);
  trace::Batch batch;
  for (const TraceRecord& record : records) {
    TraceItem item;
    *item.mutable_record() = record;
    batch.Add(item);
  }
  EXPECT_TRUE(batch.empty() || writer->Write(batch).ok());
  EXPECT_TRUE(writer->Close().ok());
  return file.bytes();
}

Result<std::unique_ptr<Recording>> MadeRecording::Read() const {
  std::string bytes = Bytes();
  DXG_ASSIGN(const auto reader, trace::ReaderOf(bytes));
  return Recording::Read(*reader, "made.dxg");
}

std::unique_ptr<Recording> MadeRecording::Take() const {
  auto read = Read();
  EXPECT_TRUE(read.ok()) << read.status().why();
  return *std::move(read);
}

void MadeRecording::BeginWithDevice() {
  Open(7, "program");
  calls::OpenAdapterFromLuid::Request open;
  calls::OpenAdapterFromLuid::Reply opened;
  open.set_adapter_luid(kLuid);
  opened.set_adapter_handle(kAdapter);
  Add<calls::OpenAdapterFromLuid>(open, opened);
  calls::CreateDevice::Request create;
  calls::CreateDevice::Reply created;
  create.set_adapter(kAdapter);
  created.set_device(kDevice);
  Add<calls::CreateDevice>(create, created);
}

}  // namespace dxg::replay
