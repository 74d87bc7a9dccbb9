#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

#include "hostsim/work/command_streamer.h"
#include "hostsim/work/gpu_queue.h"

namespace dxg::hostsim {

// One execution of what a submission gives an engine: its buffers one after another, and then its fence.
class SubmissionRun {
 public:
  // Neither `command` nor `state`, which is its queue's, may go before it. The state counts for `payer`.
  SubmissionRun(const GpuCommand& command, AdapterProfile::CommandFormat format,
                std::unique_ptr<StreamerState>* state, std::shared_ptr<ProcessWork> payer)
      : command_(command),
        format_(format),
        state_(*state),
        payer_(std::move(payer)),
        writes_fence_(command.fence.has_value()) {}

  // As CommandStreamer::Run. A budget is for one buffer: the next one stops with kBudget before it begins.
  CommandStop RunBuffers(CommandEnvironment& environment, const std::atomic<bool>& cancelled,
                         uint64_t budget);
  // True until WriteFence was called, if there is one.
  bool writes_fence() const { return writes_fence_; }
  CommandStop WriteFence(CommandEnvironment& environment);

 private:
  void ChargeState();

  const GpuCommand& command_;
  const AdapterProfile::CommandFormat format_;
  std::unique_ptr<StreamerState>& state_;
  const std::shared_ptr<ProcessWork> payer_;
  std::unique_ptr<CommandStreamer> streamer_;  // of the buffer that it is in
  size_t next_ = 0;                            // of the buffers
  bool writes_fence_;
};

}  // namespace dxg::hostsim
