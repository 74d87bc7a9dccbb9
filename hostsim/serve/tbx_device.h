#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <unordered_map>

#include "base/status.h"
#include "hostsim/machine/aftermath.h"
#include "hostsim/serve/tbx_memory.h"
#include "hostsim/work/command_streamer.h"

namespace dxg::hostsim::serve {

// What the server simulates for each connection.
struct TbxGpu {
  uint64_t clock_hz = 0;  // of timestamps
  ExecutionRules execution;
};

// A Gen12LP GPU as the simulator channel of Intel's runtime drives it, without a kernel driver: registers,
// memory, and execution lists that name contexts with rings.
//
//   submit queue (register) -> context in the global table -> ring -> batches, by the context's page tables
//
// A submission is executed by the thread that writes the register, before it returns; one that waits for
// memory goes on after a later write. A submission begins when it comes, by the host's clock, and takes the
// time that the simulated GPU takes. One thread uses it.
class TbxDevice {
 public:
  static constexpr size_t kRegistersMax = 1u << 14;
  static constexpr size_t kContextsMax = 64;

  // `stopped` says whether nobody wants the result any more; it is asked between slices of a dispatch.
  // `name` is for messages.
  TbxDevice(std::string name, const TbxGpu& gpu, std::shared_ptr<TbxRoom> room,
            std::function<bool()> stopped);
  ~TbxDevice();

  TbxMemory& memory() { return memory_; }
  // A refusal is the end of the GPU, and says why.
  Status WriteRegister(uint32_t offset, uint32_t value);
  uint32_t ReadRegister(uint32_t offset) const;
  // Something was written: what waits looks again.
  Status MemoryChanged();
  // What is executed stops soon. From any thread.
  void Cancel() { cancelled_ = true; }

  uint64_t kernels() const { return kernels_; }
  uint64_t instructions() const { return instructions_; }
  uint64_t submissions() const { return submissions_; }

 private:
  class Environment;
  struct Engine {
    const char* name;
    uint32_t registers;  // where they begin
  };
  // Of a context, by the address of its image in the global table.
  struct Context {
    std::unique_ptr<StreamerState> state;
  };
  // A ring that is executed.
  struct Run {
    uint64_t image = 0;
    uint64_t ring = 0;
    uint32_t ring_bytes = 0, head = 0, tail = 0;
    uint64_t tables = 0;
    std::unique_ptr<CommandStreamer> batch;
  };
  static const Engine kEngines[];

  static const Engine* EngineOf(uint32_t offset);
  Status Submit(const Engine& engine);
  Result<Run> ReadContext(uint64_t image) const;
  Status GoOn(const Engine& engine, Run& run, bool* waits);
  Status Command(const Engine& engine, Run& run);
  Status Explain(const Engine& engine, const Run& run, const CommandStop& stop) const;

  const std::string name_;
  const TbxGpu gpu_;
  const std::function<bool()> stopped_;
  const uint64_t start_ns_;
  std::atomic<bool> cancelled_{false};
  TbxMemory memory_;
  Aftermath aftermath_;  // nothing comes into it: there are no fences
  std::unordered_map<uint32_t, uint32_t> registers_;
  std::map<uint64_t, Context> contexts_;
  std::map<uint32_t, Run> waiting_;  // by where the engine's registers begin
  uint64_t now_ns_ = 0;              // since start_ns_
  uint64_t ticks_read_ = 0;
  std::string left_out_;         // why a dispatch was not executed
  std::string unknown_;          // a command that nobody knows
  std::set<std::string> noted_;  // what was logged, of what is not done as a GPU does it
  uint64_t kernels_ = 0, instructions_ = 0, submissions_ = 0;
};

}  // namespace dxg::hostsim::serve
