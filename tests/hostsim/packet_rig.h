#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tests/hostsim/streamer_rig.h"

namespace dxg::hostsim {

// 32-bit words of a stream, written as a driver does: Words().Add(header).Address(a).Add(1).
class Words {
 public:
  template <class... Numbers>
  Words& Add(Numbers... numbers) {
    (words_.push_back(static_cast<uint32_t>(numbers)), ...);
    return *this;
  }
  Words& Wide(uint64_t value) { return Add(value, value >> 32); }
  Words& Repeat(size_t times, uint32_t word) {
    words_.insert(words_.end(), times, word);
    return *this;
  }
  Words& Append(const Words& more) {
    words_.insert(words_.end(), more.words_.begin(), more.words_.end());
    return *this;
  }
  const std::vector<uint32_t>& all() const { return words_; }
  uint32_t count() const { return static_cast<uint32_t>(words_.size()); }

 private:
  std::vector<uint32_t> words_;
};

// Runs streams of words. They lie in the memory that they change.
class PacketRig : public StreamerRig {
 public:
  using StreamerRig::StreamerRig;
  static constexpr uint64_t kStream = StreamerMemory::kBase;            // the submitted buffer
  static constexpr uint64_t kCalled = StreamerMemory::kBase + 0x80000;  // others, 64 KiB for each
  static constexpr uint64_t kData = StreamerMemory::kBase + 0x100000;

  CommandStop RunWords(const Words& words, uint64_t budget = CommandStreamer::kUnlimited) {
    gpu.Set(kStream, words.all());
    return Run(kStream, words.count() * 4, budget);
  }
  void ExpectDone(const Words& words) {
    const CommandStop stop = RunWords(words);
    EXPECT_EQ(stop.kind, CommandStop::kDone) << std::hex << stop.op_address.value;
  }
  // At the packet that begins with word number `word`, with a note of the kind that begins so.
  void ExpectInvalid(const Words& words, const std::string& note, uint32_t word = 0) {
    gpu.notes.clear();
    const CommandStop stop = RunWords(words);
    EXPECT_EQ(stop.kind, CommandStop::kInvalid) << note;
    EXPECT_EQ(stop.op_address.value, kStream + word * 4);
    ExpectNote(FidelityKind::kUnknown, note);
  }
  void ExpectFault(const Words& words, uint64_t address, bool write) {
    const CommandStop stop = RunWords(words);
    EXPECT_EQ(stop.kind, CommandStop::kPageFault);
    EXPECT_EQ(stop.fault.address.value, address);
    EXPECT_EQ(stop.fault.write, write);
  }
  void ExpectNote(FidelityKind kind, const std::string& note) {
    ASSERT_EQ(gpu.notes.size(), 1u) << note;
    EXPECT_EQ(gpu.notes.begin()->first.first, kind);
    EXPECT_EQ(gpu.notes.begin()->first.second, note);
  }
  // Of a stream that has not ended: the same streamer goes on.
  std::unique_ptr<CommandStreamer> Begin(const Words& words) {
    gpu.Set(kStream, words.all());
    return MakeStreamer(format_, {GpuAddress(kStream), words.count() * 4}, &state_);
  }
  CommandStop::Kind GoOn(CommandStreamer& streamer, uint64_t budget = CommandStreamer::kUnlimited) {
    return streamer.Run(gpu, cancelled, budget).kind;
  }
};

}  // namespace dxg::hostsim
