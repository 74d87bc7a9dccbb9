// Random bytes as a recording that is replayed: it is read or refused with a reason; what it has is answered,
// and laid out for a client; what it has not is refused.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <string>

#include "cuse-dxg/replay/answers.h"
#include "cuse-dxg/replay/comparison.h"
#include "cuse-dxg/replay/layout.h"
#include "link/trace/trace_writer.h"
#include "proto/contract/calls.gen.h"
#include "tests/fuzz/fuzz_check.h"
#include "tests/trace/memory_sink.h"

namespace {

using dxg::replay::Answers;
using dxg::replay::Recording;

std::string Whole(const dxg::TraceItem& item) {
  dxg::trace::MemoryFile file;
  dxg::trace::MemorySink sink(file);
  dxg::TraceHeader header;
  header.set_format(dxg::trace::kFormat);
  const auto writer = *dxg::trace::TraceWriter::Begin(sink, header);
  dxg::trace::Batch batch;
  batch.Add(item);
  FUZZ_CHECK(writer->Write(batch).ok());
  return file.bytes();
}

dxg::Result<std::unique_ptr<Recording>> Read(std::string& bytes) {
  auto reader = dxg::trace::TraceReader::Read(fmemopen(bytes.data(), bytes.size(), "r"), "input");
  if (!reader.ok()) return reader.status();
  return Recording::Read(**reader, "input");
}

void LookUp(std::string bytes) {
  if (bytes.empty()) return;
  auto recording = Read(bytes);
  FUZZ_CHECK(recording.ok() || !recording.status().why().empty());
  if (!recording.ok()) return;
  auto again = Read(bytes);
  FUZZ_CHECK(again.ok());
  Answers answers(*std::move(again), false);
  const uint64_t process = answers.Begin("program");
  dxg::replay::Comparison comparison;
  for (const auto& call : (*recording)->calls()) {
    const auto request = call.Request(), reply = call.Reply();
    (void)answers.Find({.process = process,
                        .thread = 1,
                        .pid = 1,
                        .row = *call.row,
                        .request = *request,
                        .descriptor = [](uint64_t) { return 0u; }});
    dxg::replay::ClientCall laid_out(*call.row, *request, *reply, call.result, {0x10, ""},
                                     [](uint64_t) { return uint64_t{0}; });
    const auto seen = laid_out.ReadReply();
    (void)comparison.Compare(1, call, *request, call.result, *seen);
    (void)dxg::replay::HistoryOf(**recording, call, 4);
    FUZZ_CHECK(!dxg::replay::LineOf(call).empty());
  }
}

}  // namespace

// The first byte says whether the others are a file, a record, or the messages of a call.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 3) return 0;
  const std::string bytes(reinterpret_cast<const char*>(data + 2), size - 2);  // Safety: bytes
  dxg::TraceItem item;
  switch (data[0] % 3) {
    case 0:
      LookUp(bytes);
      break;
    case 1:
      if (item.mutable_record()->ParseFromString(bytes)) LookUp(Whole(item));
      break;
    default:
      const auto calls = dxg::contract::Calls();
      dxg::TraceCall& call = *item.mutable_record()->mutable_call();
      item.mutable_record()->set_pid(7);
      call.set_code(calls[data[1] % calls.size()].code);
      call.set_request(bytes.substr(0, bytes.size() / 2));
      call.set_reply(bytes.substr(bytes.size() / 2));
      LookUp(Whole(item));
  }
  return 0;
}
