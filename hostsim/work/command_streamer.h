#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "hostsim/machine/bytes.h"
#include "hostsim/machine/user_budget.h"
#include "hostsim/memory/gpu_address.h"
#include "hostsim/memory/gpu_va.h"
#include "link/fidelity.h"
#include "proto/dxg/profile.pb.h"

// How an engine executes commands. Each format of commands has a streamer in a file of its own: the
// simulator's is command_buffer.h, those of vendors are in streamers/.

namespace dxg::hostsim {

// Where commands are.
struct GpuBuffer {
  GpuAddress address;
  uint32_t bytes = 0;
};

// Commands of which the streamer knows that they run a program of the GPU or draw.
struct GpuDispatch {
  GpuAddress kernel;         // where the program's instructions begin
  uint64_t kernel_hash = 0;  // of those instructions; 0: not known
  uint64_t groups = 0;       // thread groups, or vertices; 0: not known
  uint32_t simd = 0;         // lanes of a thread; 0: not known
  std::string why;           // it is not executed; empty: nothing executes such programs
};

// Whether and how execution units are simulated.
struct ExecutionRules {
  bool executes = false;
  uint64_t frequency_hz = 1'000'000'000;
  uint64_t instructions_max = 1ull << 28;  // that pass without the end of a thread until the dispatch hangs
};

// What a command needs from its host: memory, a clock, a list of markers, an aftermath for what it sets off,
// and somebody to tell what it does not do as a GPU would.
class CommandEnvironment {
 public:
  virtual ~CommandEnvironment() = default;
  // As GpuVa::Translate.
  virtual bool Translate(GpuAddress address, uint64_t bytes, bool write, std::vector<GpuSpan>* spans,
                         GpuFault* fault) = 0;
  virtual uint64_t Timestamp() = 0;  // in ticks of the node (profile: clock_hz)
  virtual void Mark(uint64_t id) = 0;
  virtual Aftermath* aftermath() = 0;  // takes the effects of writes to fences
  // Counts something for the report (link/fidelity.h); `what` names a kind of thing, not each of them.
  virtual void Note(FidelityKind kind, std::string_view what) = 0;
  // Counts a buffer that is of no format that the simulator knows, and so not executed. False: the profile
  // wants the device lost for it.
  virtual bool LeaveOutForeign() {
    Note(FidelityKind::kNotExecuted, fidelity::kForeignCommands);
    return true;
  }
  // Counts a dispatch that is not executed, or not to its end. False: the profile wants the device lost for
  // it.
  virtual bool LeaveOut(const GpuDispatch& dispatch) = 0;
  virtual ExecutionRules Execution() { return {}; }
  // Counts a dispatch that was executed, by so many instructions of the execution units.
  virtual void Executed(const GpuDispatch& /*dispatch*/, uint64_t /*instructions*/) {}
};

// Why a command does not go on.
struct CommandStop {
  enum Kind {
    kDone,
    kPageFault,    // see fault
    kInvalid,      // there is no valid command at op_address
    kDeviceFault,  // a command that asks for it, or that is left out and must not be; see code
    kDelay,        // a command that takes so long; goes on after delay_ns
    // As kDelay, of a command of which a part was computed: the delay began when that did, and how long the
    // host took for it is not the command's time.
    kSlice,
    kWaiting,  // a wait for memory whose condition does not hold; goes on by looking again
    kHang,
    kHung,    // as kHang, and nobody waits any longer, whether there is a time limit or not
    kBudget,  // the next command is larger than what is left of the budget
    kCancelled,
  };
  Kind kind = kDone;
  GpuFault fault;
  GpuAddress op_address;
  uint32_t code = 0;
  uint64_t delay_ns = 0;
};

// What commands leave behind for the next submission of their queue: registers, base addresses. Only the
// thread that executes the queue's command uses it.
class StreamerState {
 public:
  StreamerState() = default;
  virtual ~StreamerState() {
    if (process_) process_->Give(bytes_);
    if (user_) user_->Give(bytes_);
  }
  StreamerState(const StreamerState&) = delete;
  StreamerState& operator=(const StreamerState&) = delete;

  // Where its memory counts, once for all. Null: nowhere.
  void ChargeTo(std::shared_ptr<UserBound> process, std::shared_ptr<UserBound> user) {
    if (process_) return;
    process_ = std::move(process);
    user_ = std::move(user);
  }

 protected:
  // So many bytes more, until the state ends. False: there is no room for them.
  [[nodiscard]] bool Take(uint64_t bytes) {
    if (process_ && !process_->Take(bytes)) return false;
    if (user_ && !user_->Take(bytes)) {
      if (process_) process_->Give(bytes);
      return false;
    }
    bytes_ += bytes;
    return true;
  }

  // So many of these bytes are free again.
  void Give(uint64_t bytes) {
    if (process_) process_->Give(bytes);
    if (user_) user_->Give(bytes);
    bytes_ -= bytes;
  }

 private:
  std::shared_ptr<UserBound> process_, user_;
  uint64_t bytes_ = 0;
};

// One execution of one buffer of commands. It reads the buffer through the page tables command by command,
// trusts nothing in it, and holds no lock but those that Translate takes. It stops wherever time has to pass;
// the next Run goes on at the same command, maybe on another thread.
class CommandStreamer {
 public:
  // As a budget: no limit.
  static constexpr uint64_t kUnlimited = ~0ull;

  virtual ~CommandStreamer() = default;

  // Stops before the first command that costs more than what is left of `budget`: bytes that it touches.
  // Large commands look at `cancelled` every few MiB.
  virtual CommandStop Run(CommandEnvironment& environment, const std::atomic<bool>& cancelled,
                          uint64_t budget) = 0;
};

// A streamer of that format. `state` is the queue's and outlives the streamer; null before the first one.
std::unique_ptr<CommandStreamer> MakeStreamer(AdapterProfile::CommandFormat format, const GpuBuffer& buffer,
                                              std::unique_ptr<StreamerState>* state);

}  // namespace dxg::hostsim
