#pragma once

#include <string>

#include "cuse-dxg/guest/observer.h"
#include "proto/dxg/trace.pb.h"

// What an observer sees and what a recording has, as JSON objects, each on a line. Messages are as protobuf's
// JSON has them: bytes are Base64, numbers of 64 bits are strings. `decoded` and `decoded_request` are the
// messages that bytes of reply and request hold (proto/dxg/answers.proto).

namespace dxg::trace {

void AppendJson(const guest::CallReport& report, std::string* out);
void AppendJson(const guest::FileReport& report, std::string* out);
void AppendJson(const guest::AdapterReport& report, std::string* out);

// A record of neither of these.
void AppendEventJson(const TraceRecord& record, uint32_t interface_version, std::string* out);

}  // namespace dxg::trace
