#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "hostsim/memory/io_space.h"
#include "hostsim/memory/storage.h"
#include "hostsim/work/command_streamer.h"

// A streamer alone: memory that one page table shows, no engine, and a clock that only reads forward.

namespace dxg::hostsim {

class StreamerMemory final : public CommandEnvironment {
 public:
  static constexpr uint64_t kBase = 0x100000;
  static constexpr uint64_t kBytes = 4u << 20;
  static constexpr uint64_t kHole = kBase + kBytes / 2;      // a page that is not there
  static constexpr uint64_t kReadOnly = kHole + kPageBytes;  // a page that takes no writes

  StreamerMemory()
      : budget_({}),
        video_(std::make_shared<VideoMemory>(std::vector<Segment>{{kLocal, 1ull << 30, false}}, budget_,
                                             AdapterProfile::Trouble())),
        regions_(std::make_shared<IoSpace>(1)) {
    StorageTraits traits;
    traits.bytes = kBytes;
    storage_ = std::make_shared<Storage>(video_, traits, regions_.Allocate(kBytes), count_);
  }

  bool Translate(GpuAddress start, uint64_t bytes, bool write, std::vector<GpuSpan>* spans,
                 GpuFault* fault) override {
    ++translations;
    if (on_translate) on_translate(start.value, bytes);
    spans->clear();
    uint64_t address = start.value;
    while (bytes != 0) {
      const uint64_t page = address / kPageBytes * kPageBytes;
      if (address < kBase || address >= kBase + kBytes || page == kHole)
        return *fault = {GpuFault::kUnmapped, GpuAddress(address), write}, false;
      if (write && page == kReadOnly)
        return *fault = {GpuFault::kReadOnly, GpuAddress(address), write}, false;
      uint64_t end = kBase + kBytes;
      if (address < kHole) end = kHole;
      if (page == kReadOnly) end = page + kPageBytes;
      const uint64_t part = std::min(bytes, end - address);
      spans->push_back({.storage = storage_, .offset = address - kBase, .bytes = part});
      address += part;
      bytes -= part;
    }
    return true;
  }
  uint64_t Timestamp() override { return ++timestamp; }
  void Mark(uint64_t) override {}
  Aftermath* aftermath() override { return &after_; }
  void Note(FidelityKind kind, std::string_view what) override { ++notes[{kind, std::string(what)}]; }
  bool LeaveOut(const GpuDispatch& dispatch) override {
    dispatches.push_back(dispatch);
    return skips;
  }

  ExecutionRules Execution() override { return execution; }
  void Executed(const GpuDispatch& dispatch, uint64_t instructions) override {
    executed.emplace_back(dispatch, instructions);
  }

  template <class T>
  T At(uint64_t address) {
    T value;
    // Safety: bytes of a number.
    storage_->Read(address - kBase, {reinterpret_cast<uint8_t*>(&value), sizeof value});
    return value;
  }
  template <class T>
  void Set(uint64_t address, const std::vector<T>& values) {
    // Safety: bytes of numbers.
    storage_->Write(address - kBase,
                    {reinterpret_cast<const uint8_t*>(values.data()), values.size() * sizeof(T)});
  }

  uint64_t translations = 0;
  std::function<void(uint64_t address, uint64_t bytes)> on_translate;  // what others do meanwhile
  uint64_t timestamp = 0x1'0000'0000;
  bool skips = true;
  std::vector<GpuDispatch> dispatches;
  ExecutionRules execution;
  std::vector<std::pair<GpuDispatch, uint64_t>> executed;  // and by how many instructions
  std::map<std::pair<FidelityKind, std::string>, int> notes;

 private:
  std::atomic<uint64_t> count_{0};
  MemoryBudget budget_;
  std::shared_ptr<VideoMemory> video_;
  RegionSet regions_;
  Aftermath after_;
  std::shared_ptr<Storage> storage_;
};

// Runs buffers of one queue in one format.
class StreamerRig : public testing::Test {
 public:
  explicit StreamerRig(AdapterProfile::CommandFormat format) : format_(format) {}

  CommandStop Run(uint64_t address, uint32_t bytes, uint64_t budget = CommandStreamer::kUnlimited) {
    return MakeStreamer(format_, {GpuAddress(address), bytes}, &state_)->Run(gpu, cancelled, budget);
  }

  StreamerMemory gpu;
  std::atomic<bool> cancelled{false};

 protected:
  const AdapterProfile::CommandFormat format_;
  std::unique_ptr<StreamerState> state_;
};

}  // namespace dxg::hostsim
