#include "cuse-dxg/replay/client.h"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <string_view>
#include <utility>

#include "base/page.h"
#include "cuse-dxg/replay/reasons.h"
#include "proto/contract/calls.gen.h"

namespace dxg::replay {
namespace {

// An address at which nobody can read or write.
uint64_t Untouchable() {
  static void* const page = mmap(nullptr, kPageBytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return reinterpret_cast<uint64_t>(page);  // Safety: a number
}

// Pages of this process's own, for as long as it lives: a host may work with them. 0: there is no room.
uint64_t NewMemory(uint64_t bytes) {
  void* const pages =
      mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return pages == MAP_FAILED ? 0 : reinterpret_cast<uint64_t>(pages);  // Safety: a number
}

bool Says(const RecordedCall& call, std::string_view words) {
  return call.result < 0 && call.reason.find(words) != std::string::npos;
}

// What a refusal says that it could not read or write.
ClientCall::Fault FaultOf(const RecordedCall& call) {
  ClientCall::Fault fault{.address = Untouchable(), .buffer = {}};
  const size_t at = call.reason.find(std::string(reasons::kBefore) + "0x");
  const bool written = Says(call, reasons::kNotWritable);
  if (at == std::string::npos || (!written && !Says(call, reasons::kNotReadable))) return fault;
  fault.buffer = call.reason.substr(0, at);
  if (const size_t space = fault.buffer.rfind(", "); space != std::string::npos)
    fault.buffer.erase(0, space + 2);
  fault.read_only = written;
  fault.recorded = std::strtoull(call.reason.c_str() + at + reasons::kBefore.size(), nullptr, 16);
  return fault;
}

// Memory that the call names as the client's own, or an address that the driver refused. Of a size that no
// program can have there is a page: the driver looks at the size.
uint64_t OwnMemoryFor(const RecordedCall& call, uint64_t bytes) {
  if (Says(call, reasons::kNotAllThere) || Says(call, reasons::kHasNoPages)) return Untouchable();
  uint64_t memory = NewMemory(bytes);
  if (memory == 0) memory = NewMemory(kPageBytes);
  return Says(call, reasons::kNotOnAPage) || Says(call, reasons::kHeapNotOnAPage) ? memory + 1 : memory;
}

// A process that may have no more descriptors, or mappings: of the recorded one it is known by a refusal.
bool IsUnderALimit(const RecordedCall& call) {
  return Says(call, reasons::kTooManyFiles) ||
         (Says(call, reasons::kMapping) && Says(call, reasons::kFailedInClient));
}

// For as long as it lives, this process may have no more of what the recorded one could not have either.
class Limit {
 public:
  explicit Limit(const RecordedCall& call) {
    if (IsUnderALimit(call)) Set(Says(call, reasons::kTooManyFiles) ? RLIMIT_NOFILE : RLIMIT_AS);
  }
  ~Limit() {
    if (what_ >= 0) setrlimit(static_cast<__rlimit_resource>(what_), &before_);
  }
  Limit(const Limit&) = delete;
  Limit& operator=(const Limit&) = delete;

 private:
  void Set(__rlimit_resource what) {
    if (getrlimit(what, &before_) != 0) return;
    const rlimit none{.rlim_cur = 0, .rlim_max = before_.rlim_max};
    if (setrlimit(what, &none) == 0) what_ = static_cast<int>(what);
  }
  rlimit before_{};
  int what_ = -1;
};

std::vector<uint64_t> NumbersOf(const Message& message, const Message& request) {
  std::vector<uint64_t> numbers;
  ForEachValue(message, request, [&](const Value& value) { numbers.push_back(value.number); });
  return numbers;
}

void ReplaceWord(std::string* bytes, uint64_t from, uint64_t to) {
  char old[sizeof(from)], now[sizeof(to)];
  std::memcpy(old, &from, sizeof(from));
  std::memcpy(now, &to, sizeof(to));
  for (size_t at = 0; (at = bytes->find(old, at, sizeof(old))) != std::string::npos; at += sizeof(old))
    bytes->replace(at, sizeof(old), now, sizeof(now));
}

}  // namespace

Result<std::unique_ptr<Client>> Client::Open(const RecordedProcess& recorded, Others& others,
                                             const std::string& device) {
  if (!recorded.name.empty()) prctl(PR_SET_NAME, recorded.name.c_str());
  UniqueFd node(open(device.c_str(), O_RDWR | O_CLOEXEC));
  const int error = errno;
  if (!node.valid())
    return Status::Refuse(
        error, "{} cannot be opened: {}; expected a node of /dev/dxg's kind, as `cuse-dxg serve` makes it",
        device, std::strerror(error));
  return std::unique_ptr<Client>(new Client(recorded.pid, others, std::move(node)));
}

// What may wait for others holds up nobody who needs a limit: who waits has no use for memory or descriptors.
int Client::Ask(const RecordedCall& call, uint32_t code, void* argument) {
  const auto ask = [&] {
    std::atomic<int32_t>* const player = others_.PlayerOf(call);
    if (player != nullptr) *player = gettid();
    const int result = ioctl(node_.get(), code, argument);
    const int error = errno;
    if (player != nullptr) *player = 0;
    return result == -1 && error != 0 ? -error : result;
  };
  if (call.row->call_class == WAIT) return ask();
  if (!IsUnderALimit(call)) {
    ReaderLock lock(limits_);
    return ask();
  }
  WriterLock lock(limits_);
  const Limit limit(call);
  return ask();
}

// A program looks into the pages of its paging queues' fences for what is done, and goes on then: no call
// says so. As far as the recorded one's paging was, this one's is to be as well. Where it does not get there,
// the call shows what comes of that.
void Client::WaitForPaging(const RecordedCall& call) {
  constexpr int kLooks = 10'000;
  constexpr timespec kPause{.tv_sec = 0, .tv_nsec = 100'000};
  const auto is_there = [this](const RecordedPaging& paging) {
    MutexLock lock(mutex_);
    return memory_.HasReached(paging);
  };
  for (const RecordedPaging& paging : call.paging) {
    for (int i = 0; i < kLooks && !is_there(paging); ++i) nanosleep(&kPause, nullptr);
    MutexLock lock(mutex_);
    if (!memory_.HasReached(paging)) memory_.ForgetFence(paging.queue);  // once is enough
  }
}

// A process that has closed the node is gone a little later, which one call alone shows.
bool Client::ShowsTooMany(const RecordedCall& call, const Outcome& outcome) {
  if (call.row->code != calls::EnumProcesses::kCode || call.result < 0) return false;
  return outcome.result == -EOVERFLOW ||
         NumberIn(*outcome.reply, "buffer_count") > NumberIn(*call.Reply(), "buffer_count");
}

Outcome Client::Make(const RecordedCall& call) {
  constexpr int kTimesMax = 2'000;
  constexpr timespec kPause{.tv_sec = 0, .tv_nsec = 1'000'000};
  WaitForPaging(call);
  Outcome outcome = MakeOnce(call);
  for (int i = 1; i < kTimesMax && ShowsTooMany(call, outcome); ++i) {
    nanosleep(&kPause, nullptr);
    outcome = MakeOnce(call);
  }
  return outcome;
}

Outcome Client::MakeOnce(const RecordedCall& call) {
  Outcome outcome;
  outcome.request = RequestFor(call);
  const ClientCall::Fault fault = FaultOf(call);
  std::vector<uint64_t> own;  // the client's memory that it names, element by element
  const auto own_memory = [&call, &own](uint64_t bytes) {
    const uint64_t recorded = PlayedMemory::OwnBytes(call, own.size());
    own.push_back(OwnMemoryFor(call, recorded != 0 ? recorded : bytes));
    return own.back();
  };
  ClientCall made(*call.row, *outcome.request, *call.Reply(), call.result, fault, own_memory, call.addresses);
  const bool unreadable = fault.buffer == "the argument";
  void* const argument =
      unreadable ? reinterpret_cast<void*>(Untouchable()) : made.args();  // Safety: never touched
  {
    MutexLock lock(mutex_);
    memory_.Put(call, own, [this](uint64_t word) DXG_REQUIRES(mutex_) {
      const uint64_t here = memory_.Mapped(word);
      return here != 0 ? here : word;
    });
  }
  outcome.result = Ask(call, made.code(), argument);
  outcome.reply = made.ReadReply();
  if (outcome.result >= 0 && call.result >= 0) {
    MutexLock lock(mutex_);
    Learn(call, *outcome.request, *outcome.reply);
    memory_.Learn(call, own, made, *outcome.reply);
  }
  return outcome;
}

// The question has objects where the request has names, one for one.
std::unique_ptr<Message> Client::RequestFor(const RecordedCall& call) {
  std::unique_ptr<Message> request = call.Request();
  const std::unique_ptr<Message> question(call.row->request->New());
  if (!question->ParseFromString(call.question.substr(1))) return request;
  const std::vector<uint64_t> objects = NumbersOf(*question, *question);
  const std::unique_ptr<Message> recorded = call.Request();
  size_t at = 0;
  MutexLock lock(mutex_);
  Rewrite(
      request.get(), *recorded,
      [&](const Value& value) DXG_REQUIRES(mutex_) -> uint64_t {
        const uint64_t object = at < objects.size() ? objects[at] : 0;
        ++at;
        switch (value.kind) {
          case Kind::kHandle:
          case Kind::kAdapter: {
            const auto found = handles_.find(static_cast<uint32_t>(object & kObjectMask));
            return (object & kObjectMark) != kObjectMark || found == handles_.end() ? value.number
                                                                                    : found->second;
          }
          case Kind::kDescriptor:
            if ((object >> 32) == kObjectMark)
              return DescriptorOf(static_cast<uint32_t>(object), value.number);
            return call.names_none ? OfNothing(value.number) : value.number;
          case Kind::kLuid: {
            const auto found = luids_.find(value.number);
            return found == luids_.end() ? value.number : found->second;
          }
          case Kind::kGpuAddress:
            return AddressFor(value.number);
          case Kind::kEvent:
            if (value.number == 0) return 0;
            return Says(call, reasons::kNoEventfd) || Says(call, reasons::kNoDescriptor)
                       ? OfNothing(value.number)
                       : EventFor(value.number);
          case Kind::kProcess:
            return ProcessFor(value.number);
          default:
            return value.number;
        }
      },
      contract::Room::kKept);
  PutLuids(request.get());
  return request;
}

// Programs hand LUIDs to their drivers in private data.
void Client::PutLuids(Message* message) {
  for (int i = 0; i < message->GetDescriptor()->field_count(); ++i) {
    const FieldDescriptor* const field = message->GetDescriptor()->field(i);
    if (field->cpp_type() != FieldDescriptor::CPPTYPE_STRING || field->is_repeated()) continue;
    std::string bytes = message->GetReflection()->GetString(*message, field);
    const std::string before = bytes;
    for (const auto& [recorded, live] : luids_) {
      if (recorded != live) ReplaceWord(&bytes, recorded, live);
    }
    if (bytes != before) message->GetReflection()->SetString(message, field, std::move(bytes));
  }
}

// Its own, or that of the process that has it: how it was passed on is not recorded.
uint64_t Client::DescriptorOf(uint32_t object, uint64_t recorded) {
  const auto own = descriptors_.find(object);
  if (own != descriptors_.end()) return own->second;
  const Order::Place* const place = others_.PlaceOf(object);
  if (place == nullptr) return recorded;
  const int pid = place->pid;
  if (pid == 0) return recorded;
  const UniqueFd process(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
  const int taken = static_cast<int>(syscall(SYS_pidfd_getfd, process.get(), place->descriptor.load(), 0));
  if (taken < 0) return recorded;
  descriptors_[object] = static_cast<uint64_t>(taken);
  return static_cast<uint64_t>(taken);
}

// A descriptor that has nothing to do with the node. What no descriptor can be stays.
uint64_t Client::OfNothing(uint64_t recorded) {
  constexpr uint64_t kDescriptorsMax = 1u << 20;
  if (recorded >= kDescriptorsMax) return recorded;
  if (!nothing_.valid()) nothing_ = UniqueFd(open("/dev/null", O_RDWR | O_CLOEXEC));
  return static_cast<uint64_t>(nothing_.get());
}

uint64_t Client::EventFor(uint64_t recorded) {
  UniqueFd& event = events_[recorded];
  if (!event.valid()) event = UniqueFd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  return static_cast<uint64_t>(event.get());
}

// As far behind one that the node gave as it was behind the one that was recorded.
uint64_t Client::AddressFor(uint64_t recorded) {
  const auto after = addresses_.upper_bound(recorded);
  if (after == addresses_.begin()) return recorded;
  const auto& [from, to] = *std::prev(after);
  return to + (recorded - from);
}

uint64_t Client::ProcessFor(uint64_t recorded) const {
  if (recorded == 0) return 0;
  if (recorded == recorded_pid_) return static_cast<uint64_t>(getpid());
  const int live = recorded <= UINT32_MAX ? others_.PidOf(static_cast<uint32_t>(recorded)) : 0;
  if (live != 0) return static_cast<uint64_t>(live);
  // One that has not opened the node, or not any more. Here the number may be a player's.
  constexpr uint64_t kPidsMax = 1u << 22;
  return recorded < kPidsMax ? static_cast<uint64_t>(getppid()) : recorded;
}

void Client::Learn(const RecordedCall& call, const Message& request, const Message& reply) {
  const std::unique_ptr<Message> recorded = call.Reply();
  const std::vector<uint64_t> numbers = NumbersOf(reply, request);
  size_t at = 0;
  ForEachValue(*recorded, request, [&](const Value& value) DXG_REQUIRES(mutex_) {
    const uint64_t live = at < numbers.size() ? numbers[at] : 0;
    ++at;
    if (value.kind == Kind::kLuid && value.number != 0) luids_[value.number] = live;
    if (value.kind == Kind::kGpuAddress && value.number != 0 && live != 0) {
      addresses_[value.number] = live;
      memory_.Name(value.number, live);
    }
    for (const Made& made : call.handles) {
      if (IsHandle(value.kind) && made.name == NameOf(value.kind, value.number)) handles_[made.object] = live;
    }
    for (const Made& made : call.descriptors) {
      if (value.kind != Kind::kDescriptor || made.name != value.number) continue;
      descriptors_[made.object] = live;
      Order::Place* const place = others_.PlaceOf(made.object);
      if (place == nullptr) continue;
      place->descriptor = static_cast<int32_t>(live);
      place->pid = getpid();
    }
  });
}

}  // namespace dxg::replay
