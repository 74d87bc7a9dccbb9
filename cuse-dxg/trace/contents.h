#pragma once

#include <memory>
#include <span>

#include "cuse-dxg/guest/observer.h"
#include "cuse-dxg/trace/client_memory.h"
#include "proto/contract/contract.h"
#include "proto/dxg/trace.pb.h"

namespace dxg::trace {

// What whoever makes records from outside adds to them and leaves out, as Recorder does for those of a node:
// `--memory` and `--redact`.
class Contents {
 public:
  // `memory` and `redacted` are those of the recording.
  Contents(const TraceHeader& header, ReadClient read_client);

  // `request` and `reply` are those of the record's call, null where it has none, and `named` what memory it
  // names.
  void Apply(const contract::Message* request, const contract::Message* reply,
             std::span<const guest::NamedMemory> named, TraceRecord* record);
  // The same of a record without a call.
  void Apply(TraceRecord* record) { Apply(nullptr, nullptr, {}, record); }
  bool wants_memory() const { return memory_ != nullptr; }

 private:
  void AddMemory(const contract::Message& request, const contract::Message& reply,
                 std::span<const guest::NamedMemory> named, TraceRecord* record);

  const std::unique_ptr<ClientMemory> memory_;  // null: nothing of it is recorded
  const bool redacted_;
};

// Of a header that is whole but for that. EINVAL: the two do not go together. `memory` is one of none, hash
// and full.
Status SetContents(const std::string& memory, bool redacted, TraceHeader* header);

}  // namespace dxg::trace
