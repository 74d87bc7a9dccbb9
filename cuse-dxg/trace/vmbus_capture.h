#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <deque>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <utility>

#include "base/status.h"
#include "proto/dxg/trace.pb.h"

namespace dxg::trace {

// Reads what the bpftrace script of docs/vmbus.md prints: a line for each packet that dxgkrnl sends or gets.
//
//     > CHANNEL BYTES TRANSACTION type T flags F [at NS] PACKET       sent; without the ring's descriptor
//     < CHANNEL BYTES [at NS] PACKET                                  received, with it
//
// CHANNEL is an address of the kernel, TRANSACTION is hexadecimal, PACKET is bytes as \xNN, or printable ones
// as they are. Other lines, which bpftrace prints as well, are skipped; "Lost N events" is remembered.
class VmbusCapture {
 public:
  static constexpr size_t kLineBytesMax = 1u << 20;
  static constexpr size_t kWaitingMax = 4096;  // commands without an answer; older ones get none

  using Take = std::function<Status(const TraceItem& item)>;
  // Gets the records: a command when it is answered, or at the end.
  explicit VmbusCapture(Take take) : take_(std::move(take)) {}

  // A line, without its newline; `whole`: it had one. Refused: as `take`.
  Status Line(std::string_view line, bool whole = true);
  // Those that wait for an answer.
  Status End();
  // All of a file, and its end.
  Status Read(std::FILE* file);

  uint64_t packets() const { return packets_; }
  uint64_t not_understood() const { return not_understood_; }  // lines that look like packets and are none
  uint64_t first_not_understood() const { return first_not_understood_; }  // its number, from 1 on

 private:
  using Key = std::pair<uint64_t, uint64_t>;  // channel and transaction
  struct Packet {
    bool sent = false;
    uint64_t channel = 0, transaction = 0, at_ns = 0;
    uint32_t bytes = 0;  // that there were; fewer are shown where the script cut them
    uint16_t type = 0, flags = 0;
    std::string shown;
  };

  static bool Parse(std::string_view line, Packet* packet);
  Status TakePacket(const Packet& packet);
  Status Answer(const Packet& packet);
  Status Drop(const Key& key);
  // The record of a packet that has a command; false: it has none.
  bool MakeRecord(const Packet& packet, TraceRecord* record);

  const Take take_;
  std::map<Key, TraceItem> waiting_;
  std::deque<Key> order_;                  // of those, the oldest first; some are answered
  std::map<uint64_t, uint64_t> channels_;  // numbers for those whose adapter is not known
  uint64_t lines_ = 0, packets_ = 0, not_understood_ = 0, first_not_understood_ = 0;
};

}  // namespace dxg::trace
