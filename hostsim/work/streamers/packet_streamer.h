#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "hostsim/work/command_streamer.h"
#include "hostsim/work/streamers/register_file.h"
#include "hostsim/work/streamers/stream_memory.h"

namespace dxg::hostsim {

// A packet of a stream of 32-bit words: its header, and what follows it.
struct Packet {
  // As many words are fetched at once; the others of a longer packet are in memory.
  static constexpr uint32_t kWordsAtHand = 64;

  GpuAddress address;
  uint32_t words = 0;              // with the header
  const uint32_t* word = nullptr;  // min(words, kWordsAtHand) of them

  uint32_t header() const { return word[0]; }
  uint32_t operator[](uint32_t index) const { return word[index]; }
  uint64_t Wide(uint32_t index) const { return uint64_t{word[index + 1]} << 32 | word[index]; }
  GpuAddress AddressOf(uint32_t index) const { return address + uint64_t{index} * sizeof(uint32_t); }
};

// What the streamers of AMD and Adreno have in common. Their commands are packets of 32-bit words, and a
// packet may call or go on in another buffer:
//
//   submitted buffer:  packet | packet | call B | packet        B:  packet | packet | go on in C
//
// Words are fetched in blocks, as the real engines do; what a packet changes in its own buffer behind it is
// seen by Refetch(). A stream that goes on for longer than any real engine would be let ends in a hang.
class PacketStreamer : public CommandStreamer {
 public:
  CommandStop Run(CommandEnvironment& environment, const std::atomic<bool>& cancelled,
                  uint64_t budget) override;

 protected:
  // `buffers_max` counts the submitted one.
  PacketStreamer(const GpuBuffer& buffer, std::unique_ptr<StreamerState>* state, uint32_t buffers_max,
                 const char* name)
      : registers_(RegisterFile::Of(state)), name_(name), buffers_max_(buffers_max) {
    buffers_.push_back({buffer.address, buffer.bytes / uint32_t{sizeof(uint32_t)}, 0});
  }

  // -- Of a format. A streamer never trusts a packet: `words` may be anything.

  // How many words the packet with this header has, by PeekAt if the header alone does not say it; 0: there
  // is no such packet, and Unknown was called.
  virtual uint32_t Measure(uint32_t header) = 0;
  // A word of the packet, counted from its header; nothing if it is not in the buffer, or cannot be read.
  std::optional<uint32_t> PeekAt(uint32_t index);
  // Its header is the one that was measured. The packet is passed already, unless the stop says that it has
  // to be looked at again.
  virtual CommandStop Execute(const Packet& packet) = 0;

  // -- For it, while it executes a packet.

  StreamMemory& memory() { return *memory_; }
  RegisterFile& registers() { return registers_; }
  CommandEnvironment& environment() { return memory_->environment(); }

  static CommandStop Done() { return {}; }
  CommandStop Stop(CommandStop::Kind kind) const;
  CommandStop Wait() const { return Stop(CommandStop::kWaiting); }
  // Of the last access to memory.
  CommandStop Fault() const;
  CommandStop DoneOrFault(bool done) const;
  // There is no such packet, or it is not as the engine takes it. `what` names it for the report.
  CommandStop Unknown(const std::string& what);
  // It is read over, although a real engine would do something.
  CommandStop Approximate(const std::string& what);
  // The bytes that the packet is going to move. A result other than Done ends the packet.
  CommandStop Spend(uint64_t bytes);
  // Copies words of the packet from `first` on.
  CommandStop WriteWords(const Packet& packet, uint32_t first, GpuAddress to);
  CommandStop SetRegisters(const Packet& packet, uint32_t first, uint32_t number);
  // Counts what is not executed.
  CommandStop LeaveOut(GpuDispatch dispatch, bool (*ends)(uint64_t), uint32_t unit);

  CommandStop Call(GpuAddress address, uint32_t words);
  CommandStop GoOnIn(GpuAddress address, uint32_t words);
  // Passes over so many words behind the packet, at most to the end of its buffer.
  void Skip(uint32_t words);
  // What was fetched is fetched again.
  void Refetch() { fetched_words_ = 0; }

 private:
  struct Buffer {
    GpuAddress address;
    uint32_t words;
    uint32_t at;  // of the next packet
  };

  const uint32_t* Fetch(uint32_t words);
  CommandStop Step();

  RegisterFile& registers_;
  const char* const name_;
  const uint32_t buffers_max_;
  std::vector<Buffer> buffers_;  // the last one is executed
  uint64_t passed_words_ = 0;    // of all packets
  uint64_t moved_bytes_ = 0;
  std::map<GpuAddress, uint64_t> hashes_;  // of programs that were dispatched

  // Of the Run that is under way.
  StreamMemory* memory_ = nullptr;
  uint64_t budget_ = 0;
  GpuAddress packet_address_;

  // Words of the last buffer from `fetched_at_` on.
  std::unique_ptr<uint32_t[]> fetched_;
  uint32_t fetched_room_ = 0;
  uint32_t fetched_at_ = 0;
  uint32_t fetched_words_ = 0;
};

}  // namespace dxg::hostsim
