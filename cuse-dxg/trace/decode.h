#pragma once

#include <map>
#include <memory>
#include <string>

#include "cuse-dxg/guest/observer.h"
#include "proto/abi/interface.h"
#include "proto/dxg/trace.pb.h"

namespace dxg::trace {

// A record as an observer saw it. What it gives is there until the next record is decoded.
class Decoder {
 public:
  // EINVAL: it does not hold what its call has.
  Status Decode(const TraceRecord& record);

  // One of the three, by record.what_case(); the other sorts of records need no more than themselves.
  const guest::CallReport& call() const { return call_; }
  guest::FileReport file() const;
  guest::AdapterReport adapter() const;
  // Of the host's commands: as the last adapter said that has one.
  uint32_t interface_version() const { return interface_version_; }

 private:
  using Owned = std::unique_ptr<contract::Message>;
  Status DecodeCall(const TraceRecord& record);

  const TraceRecord* record_ = nullptr;
  guest::CallReport call_{};
  Status status_;
  uint32_t interface_version_ = kInterfaceVersionNewest;
  std::map<uint32_t, std::pair<Owned, Owned>> messages_;  // request and reply, by the call's code
};

// "CreateDevice", "ioctl", "open", "close", "adapter", "process", "descriptor", "event", "host".
const char* NameOf(const TraceRecord& record);

// The record as a line, as --trace-text has it. It is decoded.
std::string LineOf(const TraceRecord& record, const Decoder& decoder, size_t limit);

// The same as a JSON object, with its newline.
std::string JsonOf(const TraceRecord& record, const Decoder& decoder);

}  // namespace dxg::trace
