#include "hostsim/work/submission_run.h"

#include "hostsim/memory/gpu_memory.h"

namespace dxg::hostsim {

CommandStop SubmissionRun::RunBuffers(CommandEnvironment& environment, const std::atomic<bool>& cancelled,
                                      uint64_t budget) {
  bool spent = false;
  while (true) {
    if (!streamer_) {
      if (next_ != 0 && (!command_.more || next_ > command_.more->size())) return {};
      const GpuBuffer& buffer = next_ == 0 ? command_.buffer : (*command_.more)[next_ - 1];
      if (spent && budget != CommandStreamer::kUnlimited) {
        CommandStop stop;
        stop.kind = CommandStop::kBudget;
        stop.op_address = buffer.address;
        return stop;
      }
      streamer_ = MakeStreamer(format_, buffer, &state_);
      if (state_) ChargeState();
      ++next_;
    }
    const CommandStop stop = streamer_->Run(environment, cancelled, budget);
    if (stop.kind != CommandStop::kDone) return stop;
    streamer_ = nullptr;
    spent = true;
  }
}

void SubmissionRun::ChargeState() {
  const std::shared_ptr<UserBudget>& user = payer_->user;
  state_->ChargeTo({payer_, &payer_->state_bytes},
                   user ? std::shared_ptr<UserBound>(user, &user->state_bytes) : nullptr);
}

CommandStop SubmissionRun::WriteFence(CommandEnvironment& environment) {
  writes_fence_ = false;
  CommandStop stop;
  stop.op_address = command_.buffer.address;
  GpuWindow word(environment, command_.fence->address, sizeof(uint64_t), true);
  if (command_.fence->address.value % sizeof(uint64_t) != 0) {
    stop.kind = CommandStop::kInvalid;
  } else if (!word.Store64(command_.fence->value)) {
    stop.kind = CommandStop::kPageFault;
    stop.fault = word.fault();
  }
  return stop;
}

}  // namespace dxg::hostsim
