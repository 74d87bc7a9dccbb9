// Waits for every kind of object, as a product:
//
//   {kind} x {1, 2, 32 objects} x {all, any} x {unsubmitted, queued, signalled} x {who waits} x {same
//   process, shared}
//
// Each combination either releases its waiter exactly when the condition holds, or is refused.

#include <gtest/gtest.h>

#include <cerrno>
#include <functional>
#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <vector>

#include "tests/conformance/peer.h"
#include "tests/conformance/work_client.h"

namespace dxg::conformance {
namespace {

enum class Kind { kMonitoredFence, kFence, kSemaphore, kMutex, kNotification, kProgressFence, kPagingFence };
enum class Mode { kAll, kAny };
enum class State {
  kUnsubmitted,      // the wait is there before anybody thinks of a signal
  kQueued,           // the signal is queued, in the order of a context, behind something that is not done
  kQueuedOnHwQueue,  // the same on a hardware queue
  kSignalled,
};
enum class Way { kCall, kEvent, kContext, kLegacyContext, kHwQueue };
enum class Place { kHere, kShared };

struct Case {
  Kind kind;
  size_t count;
  Mode mode;
  State state;
  Way way;
  Place place;
};

const char* Name(Kind kind) {
  switch (kind) {
    case Kind::kMonitoredFence:
      return "MonitoredFence";
    case Kind::kFence:
      return "Fence";
    case Kind::kSemaphore:
      return "Semaphore";
    case Kind::kMutex:
      return "Mutex";
    case Kind::kNotification:
      return "Notification";
    case Kind::kProgressFence:
      return "ProgressFence";
    case Kind::kPagingFence:
      return "PagingFence";
  }
  return "";
}

const char* Name(State state) {
  switch (state) {
    case State::kUnsubmitted:
      return "Unsubmitted";
    case State::kQueued:
      return "Queued";
    case State::kQueuedOnHwQueue:
      return "QueuedOnHwQueue";
    case State::kSignalled:
      return "Signalled";
  }
  return "";
}

const char* Name(Way way) {
  switch (way) {
    case Way::kCall:
      return "Call";
    case Way::kEvent:
      return "Event";
    case Way::kContext:
      return "Context";
    case Way::kLegacyContext:
      return "LegacyContext";
    case Way::kHwQueue:
      return "HwQueue";
  }
  return "";
}

std::string Name(const Case& test) {
  return std::string(Name(test.kind)) + "_" + std::to_string(test.count) +
         (test.mode == Mode::kAny ? "Any" : "All") + "_" + Name(test.state) + "_" + Name(test.way) +
         (test.place == Place::kShared ? "_Shared" : "");
}

void PrintTo(const Case& test, std::ostream* out) { *out << Name(test); }

bool IsMonitored(Kind kind) {
  return kind == Kind::kMonitoredFence || kind == Kind::kProgressFence || kind == Kind::kPagingFence;
}
bool BelongsToAQueue(Kind kind) { return kind == Kind::kProgressFence || kind == Kind::kPagingFence; }
bool IsCpu(Way way) { return way == Way::kCall || way == Way::kEvent; }

constexpr uint64_t kTarget = 5;  // of objects with values of their own choice

// ---- Objects ----

// Objects of one kind, which nothing has signalled yet.
struct Objects {
  Kind kind;
  std::vector<d3dkmthandle> handles;
  std::vector<uint64_t> targets;  // what a wait asks for
  std::vector<HwQueue> queues;
  std::vector<PagingQueue> paging_queues;
};

Objects MakeObjects(const WorkClient& client, Kind kind, size_t count, Place place, const Event& event) {
  const uint32_t flags = place == Place::kShared ? sync_flags::kShared : 0;
  Objects objects = {.kind = kind,
                     .targets = std::vector<uint64_t>(count, kind == Kind::kPagingFence ? 1 : kTarget)};
  for (size_t i = 0; i < count; ++i) switch (kind) {
      case Kind::kMonitoredFence:
        objects.handles.push_back(client.CreateFence(0, flags).handle);
        break;
      case Kind::kFence:
        objects.handles.push_back(client.CreateLegacyFence(0, flags));
        break;
      case Kind::kSemaphore:
        objects.handles.push_back(client.CreateSemaphore(0, 1, flags));
        break;
      case Kind::kMutex:
        objects.handles.push_back(client.CreateMutex(true, flags));
        break;
      case Kind::kNotification:
        objects.handles.push_back(client.CreateNotification(event.fd()));
        break;
      case Kind::kProgressFence:
        objects.queues.push_back(client.CreateHwQueue());
        objects.handles.push_back(objects.queues.back().progress.handle);
        break;
      case Kind::kPagingFence:
        objects.paging_queues.push_back(client.CreatePagingQueue());
        objects.handles.push_back(objects.paging_queues.back().fence);
        break;
    }
  return objects;
}

// ---- Who signals ----

// Satisfies waits for objects: now, or in the order of a queue that a gate holds back.
class Signals {
 public:
  virtual ~Signals() = default;
  // Objects first to end - 1; is done on return.
  virtual void Satisfy(size_t first, size_t end) = 0;
  // One less than what is waited for, where the object has values.
  virtual void SignalTooLittle(size_t i) = 0;
  // Queues what Satisfy does behind the gate's value.
  virtual void QueueBehind(uint64_t gate, size_t first, size_t end, bool on_hw_queue) = 0;
  // And what was queued behind that value has happened.
  virtual void OpenGate(uint64_t gate) = 0;
};

class LocalSignals : public Signals {
 public:
  LocalSignals(const WorkClient& client, const Objects& objects) : client_(client), objects_(objects) {}

  void Satisfy(size_t first, size_t end) override {
    for (size_t i = first; i < end; ++i) {
      if (objects_.kind == Kind::kMonitoredFence)
        client_.Signal(objects_.handles[i], kTarget);
      else
        Queue(i, false);
    }
    if (context_) client_.Finish(*context_);
    WaitForQueues(first, end);
  }

  void SignalTooLittle(size_t i) override {
    if (objects_.kind == Kind::kMonitoredFence) client_.Signal(objects_.handles[i], kTarget - 1);
    if (objects_.kind == Kind::kProgressFence) {
      client_.Submit(objects_.queues[i], kTarget - 1, Nothing());
      client_.Wait(objects_.queues[i].progress, kTarget - 1);
    }
    if (objects_.kind == Kind::kFence) {
      Require(client_.TryLegacySignal(Context(), objects_.handles[i], kTarget - 1),
              "SignalSynchronizationObject");
      client_.Finish(Context());
    }
  }

  void QueueBehind(uint64_t gate, size_t first, size_t end, bool on_hw_queue) override {
    if (first == end) return;
    gates_.push_back({gate, first, end});
    for (size_t i = first; i < end; ++i) {
      if (objects_.kind == Kind::kProgressFence)
        Require(client_.TryHwWait(objects_.queues[i], gate_.handle, gate),
                "SubmitWaitForSyncObjectsToHwQueue");
      else if (on_hw_queue)
        Require(client_.TryHwWait(HwQueueOfSignals(), gate_.handle, gate),
                "SubmitWaitForSyncObjectsToHwQueue");
      else
        client_.GpuWait(Context(), gate_, gate);
      Queue(i, on_hw_queue);
    }
    if (hw_queue_)
      Require(client_.TryHwSignal(*hw_queue_, passed_.handle, gate), "SubmitSignalSyncObjectsToHwQueue");
    if (context_) client_.GpuSignal(*context_, passed_, gate);
  }

  void OpenGate(uint64_t gate) override {
    client_.Signal(gate_, gate);
    for (const Queued& queued : gates_) {
      if (queued.gate != gate) continue;
      if (hw_queue_ || context_) client_.Wait(passed_, gate);
      WaitForQueues(queued.first, queued.end);
    }
  }

 private:
  struct Queued {
    uint64_t gate;
    size_t first, end;
  };

  // Objects that are fences of queues are done when their queues are.
  void WaitForQueues(size_t first, size_t end) {
    for (size_t i = first; i < end && BelongsToAQueue(objects_.kind); ++i)
      client_.Wait(objects_.handles[i], objects_.targets[i]);
  }

  void Queue(size_t i, bool on_hw_queue) {
    switch (objects_.kind) {
      case Kind::kMonitoredFence:
        return Require(on_hw_queue ? client_.TryHwSignal(HwQueueOfSignals(), objects_.handles[i], kTarget)
                                   : client_.TryGpuSignal(Context(), objects_.handles[i], kTarget),
                       "a signal in the order of a queue");
      case Kind::kFence:
      case Kind::kSemaphore:
      case Kind::kMutex:
      case Kind::kNotification:
        return Require(client_.TryLegacySignal(Context(), objects_.handles[i], kTarget),
                       "SignalSynchronizationObject");
      case Kind::kProgressFence:
        return client_.Submit(objects_.queues[i], kTarget, Nothing());
      case Kind::kPagingFence: {
        const d3dkmthandle allocation = client_.Create();
        const int result = client_.TryMakeResident(objects_.paging_queues[i], {&allocation, 1});
        EXPECT_EQ(result, kPending) << ResultName(result);
        return;
      }
    }
  }

  d3dkmthandle Context() {
    if (!context_) context_ = client_.CreateContext();
    return *context_;
  }
  const HwQueue& HwQueueOfSignals() {
    if (!hw_queue_) hw_queue_ = client_.CreateHwQueue();
    return *hw_queue_;
  }
  const Commands& Nothing() {
    if (!nothing_) nothing_ = client_.Nothing();
    return *nothing_;
  }

  const WorkClient& client_;
  const Objects& objects_;
  const Fence gate_ = client_.CreateFence(), passed_ = client_.CreateFence();
  std::vector<Queued> gates_;
  std::optional<d3dkmthandle> context_;
  std::optional<HwQueue> hw_queue_;
  std::optional<Commands> nothing_;
};

// The same in another process, with the objects that it opens by descriptor.
class RemoteSignals : public Signals {
 public:
  RemoteSignals(const WorkClient& client, const Objects& objects) {
    std::vector<std::unique_ptr<Descriptor>> descriptors;
    for (d3dkmthandle object : objects.handles)
      descriptors.push_back(std::make_unique<Descriptor>(client.Share(object)));
    peer_ = std::make_unique<Peer>([&](Peer& parent) { Serve(parent, objects.kind, descriptors); });
    peer_->Receive();
  }
  ~RemoteSignals() override {
    peer_->Send(kEnd);
    peer_->Join();
  }

  void Satisfy(size_t first, size_t end) override { Ask(kSatisfy, first, end, 0); }
  void SignalTooLittle(size_t i) override { Ask(kTooLittle, i, 0, 0); }
  void QueueBehind(uint64_t gate, size_t first, size_t end, bool on_hw_queue) override {
    Ask(on_hw_queue ? kQueueOnHwQueue : kQueue, first, end, gate);
  }
  void OpenGate(uint64_t gate) override { Ask(kOpenGate, gate, 0, 0); }

 private:
  enum Question : uint64_t { kEnd, kSatisfy, kTooLittle, kQueue, kQueueOnHwQueue, kOpenGate };

  void Ask(Question question, uint64_t a, uint64_t b, uint64_t c) {
    for (uint64_t word : {uint64_t{question}, a, b, c}) peer_->Send(word);
    peer_->Receive();
  }

  static void Serve(Peer& parent, Kind kind, const std::vector<std::unique_ptr<Descriptor>>& descriptors) {
    const WorkClient client;
    Objects objects = {.kind = kind, .targets = std::vector<uint64_t>(descriptors.size(), kTarget)};
    for (const auto& descriptor : descriptors) objects.handles.push_back(client.OpenSync(descriptor->get()));
    LocalSignals signals(client, objects);
    parent.Send(0);
    for (uint64_t question; (question = parent.Receive()) != kEnd; parent.Send(0)) {
      const uint64_t a = parent.Receive(), b = parent.Receive(), c = parent.Receive();
      if (question == kSatisfy) signals.Satisfy(a, b);
      if (question == kTooLittle) signals.SignalTooLittle(a);
      if (question == kQueue) signals.QueueBehind(c, a, b, false);
      if (question == kQueueOnHwQueue) signals.QueueBehind(c, a, b, true);
      if (question == kOpenGate) signals.OpenGate(a);
    }
  }

  std::unique_ptr<Peer> peer_;
};

// ---- Who waits ----

class WaitingSide {
 public:
  WaitingSide(const WorkClient& client, const Objects& objects, Mode mode, Way way)
      : client_(client), objects_(objects), any_(mode == Mode::kAny), way_(way) {
    if (way == Way::kHwQueue) {
      queue_ = client.CreateHwQueue();
      other_queue_ = client.CreateHwQueue();
    } else if (!IsCpu(way)) {
      context_ = client.CreateContext();
      other_context_ = client.CreateContext();
    }
  }

  // The result of the call that begins the wait; the call that blocks has none yet.
  int Begin() {
    switch (way_) {
      case Way::kCall:
        waiter_ = std::make_unique<Waiter>(
            [&] { return client_.TryWait(objects_.handles, objects_.targets, any_); });
        waiter_->UntilInCall();
        return 0;
      case Way::kEvent:
        return client_.TryWait(objects_.handles, objects_.targets, any_, event_.fd());
      case Way::kContext:
        return Mark(IsMonitored(objects_.kind)
                        ? client_.TryGpuWait(context_, objects_.handles, objects_.targets)
                        : client_.TryGpuWaitUnmonitored(context_, objects_.handles, kTarget));
      case Way::kLegacyContext:
        return Mark(client_.TryLegacyWait(context_, objects_.handles, objects_.targets));
      case Way::kHwQueue:
        return Mark(client_.TryHwWait(queue_.handle, objects_.handles, objects_.targets));
    }
    return -ENOSYS;
  }

  // That it is not released although everything that was done before has had its effect: other work of the
  // same kind, asked for later, is done first.
  void ExpectHeld(const char* when) {
    if (way_ == Way::kHwQueue)
      client_.Finish(other_queue_);
    else if (!IsCpu(way_))
      client_.Finish(other_context_);
    else
      client_.Wait(passed_, 0);
    if (way_ == Way::kCall) {
      EXPECT_FALSE(waiter_->IsDone()) << when;
    } else if (way_ == Way::kEvent) {
      EXPECT_EQ(event_.Take(), 0u) << when;
    } else {
      EXPECT_EQ(mark_.Value(), 0u) << when;
    }
  }

  void ExpectReleased() {
    if (way_ == Way::kCall) {
      EXPECT_EQ(waiter_->Join(), 0);
      waiter_.reset();
    } else if (way_ == Way::kEvent) {
      event_.Wait();
      EXPECT_EQ(event_.Take(1u), 1u);
    } else {
      client_.Wait(mark_, 1);
    }
  }

 private:
  // Has a fence say when the queue is past the wait.
  int Mark(int result) {
    if (result != 0) return result;
    if (way_ == Way::kHwQueue) return client_.TryHwSignal(queue_, mark_.handle, 1);
    return client_.TryGpuSignal(context_, mark_.handle, 1);
  }

  const WorkClient& client_;
  const Objects& objects_;
  const bool any_;
  const Way way_;
  Event event_;
  Fence mark_ = client_.CreateFence(), passed_ = client_.CreateFence();
  d3dkmthandle context_ = {}, other_context_ = {};
  HwQueue queue_ = {}, other_queue_ = {};
  std::unique_ptr<Waiter> waiter_;
};

// ---- The tests ----

void Check(const Case& test, WaitingSide& waiting, Signals& signals) {
  const size_t last = test.count - 1;
  const size_t early = test.mode == Mode::kAll ? last : 0;  // of any, one is enough
  if (test.state == State::kSignalled) {
    signals.Satisfy(0, early);
    signals.Satisfy(last, test.count);
    ASSERT_EQ(waiting.Begin(), 0);
    return waiting.ExpectReleased();
  }
  if (test.state == State::kUnsubmitted) {
    ASSERT_EQ(waiting.Begin(), 0);
    waiting.ExpectHeld("before any signal");
    signals.Satisfy(0, early);
    signals.SignalTooLittle(last);
    waiting.ExpectHeld("before the last signal");
    signals.Satisfy(last, test.count);
    return waiting.ExpectReleased();
  }
  const bool on_hw_queue = test.state == State::kQueuedOnHwQueue;
  signals.QueueBehind(1, 0, early, on_hw_queue);
  signals.QueueBehind(2, last, test.count, on_hw_queue);
  ASSERT_EQ(waiting.Begin(), 0);
  waiting.ExpectHeld("while all signals are queued");
  signals.OpenGate(1);
  waiting.ExpectHeld("while the last signal is queued");
  signals.OpenGate(2);
  waiting.ExpectReleased();
}

class SimFenceProduct : public testing::TestWithParam<Case> {};

// [SYN] 145, 146, 147, 148, 158, 163, 166; [SHR] 171; [CTX] 57, 64; [PGQ] 104.
TEST_P(SimFenceProduct, ReleasesWhenTheConditionHolds) {
  const Case& test = GetParam();
  const WorkClient client;
  const Event event;
  const Objects objects = MakeObjects(client, test.kind, test.count, test.place, event);
  WaitingSide waiting(client, objects, test.mode, test.way);
  std::unique_ptr<Signals> signals;
  if (test.place == Place::kHere)
    signals = std::make_unique<LocalSignals>(client, objects);
  else
    signals = std::make_unique<RemoteSignals>(client, objects);
  Check(test, waiting, *signals);
}

class SimRefusedWait : public testing::TestWithParam<Case> {};

// The CPU and hardware queues wait for monitored fences only, and nobody for a CPU notification.
TEST_P(SimRefusedWait, IsInvalidAndBeginsNothing) {
  const Case& test = GetParam();
  const Event event;
  const auto begin = [&](WorkClient& client) {
    const Objects objects = MakeObjects(client, test.kind, test.count, test.place, event);
    WaitingSide waiting(client, objects, test.mode, test.way);
    return test.way == Way::kCall ? client.TryWait(objects.handles, objects.targets) : waiting.Begin();
  };
  if (!IsCpu(test.way)) return ExpectHostRefuses(-EINVAL, begin);
  WorkClient client;  // the calls of CPU waits are always answered
  const int result = begin(client);
  EXPECT_EQ(result, -EINVAL) << ResultName(result);
  EXPECT_EQ(client.State(), kActive);
}

bool IsRefused(const Case& test) {
  if (IsMonitored(test.kind)) return false;
  return test.kind == Kind::kNotification || IsCpu(test.way) || test.way == Way::kHwQueue;
}

// Combinations that no call can ask for.
bool Exists(const Case& test) {
  if (test.place == Place::kShared && (BelongsToAQueue(test.kind) || test.kind == Kind::kNotification))
    return false;
  if (test.mode == Mode::kAny && !IsCpu(test.way)) return false;  // the calls of queues have no such flag
  if (test.way == Way::kLegacyContext && IsMonitored(test.kind)) return false;  // has another call
  if (test.state == State::kQueuedOnHwQueue && !IsMonitored(test.kind)) return false;
  if (test.kind == Kind::kPagingFence && test.state != State::kUnsubmitted && test.state != State::kSignalled)
    return false;  // its operations cannot be held back
  if (test.state == State::kQueued && test.kind == Kind::kProgressFence) return false;
  return true;
}

std::vector<Case> Product(bool refused) {
  std::vector<Case> cases;
  for (Kind kind : {Kind::kMonitoredFence, Kind::kFence, Kind::kSemaphore, Kind::kMutex, Kind::kNotification,
                    Kind::kProgressFence, Kind::kPagingFence})
    for (size_t count : {1, 2, kind == Kind::kFence ? 8 : 32})  // the calls for plain fences carry 8 values
      for (Mode mode : {Mode::kAll, Mode::kAny})
        for (State state : {State::kUnsubmitted, State::kQueued, State::kQueuedOnHwQueue, State::kSignalled})
          for (Way way : {Way::kCall, Way::kEvent, Way::kContext, Way::kLegacyContext, Way::kHwQueue})
            for (Place place : {Place::kHere, Place::kShared}) {
              const Case test = {kind, count, mode, state, way, place};
              if (!Exists(test) || IsRefused(test) != refused) continue;
              if (refused && state != State::kUnsubmitted) continue;  // it does not come to that
              cases.push_back(test);
            }
  return cases;
}

std::string NameOfCase(const testing::TestParamInfo<Case>& info) { return Name(info.param); }

INSTANTIATE_TEST_SUITE_P(Waits, SimFenceProduct, testing::ValuesIn(Product(false)), NameOfCase);
INSTANTIATE_TEST_SUITE_P(Waits, SimRefusedWait, testing::ValuesIn(Product(true)), NameOfCase);

}  // namespace
}  // namespace dxg::conformance
