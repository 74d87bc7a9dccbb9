#include "tests/system/fault_client.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <optional>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "base/page.h"
#include "proto/abi/dxg_commands.h"
#include "proto/abi/interface.h"
#include "tests/conformance/sync_client.h"

namespace dxg::faults {
namespace {

using conformance::Address;
using conformance::Descriptor;
using conformance::Event;
using conformance::Fence;
using conformance::kPending;
using conformance::PagingQueue;
using conformance::ResultName;
using conformance::SyncClient;

constexpr size_t kMemoriesMax = 6, kFencesMax = 12, kDevicesMax = 4, kPendingMax = 8;
constexpr uint32_t kPagesMax = 8;
constexpr int64_t kStrikeNs = 30'000 * kNsPerMs;

// The client did or saw what it must not: the proof has failed.
struct Wrong : std::runtime_error {
  using std::runtime_error::runtime_error;
};
// A call was refused, as it may be around a fault.
struct Refused : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// An allocation with bytes of ours in it.
struct Memory {
  d3dkmthandle allocation;
  std::span<std::byte> bytes;
  uint64_t seed;
};

// Something that becomes readable when the fence is there: an eventfd, or a sync file.
struct Awaited {
  d3dkmthandle fence;
  uint64_t value;
  std::unique_ptr<Event> event;  // one of the two
  std::unique_ptr<Descriptor> file;
  int fd() const { return event ? event->fd() : file->get(); }
};

struct OwnFence {
  Fence fence;
  uint64_t next = 1;  // what it is raised to next
};

bool IsReadable(int fd) {
  pollfd polled = {fd, POLLIN, 0};
  return poll(&polled, 1, 0) == 1;
}

// Whether it becomes so by then.
bool AwaitReadable(int fd, int64_t deadline_ns) {
  for (;;) {
    const timespec timeout = ToTimespec(std::max<int64_t>(deadline_ns - NowNs(), 0));
    pollfd polled = {fd, POLLIN, 0};
    const int ready = ppoll(&polled, 1, &timeout, nullptr);
    if (ready >= 0 || errno != EINTR) return ready == 1;
  }
}

// -- A thread that waits in a call ----------------------------------------------------------------

class Blocked {
 public:
  Blocked(const SyncClient& client, const OwnFence& awaited, CallSlot& slot)
      : awaited_(awaited.fence), value_(awaited.next), thread_([this, &client, &slot] {
          slot.began_ns = NowNs();
          slot.name = "WaitForSynchronizationObjectFromCpu (blocked)";
          result_ = client.TryWait(awaited_.handle, value_);
          slot.name = nullptr;
          done_ns_ = NowNs();
          news_.Tell();
        }) {}
  // One that is still in its call is left there: the proof has failed, and the process ends.
  ~Blocked() { IsDone() ? thread_.join() : thread_.detach(); }

  bool IsDone() const { return done_ns_ != 0; }
  // Whether it is by then.
  bool AwaitDone(int64_t deadline_ns) {
    return news_.Await(deadline_ns, [this] { return IsDone(); });
  }
  int64_t done_ns() const { return done_ns_; }
  int result() const { return result_; }  // when done
  d3dkmthandle fence() const { return awaited_.handle; }
  // A wait that ended well is one whose fence is there.
  bool IsTrue() const { return result_ != 0 || awaited_.Value() >= value_; }

 private:
  const Fence awaited_;
  const uint64_t value_;
  int result_ = 0;
  std::atomic<int64_t> done_ns_{0};
  News news_;
  std::thread thread_;
};

// -- One life: from an open of the node to its close ----------------------------------------------

class Life {
 public:
  Life(Board& board, ClientSlot& slot, std::mt19937_64& random, Post post, uint32_t round, uint32_t losses)
      : board_(board),
        slot_(slot),
        random_(random),
        post_(post),
        round_(round),
        losses_(losses),
        client_(),
        paging_(client_.CreatePagingQueue()) {
    context_ = client_.CreateContext();
    source_ = AttachNew();
    target_ = AttachNew();
    copy_ = PlaceCopy();
    done_ = OwnFence{client_.CreateFence()};
    fences_.push_back({client_.CreateFence()});
  }
  // Works until a call is refused, or the round is to end without a loss.
  void Work() {
    for (;;) {
      if (board_.loss == Loss::kNothing && board_.struck > round_) return Finish();
      if (board_.struck > round_ && NowNs() > board_.struck_ns + board_.limit_ns)
        throw Wrong("calls still work, although the host was lost long ago");
      try {
        Step();
      } catch (const Wrong&) {
        throw;
      } catch (const std::exception& error) {
        if (board_.announced == round_) throw Wrong(fmt::format("with nothing wrong: {}", error.what()));
        // A killed process may take the kernel seconds to take down; the calls are measured from then on.
        if (!board_.news.Await(NowNs() + kStrikeNs, [&] { return board_.struck > round_; }))
          throw Wrong("the rig does not strike");
        if (board_.loss == Loss::kNothing) throw Wrong(fmt::format("with nothing lost: {}", error.what()));
        return;
      }
      if (slot_.steps++ == 0) board_.TellRig();
    }
  }

  // What a loss has to leave, by its deadline.
  void JudgeLoss() {
    const int64_t deadline_ns = board_.struck_ns + board_.limit_ns;
    const bool host = board_.loss == Loss::kHost;
    if (blocked_ && !blocked_->AwaitDone(deadline_ns)) throw Wrong("a blocked wait does not end");
    if (blocked_) RaiseTo(slot_.worst_end_ns, blocked_->done_ns() - board_.struck_ns);
    if (host) {
      for (const OwnFence& each : fences_) JudgeFence(each.fence, deadline_ns);
      for (const Fence& each : opened_) JudgeFence(each, deadline_ns);
      JudgeFence(done_.fence, deadline_ns);
      if (!UntilSeen(deadline_ns, [&] { return paging_.Value() == kFenceLost; }))
        throw Wrong(fmt::format("the fence of a paging queue reads {:#x} after the loss", paging_.Value()));
      if (blocked_ && !blocked_->IsTrue())
        throw Wrong("a blocked wait ended with success before its fence was there");
    }
    for (const Awaited& each : awaited_) {
      if (each.event && !host) continue;  // who would signal it is gone
      if (!AwaitReadable(each.fd(), deadline_ns))
        throw Wrong(each.event ? "an eventfd is not signalled after the loss"
                               : "a sync file is not ready after the loss");
    }
    CheckAllBytes();
    const int error = host ? -ENODEV : -ENOTCONN;
    Timed("calls on a lost descriptor", [&] {
      Expect(client_.TryWait(done_.fence.handle, 0), error, "WaitForSynchronizationObjectFromCpu");
      Expect(client_.TrySignal(done_.fence.handle, 1), error, "SignalSynchronizationObjectFromCpu");
      auto args = client_.FenceArgs();
      Expect(client_.TryCreateSync(args), error, "CreateSynchronizationObject");
      Expect(client_.TryMakeResident(paging_, {&source_.allocation, 1}), error, "MakeResident");
    });
  }

 private:
  struct GpuMemory {
    d3dkmthandle allocation;
    uint64_t gpu;
    std::span<std::byte> bytes;
  };

  uint64_t Dice(uint64_t sides) { return random_() % sides; }
  template <typename T>
  T& Any(std::vector<T>& list) {
    return list[Dice(list.size())];
  }

  // Every call, or few of them together, by a name that the rig can tell.
  template <typename Do>
  void Timed(const char* name, Do what) {
    const uint32_t freezes = board_.freezes;
    slot_.calls.began_ns = NowNs();
    slot_.calls.name = name;
    struct Out {
      CallSlot& slot;
      ~Out() { slot.name = nullptr; }
    } out{slot_.calls};
    auto judge = [&] {
      const int64_t now_ns = NowNs();
      const int64_t began_ns = slot_.calls.began_ns, struck_ns = board_.struck_ns;
      slot_.calls.began_ns = now_ns;
      if (freezes != board_.freezes || freezes % 2 != 0) return;
      if (struck_ns > began_ns) RaiseTo(slot_.worst_end_ns, now_ns - struck_ns);
      if (now_ns - std::max(began_ns, struck_ns > began_ns ? struck_ns : 0) > board_.limit_ns)
        throw Wrong(fmt::format("{} took {} ms", name, (now_ns - began_ns) / kNsPerMs));
    };
    try {
      what();
    } catch (const Wrong&) {
      throw;
    } catch (const std::exception&) {
      judge();
      throw;
    }
    judge();
  }
  static void Must(int result, const char* name) {
    if (result != 0) throw Refused(fmt::format("{} gave {}", name, ResultName(result)));
  }
  void Expect(int result, int expected, const char* name) {
    // The kernel ends what is under way with one error, and refuses what comes later with another.
    if (result == expected || (expected == -ENOTCONN && result == -ECONNABORTED)) return;
    throw Wrong(fmt::format("{} on a lost descriptor gave {}, expected {}", name, ResultName(result),
                            ResultName(expected)));
  }
  void JudgeFence(const Fence& fence, int64_t deadline_ns) {
    if (UntilSeen(deadline_ns, [&] { return fence.Value() == kFenceLost; })) return;
    throw Wrong(fmt::format("fence {:#x} reads {:#x} after the loss, expected all ones", fence.handle.v,
                            fence.Value()));
  }

  // ---- Steps ----

  void Step() {
    switch (Dice(14)) {
      case 0:
        return Timed("create and destroy devices", [&] { Devices(); });
      case 1:
      case 2:
        return Timed("create memory", [&] { CreateMemory(); });
      case 3:
        return Timed("destroy memory", [&] { DestroyMemory(); });
      case 4:
      case 5:
        return Timed("write and read memory", [&] { WriteMemory(); });
      case 6:
        return Timed("create a fence", [&] { CreateFence(); });
      case 7:
        return Timed("destroy a fence", [&] { DestroyFence(); });
      case 8:
        return Block();
      case 9:
        return Dice(2) == 0 ? Timed("wait with an eventfd", [&] { AwaitEvent(); })
                            : Timed("make a sync file", [&] { AwaitFile(); });
      case 10:
        return Raise();
      case 11:
      case 12:
        return Timed("copy by the GPU", [&] { Copy(); });
      case 13:
        return Timed("share a fence", [&] { Share(); });
    }
  }

  void Devices() {
    if (devices_.size() < kDevicesMax && Dice(2) == 0) {
      devices_.push_back(client_.node.CreateDevice(client_.node.FirstAdapter()));
    } else if (!devices_.empty()) {
      const d3dkmthandle device = devices_.back();
      devices_.pop_back();
      client_.node.DestroyDevice(device);
    }
  }

  void CreateMemory() {
    if (memories_.size() >= kMemoriesMax) return DestroyMemory();
    const uint64_t bytes = (1 + Dice(kPagesMax)) * kPageBytes;
    const d3dkmthandle allocation = client_.Create(bytes);
    memories_.push_back({allocation, client_.LockBytes(allocation, bytes), random_()});
    conformance::FillPattern(memories_.back().bytes, memories_.back().seed);
  }

  void DestroyMemory() {
    if (memories_.empty()) return;
    const size_t index = Dice(memories_.size());
    CheckBytes(memories_[index]);
    const d3dkmthandle allocation = memories_[index].allocation;
    memories_.erase(memories_.begin() +
                    static_cast<ptrdiff_t>(index));  // whatever the call gives, it is not looked at again
    client_.Destroy(allocation);
  }

  void WriteMemory() {
    if (memories_.empty()) return;
    Memory& memory = Any(memories_);
    CheckBytes(memory);
    client_.Unlock(memory.allocation);
    memory.bytes = client_.LockBytes(memory.allocation, memory.bytes.size());
    CheckBytes(memory);
    memory.seed = random_();
    conformance::FillPattern(memory.bytes, memory.seed);
  }

  // A host that lives on without us gives our memory back, which then reads as zeros.
  bool IsRight(std::span<const std::byte> bytes, uint64_t seed) const {
    std::vector<std::byte> right(bytes.size());
    conformance::FillPattern(right, seed);
    std::vector<std::byte> are(bytes.begin(), bytes.end());
    const bool may_be_gone = board_.announced != round_;  // after they were read
    for (size_t i = 0; i < are.size(); ++i) {
      if (are[i] != right[i] && !(may_be_gone && are[i] == std::byte{0})) return false;
    }
    return true;
  }
  void CheckBytes(const Memory& memory) const {
    if (!IsRight(memory.bytes, memory.seed))
      throw Wrong(fmt::format("the bytes of allocation {:#x} are not what was written", memory.allocation.v));
  }
  void CheckAllBytes() const {
    for (const Memory& memory : memories_) CheckBytes(memory);
  }

  void CreateFence() {
    if (fences_.size() < kFencesMax)
      fences_.push_back({client_.CreateFence(0, Dice(2) == 0 ? conformance::sync_flags::kShared : 0)});
  }

  bool IsAwaited(d3dkmthandle fence) const {
    if (blocked_ && blocked_->fence().v == fence.v) return true;
    return std::any_of(awaited_.begin(), awaited_.end(),
                       [&](const Awaited& each) { return each.fence.v == fence.v; });
  }

  void DestroyFence() {
    if (fences_.size() < 2) return;
    const size_t index = Dice(fences_.size());
    const d3dkmthandle fence = fences_[index].fence.handle;
    if (IsAwaited(fence)) return;
    fences_.erase(fences_.begin() + static_cast<ptrdiff_t>(index));
    client_.DestroySync(fence);
  }

  void Block() {
    if (!blocked_) blocked_.emplace(client_, Any(fences_), slot_.wait);
  }

  void AwaitEvent() {
    if (awaited_.size() >= kPendingMax) return;
    const OwnFence& own = Any(fences_);
    auto event = std::make_unique<Event>();
    client_.WaitEvent(own.fence.handle, own.next, *event);
    Awaits({own.fence.handle, own.next, std::move(event), nullptr});
  }

  void AwaitFile() {
    if (awaited_.size() >= kPendingMax) return;
    const OwnFence& own = Any(fences_);
    d3dkmt_createsyncfile args = {client_.device, own.fence.handle, own.next, ~uint64_t{0}};
    client_.node.Ioctl(LX_DXCREATESYNCFILE, args, "CreateSyncFile");
    Awaits({own.fence.handle, own.next, nullptr,
            std::make_unique<Descriptor>(static_cast<int>(args.sync_file_handle))});
  }

  // Nobody but us raises its fence, so it is not there yet; but a host that goes now lets all happen.
  void Awaits(Awaited made) {
    if (IsReadable(made.fd()) && board_.announced == round_)
      throw Wrong("an eventfd or a sync file is ready before its fence");
    awaited_.push_back(std::move(made));
  }

  // Raises a fence, and everything that waits for it has to hear of it.
  void Raise() {
    OwnFence& own = Any(fences_);
    Timed("signal a fence", [&] { client_.Signal(own.fence, own.next); });
    const uint64_t value = own.next++;
    const bool blocked = blocked_ && blocked_->fence().v == own.fence.handle.v;
    // A frozen device says nothing: it has to thaw first.
    const auto all_there = [&](int64_t deadline_ns) {
      if (!UntilSeen(deadline_ns, [&] { return own.fence.Value() >= value; })) return false;
      if (blocked && !blocked_->AwaitDone(deadline_ns)) return false;
      return std::all_of(awaited_.begin(), awaited_.end(), [&](const Awaited& each) {
        return each.fence.v != own.fence.handle.v || each.value > value ||
               AwaitReadable(each.fd(), deadline_ns);
      });
    };
    for (uint32_t freezes = board_.freezes; !all_there(NowNs() + board_.limit_ns); freezes = board_.freezes) {
      if (board_.announced != round_) throw Refused("the fault came first");
      if (board_.freezes == freezes && freezes % 2 == 0)
        throw Wrong(
            fmt::format("fence {:#x} was raised to {}, and somebody who waits for that does not hear of it",
                        own.fence.handle.v, value));
    }
    if (blocked) TakeBlocked();
    std::erase_if(awaited_, [&](const Awaited& each) {
      return each.fence.v == own.fence.handle.v && each.value <= value;
    });
  }

  void TakeBlocked() {
    const int result = blocked_->result();
    const bool is_true = blocked_->IsTrue();
    blocked_.reset();
    Must(result, "WaitForSynchronizationObjectFromCpu");
    if (!is_true) throw Wrong("a wait ended with success before its fence was there");
  }

  // ---- The GPU ----

  // What is spun for has no call to end it: a device that dies never raises the fence.
  void Reach(uint64_t value) {
    while (paging_.Value() < value) {
      if (board_.struck > round_ && board_.loss == Loss::kDevice)
        throw Refused("the device died before the paging queue was done");
      if (board_.struck > round_ && NowNs() > board_.struck_ns + board_.limit_ns)
        throw Wrong("the fence of a paging queue stays where it was after the loss");
      std::this_thread::yield();
    }
  }

  GpuMemory AttachNew() {
    const d3dkmthandle allocation = client_.Create();
    uint64_t fence_value = 0;
    const int result = client_.TryMakeResident(paging_, {&allocation, 1}, 0, &fence_value);
    if (result == kPending) {
      Reach(fence_value);
    } else {
      Must(result, "MakeResident");
    }
    d3dddi_mapgpuvirtualaddress args = {};
    args.paging_queue = paging_.handle;
    args.allocation = allocation;
    args.size_in_pages = 1;
    args.protection.write = 1;
    const int mapped = client_.node.TryIoctl(LX_DXMAPGPUVIRTUALADDRESS, args);
    if (mapped == kPending) {
      Reach(args.paging_fence_value);
    } else {
      Must(mapped, "MapGpuVirtualAddress");
    }
    return {allocation, args.virtual_address, client_.LockBytes(allocation)};
  }

  GpuMemory PlaceCopy() {
    const GpuMemory memory = AttachNew();
    dxg_commands commands = dxg_commands_begin(memory.bytes.data(), memory.bytes.size());
    dxg_push_copy(&commands, target_.gpu, source_.gpu, kPageBytes);
    copy_bytes_ = static_cast<uint32_t>(commands.used);
    return memory;
  }

  void Copy() {
    const uint64_t seed = random_(), value = done_.next++;
    conformance::FillPattern(source_.bytes, seed);
    Must(client_.TrySubmit(context_, copy_.gpu, copy_bytes_), "SubmitCommand");
    client_.GpuSignal(context_, done_.fence, value);
    client_.Wait(done_.fence, value);
    const uint64_t reached = done_.fence.Value();
    if (reached < value) throw Wrong("a wait ended with success before its fence was there");
    if (reached == kFenceLost) throw Refused("the host was lost on the way");
    if (!IsRight(target_.bytes, seed)) throw Wrong("what the GPU has copied is not what the source is");
  }

  // ---- Sharing ----

  // A fence of ours goes to ourselves and to the next client; what came from the previous one is opened.
  void Share() {
    const Fence made = client_.CreateFence(0, conformance::sync_flags::kShared);
    fences_.push_back({made});
    const Descriptor shared(client_.Share(made.handle));
    Opened(client_.OpenFence(shared.get()));
    SendTo(post_.to_next, shared.get(), losses_);
    uint32_t losses = 0;
    while (const int received = ReceiveFrom(post_.from_previous, &losses)) {
      const Descriptor file(received);
      d3dkmt_opensyncobjectfromnthandle2 args;
      const int result = client_.TryOpenSync(file.get(), &args);
      if (losses != losses_ && result == 0) throw Wrong("a shared fence of a host that is gone was opened");
      if (losses != losses_) continue;
      Must(result, "OpenSyncObjectFromNtHandle2");
      // Safety: the node mapped the fence's page there.
      Opened({args.sync_object,
              reinterpret_cast<const volatile uint64_t*>(args.monitored_fence.fence_value_cpu_va), 0});
    }
    while (fences_.size() > kFencesMax && !IsAwaited(fences_.front().fence.handle)) {
      const d3dkmthandle oldest = fences_.front().fence.handle;
      fences_.erase(fences_.begin());
      client_.DestroySync(oldest);
    }
  }

  void Opened(const Fence& fence) {
    opened_.push_back(fence);
    if (opened_.size() <= kFencesMax) return;
    const d3dkmthandle oldest = opened_.front().handle;
    opened_.erase(opened_.begin());
    client_.DestroySync(oldest);
  }

  static void SendTo(int socket, int descriptor, uint32_t losses) {
    iovec part = {&losses, sizeof(losses)};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
    msghdr message = {};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof(control);
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    std::memcpy(CMSG_DATA(header), &descriptor, sizeof(int));
    (void)sendmsg(socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL);  // a full post takes no more
  }

 public:
  // A descriptor, or 0.
  static int ReceiveFrom(int socket, uint32_t* losses) {
    iovec part = {losses, sizeof(*losses)};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
    msghdr message = {};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof(control);
    if (recvmsg(socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) != sizeof(*losses)) return 0;
    const cmsghdr* header = CMSG_FIRSTHDR(&message);
    int descriptor = 0;
    if (header != nullptr) std::memcpy(&descriptor, CMSG_DATA(header), sizeof(int));
    return descriptor;
  }

 private:
  // The end of a life without a loss: who waits is let out.
  void Finish() {
    CheckAllBytes();
    if (!blocked_) return;
    for (OwnFence& each : fences_) {
      if (each.fence.handle.v == blocked_->fence().v) client_.Signal(each.fence, each.next);
    }
    if (!blocked_->AwaitDone(NowNs() + board_.limit_ns)) throw Wrong("a blocked wait does not end");
  }

  Board& board_;
  ClientSlot& slot_;
  std::mt19937_64& random_;
  const Post post_;
  const uint32_t round_;   // the last one that is over
  const uint32_t losses_;  // up to then: what was shared before the last of them is of no use

  SyncClient client_;
  PagingQueue paging_;
  d3dkmthandle context_;
  GpuMemory source_, target_, copy_;
  uint32_t copy_bytes_ = 0;
  OwnFence done_;
  std::vector<Memory> memories_;
  std::vector<OwnFence> fences_;
  std::vector<Fence> opened_;
  std::vector<d3dkmthandle> devices_;
  std::vector<Awaited> awaited_;
  std::optional<Blocked> blocked_;
};

// -- Lives, one after the other -------------------------------------------------------------------

class Client {
 public:
  Client(Board& board, size_t index, uint64_t seed, Post post)
      : board_(board), slot_(board.clients[index]), random_(seed), post_(post) {}

  void Run() {
    for (uint32_t round = 0; !board_.end; ++round) {
      std::unique_ptr<Life> life = Begin(round);
      if (life) {
        slot_.opened = round;
        board_.TellRig();
        life->Work();
        if (board_.loss != Loss::kNothing) {
          ++losses_;
          life->JudgeLoss();
        }
        life.reset();
      }
      for (uint32_t losses = 0; const int file = Life::ReceiveFrom(post_.from_previous, &losses);)
        close(file);
      slot_.closed = round + 1;
      board_.TellRig();
      board_.news.Await(INT64_MAX, [&] { return board_.end || board_.back > round; });
    }
  }

 private:
  // Null: the next fault came first.
  std::unique_ptr<Life> Begin(uint32_t round) {
    for (;;) {
      try {
        slot_.calls.began_ns = NowNs();
        slot_.calls.name = "open the node and begin";
        auto life = std::make_unique<Life>(board_, slot_, random_, post_, round, losses_);
        slot_.calls.name = nullptr;
        RaiseTo(slot_.worst_open_ns, NowNs() - board_.back_ns);
        return life;
      } catch (const Wrong&) {
        throw;
      } catch (const std::exception& error) {
        slot_.calls.name = nullptr;
        if (NowNs() > board_.back_ns + board_.open_limit_ns)
          throw Wrong(fmt::format("the device is there again and cannot be used: {}", error.what()));
        std::this_thread::sleep_for(
            std::chrono::milliseconds(10));  // that a device has its host again is heard by trying only
      }
    }
  }

  Board& board_;
  ClientSlot& slot_;
  std::mt19937_64 random_;
  const Post post_;
  uint32_t losses_ = 0;
};

}  // namespace

int RunClient(Board& board, size_t index, uint64_t seed, Post post) {
  try {
    Client(board, index, seed, post).Run();
    return 0;
  } catch (const std::exception& error) {
    std::snprintf(board.clients[index].failure, sizeof(board.clients[index].failure), "%s", error.what());
  }
  // Without destructors: a thread may wait in a call that does not end.
  _exit(1);
}

}  // namespace dxg::faults
