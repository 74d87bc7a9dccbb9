#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "cuse-dxg/trace/decode.h"
#include "cuse-dxg/trace/perfetto_writer.h"
#include "proto/contract/answers.h"

namespace dxg::trace {

// Makes a timeline of a recording: what each thread called, what each queue got and each engine did, which
// submission let which wait end, how much memory there was.
//
//   process --- thread: a slice for each call
//           \-- queue: a point for each submission, a slice for its work where the recording has that
//           \-- counters: memory, budget, paging that is under way
//   engines --- node: a slice for each piece of work
//   flows: submission -> signal behind it -> the end of the wait
class Timeline {
 public:
  explicit Timeline(PerfettoWriter& writer) : writer_(writer) {}

  // `number` is the record's in its file, from 1 on.
  void Add(const TraceRecord& record, const Decoder& decoder, uint64_t number);
  void AddLost(uint64_t records);

 private:
  static constexpr size_t kValuesMax = 1024;  // of a fence, for which a wait may still come

  using Handle = std::pair<uint32_t, uint64_t>;  // in a process
  using Event = PerfettoWriter::Event;
  struct Queue {
    uint64_t track;
    uint32_t node = 0;
    uint64_t flow = 0;         // from its last submission to the signal behind it; 0: none
    uint64_t fence = 0;        // of a hardware or paging queue: the fence that its work sets
    uint64_t submissions = 0;  // of a context, which knows its work by their number
    bool working = false;
  };

  void AddCall(const TraceRecord& record, const guest::CallReport& call, uint64_t number);
  void AddOpen(const TraceRecord& record);
  void AddClose(const TraceRecord& record);
  void AddAdapter(const guest::AdapterReport& report);
  void AddEvent(const TraceRecord& record);

  void NewQueue(const guest::CallReport& call);
  void Submit(const guest::CallReport& call, uint64_t end_ns, Event* slice);
  void Signal(const guest::CallReport& call, Event* slice);
  void GpuWait(const guest::CallReport& call, Event* slice);
  void CpuWait(const guest::CallReport& call, uint64_t end_ns, uint64_t thread);
  void Paging(const guest::CallReport& call, uint64_t end_ns, Event* slice);
  void Memory(const guest::CallReport& call, uint64_t end_ns);
  void Statistics(const guest::CallReport& call, uint64_t end_ns, const contract::Message& decoded);
  void DeviceState(uint32_t pid, uint64_t device, uint64_t state, uint64_t at_ns);
  void CountProcesses(uint64_t at_ns);

  uint64_t ProcessTrack(uint32_t pid) { return writer_.Process(pid, names_[pid]); }
  Queue* FindQueue(uint32_t pid, uint64_t handle);
  // The flow of a fence that gets to a value; a new one where there is none.
  uint64_t FlowTo(uint32_t pid, uint64_t fence, uint64_t value);
  // Flows of values up to this one, which are over then.
  std::vector<uint64_t> FlowsUpTo(uint32_t pid, uint64_t fence, uint64_t value);

  PerfettoWriter& writer_;
  contract::AnswerDecoder answers_;
  std::map<uint32_t, std::string> names_;  // of processes
  std::map<uint32_t, uint64_t> open_;      // files, by process
  std::map<uint64_t, uint32_t> file_of_;   // whose a file is
  std::map<Handle, Queue> queues_;
  std::map<Handle, std::map<uint64_t, uint64_t>> fences_;   // flows, by value
  std::map<Handle, std::pair<uint64_t, uint64_t>> paging_;  // asked and done, by the paging queue's fence
  std::map<Handle, uint64_t> states_;                       // of devices, as they were last seen
  std::map<Handle, uint64_t> luids_;                        // of adapters
  uint64_t flows_ = 0;
  uint64_t last_ns_ = 0;
};

}  // namespace dxg::trace
