#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "cuse-dxg/replay/recording.h"
#include "proto/contract/calls.gen.h"

namespace dxg::replay {

// Recordings that are made up, record by record; each call takes a microsecond, one after another, unless it
// is said otherwise.
class MadeRecording {
 public:
  MadeRecording() { header.set_format("dxg-trace"); }

  void Open(uint32_t pid, std::string_view name);
  void Close(uint32_t pid);
  // The call that was added, to be changed.
  TraceRecord& Call(uint32_t pid, uint32_t tid, uint32_t code, const Message& request, const Message& reply,
                    int32_t result = 0);
  // Of process and thread 7, which is named "program".
  TraceRecord& Call(uint32_t code, const Message& request, const Message& reply, int32_t result = 0) {
    return Call(7, 7, code, request, reply, result);
  }
  template <class Traits>
  TraceRecord& Add(const typename Traits::Request& request, const typename Traits::Reply& reply,
                   int32_t result = 0) {
    return Call(Traits::Row().code, request, reply, result);
  }

  std::string Bytes() const;
  Result<std::unique_ptr<Recording>> Read() const;
  std::unique_ptr<Recording> Take() const;  // asserts that it can be read

  // The usual beginning: an adapter with handle 0x40000000, and a device with the same number on it.
  void BeginWithDevice();
  static constexpr uint32_t kAdapter = 0x40000000, kDevice = 0x40000000;
  static constexpr uint64_t kLuid = 0x0badbeef;

  TraceHeader header;
  std::vector<TraceRecord> records;

 private:
  TraceRecord& New(uint32_t pid, uint32_t tid);
  uint64_t now_ns_ = 1'000'000;
};

}  // namespace dxg::replay
