#pragma once

#include <memory>
#include <string>

#include "base/status.h"
#include "cuse-dxg/guest/observer.h"
#include "proto/contract/contract.h"
#include "proto/dxg/trace.pb.h"

// Records of what no client asked for: processes, descriptors that move, events, and host commands.

namespace dxg::trace {

// As a recording has it.
TraceRecord RecordOf(const guest::SignalReport& report);

// A host command as the contract has it. Null where the packet is not what its command has.
struct HostCommandText {
  std::string name;  // "CreateDevice"; a number of what the contract does not know
  std::unique_ptr<contract::Message> request;
  std::unique_ptr<contract::Message> reply;
};

HostCommandText DecodeHostCommand(const TraceHostCommand& command, uint32_t interface_version);

// EINVAL: it has a change or a kind that no such record has. Ok for records of the other sorts.
Status CheckEvent(const TraceRecord& record);

//   --- process 12 forked 13
//   --- process 12 sent descriptor 5 of file 3
//   --- event WORK_BEGAN {process=3, object=0x40000080, value=7, node=1}
//   --- host command CreateDevice({...}) = {...}
// With its newline.
std::string EventLine(const TraceRecord& record, uint32_t interface_version, size_t limit);

}  // namespace dxg::trace
