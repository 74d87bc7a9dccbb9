#include <bit>
#include <cfenv>
#include <cstring>

#include "hostsim/work/eu/operands.h"
#include "hostsim/work/eu/step.h"
#include "hostsim/work/eu/thread.h"

namespace dxg::hostsim::eu {
namespace {

int HostRounding(Rounding rounding) {
  switch (rounding) {
    case Rounding::kNearest:
      return FE_TONEAREST;
    case Rounding::kUp:
      return FE_UPWARD;
    case Rounding::kDown:
      return FE_DOWNWARD;
    case Rounding::kZero:
      return FE_TOWARDZERO;
  }
  return FE_TONEAREST;
}

// The host's rounding is the thread's while its operations run, and the caller's everywhere else.
class HostEnvironment {
 public:
  HostEnvironment() : caller_(std::fegetround()), now_(caller_) {}
  ~HostEnvironment() { Set(caller_); }
  void Enter(Rounding rounding) { Set(HostRounding(rounding)); }
  void Leave() { Set(caller_); }

 private:
  void Set(int rounding) {
    if (rounding != now_) std::fesetround(rounding);
    now_ = rounding;
  }
  const int caller_;
  int now_;
};

uint32_t Ones(uint32_t count) { return count == 32 ? ~0u : (1u << count) - 1; }

class Interpreter {
 public:
  Interpreter(Thread& thread, const Kernel& kernel, MessagePort& port)
      : thread_(thread), kernel_(kernel), port_(port), steps_(kernel.steps()) {}

  ThreadStop Run(uint64_t max_instructions) {
    Begin();
    while (executed_ + of_messages_ < max_instructions) {
      if (at_ == Kernel::kNowhere) return End({.kind = ThreadStop::kNoCode, .offset = thread_.ip});
      const Step& step = steps_[at_];
      if (step.wakes) Wake(step.offset);
      ++executed_;
      if (step.kind == Step::kOperation) {
        if (const char* why = Operate(step)) return Refuse(why);
        if ((at_ = step.next) == Kernel::kNowhere) thread_.ip = step.next_offset;
        continue;
      }
      if (Other(step)) return End(std::move(stop_));
    }
    return End(
        {.kind = ThreadStop::kSlice, .offset = at_ == Kernel::kNowhere ? thread_.ip : steps_[at_].offset});
  }

 private:
  void Begin() {
    if (!thread_.started) {
      thread_.started = true;
      thread_.active_mask = thread_.dispatch_mask;
    }
    at_ = kernel_.StepAt(thread_.ip);
    EnterModes();
  }

  ThreadStop End(ThreadStop stop) {
    if (at_ != Kernel::kNowhere) thread_.ip = steps_[at_].offset;
    thread_.executed += executed_;
    thread_.cost += executed_ + of_messages_;
    return stop;
  }

  ThreadStop Refuse(const char* why) {
    return End({.kind = ThreadStop::kRefused,
                .offset = steps_[at_].offset,
                .text = kernel_.TextOf(at_),
                .why = why});
  }

  void EnterModes() {
    const Modes modes(thread_);
    is_plain_ = modes.plain();
    environment_.Enter(modes.rounding);
  }

  // Lanes that flow and dispatch enable, bit 0 for the step's first lane.
  uint32_t Enabled(const Step& step) const {
    return (step.write_all ? ~0u : thread_.active_mask >> step.first_lane) & Ones(step.lanes);
  }

  uint32_t Taken(const Step& step) const { return Enabled(step) & PredicateOf(thread_, step); }

  const char* Operate(const Step& step) {
    uint32_t lanes = Enabled(step);
    if (step.predicate != Predicate::kNone && !step.is_selector) lanes &= PredicateOf(thread_, step);
    if (lanes == 0) return nullptr;
    const char* why = (is_plain_ ? step.plain : step.any)(thread_, step, lanes);
    if (step.writes_state) EnterModes();
    return why;
  }

  // -- Flow. Lanes that do not run now are parked at the offset where they go on.

  void Park(uint32_t lanes, int32_t offset) {
    thread_.active_mask &= ~lanes;
    for (; lanes != 0; lanes &= lanes - 1) thread_.wakes_at[std::countr_zero(lanes)] = offset;
  }

  uint32_t ParkedAt(int32_t offset) const {
    uint32_t woken = 0;
    for (uint32_t parked = thread_.dispatch_mask & ~thread_.active_mask; parked != 0; parked &= parked - 1)
      if (const int lane = std::countr_zero(parked); thread_.wakes_at[lane] == offset) woken |= 1u << lane;
    return woken;
  }

  void Wake(int32_t offset) { thread_.active_mask |= ParkedAt(offset); }

  void Go(uint32_t step, int32_t offset) {
    at_ = step;
    if (step == Kernel::kNowhere) thread_.ip = offset;
  }
  void Next(const Step& step) { Go(step.next, step.next_offset); }
  void Jump(const Step& step) { Go(step.jip, step.jip_offset); }

  void Branch(const Step& step) {
    const uint32_t active = thread_.active_mask & Ones(step.lanes);
    const uint32_t taken = active & PredicateOf(thread_, step);
    switch (step.kind) {
      case Step::kIf:
        Park(active & ~taken, step.jip_offset);
        break;
      case Step::kElse:
        Park(active, step.jip_offset);
        Wake(step.next_offset);
        break;
      case Step::kBreak:
      case Step::kGoto:
        Park(taken, step.uip_offset);
        break;
      case Step::kWhile:
        if (taken == 0) return Next(step);
        Park(active & ~taken, step.next_offset);
        return Jump(step);
      case Step::kGotoBack:
        if (taken == 0) return Next(step);
        Park(active & ~taken, step.jip_offset);
        return Go(step.uip, step.uip_offset);
      default:
        break;
    }
    if (thread_.active_mask == 0)
      Jump(step);
    else
      Next(step);
  }

  // -- Everything but operations. True: the thread stops here, see stop_.

  bool Other(const Step& step) {
    switch (step.kind) {
      case Step::kNothing:
        Next(step);
        return false;
      case Step::kSend:
        return Send(step);
      case Step::kBarrier:
        if (thread_.waits_at_barrier)
          return Stop({.kind = ThreadStop::kBarrier, .offset = step.offset}, false);
        Next(step);
        return false;
      case Step::kNoCode:
        return Stop({.kind = ThreadStop::kNoCode, .offset = step.offset}, false);
      case Step::kRefused:
        return Stop({.kind = ThreadStop::kRefused,
                     .offset = step.offset,
                     .text = kernel_.TextOf(at_),
                     .why = kernel_.why(at_)},
                    false);
      default:
        Branch(step);
        return false;
    }
  }

  bool Stop(ThreadStop stop, bool counts) {
    if (!counts) --executed_;
    stop_ = std::move(stop);
    return true;
  }

  uint32_t AddressDword(uint32_t index) const {
    return thread_.address[2 * index] | uint32_t{thread_.address[2 * index + 1]} << 16;
  }

  Message MessageOf(const Instruction& in, const Step& step, uint32_t lanes) const {
    const SendFields& send = in.send;
    Message message;
    message.offset = static_cast<uint32_t>(step.offset);
    message.sfid = send.sfid;
    message.descriptor = send.descriptor_in_a0 ? AddressDword(0) : send.descriptor;
    const uint32_t extended = send.extended_in_a0
                                  ? AddressDword(send.extended_subreg)
                                  : send.extended_descriptor | uint32_t{send.src1_registers} << 6;
    message.extended_descriptor = extended;
    message.lanes = step.lanes;
    message.first_lane = step.first_lane;
    message.lane_mask = lanes;
    message.destination_is_null = in.destination.file != File::kGrf;
    message.src0_is_null = in.source[0].file != File::kGrf;
    message.src1_is_null = in.source[1].file != File::kGrf;
    message.destination = in.destination.reg;
    message.src0 = in.source[0].reg;
    message.src1 = in.source[1].reg;
    message.destination_registers = message.destination_is_null ? 0 : message.descriptor >> 20 & 31;
    message.src0_registers = message.src0_is_null ? 0 : message.descriptor >> 25 & 15;
    message.src1_registers = message.src1_is_null ? 0 : extended >> 6 & 31;
    message.header = message.descriptor >> 19 & 1;
    message.eot = send.eot;
    return message;
  }

  bool Send(const Step& step) {
    const Instruction& in = kernel_.instruction(at_);
    const uint32_t lanes = Taken(step);
    if (lanes == 0 && !in.send.eot) {
      Next(step);
      return false;
    }
    const Message message = MessageOf(in, step, lanes);
    if (message.destination + message.destination_registers > kRegisters ||
        message.src0 + message.src0_registers > kRegisters ||
        message.src1 + message.src1_registers > kRegisters)
      return Stop({.kind = ThreadStop::kRefused,
                   .offset = step.offset,
                   .text = kernel_.TextOf(at_),
                   .why = "registers beyond the last one"},
                  false);
    of_messages_ += static_cast<uint64_t>(std::popcount(lanes));
    environment_.Leave();
    MessageResult result = port_.Send(message, thread_);
    EnterModes();
    switch (result.kind) {
      case MessageResult::kDone:
        if (in.send.eot) return Stop({.kind = ThreadStop::kEnded, .offset = step.offset}, true);
        Next(step);
        return false;
      case MessageResult::kAgain:
        return Stop({.kind = ThreadStop::kAgain, .offset = step.offset}, false);
      case MessageResult::kFault:
        return Stop({.kind = ThreadStop::kFault,
                     .offset = step.offset,
                     .fault = result.fault,
                     .text = kernel_.TextOf(at_)},
                    false);
      case MessageResult::kRefused:
        break;
    }
    return Stop({.kind = ThreadStop::kRefused,
                 .offset = step.offset,
                 .text = kernel_.TextOf(at_),
                 .why = std::move(result.why)},
                false);
  }

  Thread& thread_;
  const Kernel& kernel_;
  MessagePort& port_;
  const Step* const steps_;
  HostEnvironment environment_;
  bool is_plain_ = true;
  uint32_t at_ = Kernel::kNowhere;
  uint64_t executed_ = 0;
  uint64_t of_messages_ = 0;  // see Thread::cost
  ThreadStop stop_;
};

}  // namespace

uint32_t Thread::Register(uint32_t reg, uint32_t dword) const {
  uint32_t value;
  std::memcpy(&value, grf + (reg % kRegisters) * kRegisterBytes + dword % 8 * sizeof(value), sizeof(value));
  return value;
}

void Thread::SetRegister(uint32_t reg, uint32_t dword, uint32_t value) {
  std::memcpy(grf + (reg % kRegisters) * kRegisterBytes + dword % 8 * sizeof(value), &value, sizeof(value));
}

ThreadStop Run(Thread& thread, const Kernel& kernel, MessagePort& port, uint64_t max_instructions) {
  return Interpreter(thread, kernel, port).Run(max_instructions);
}

}  // namespace dxg::hostsim::eu
