#include "cuse-dxg/replay/order.h"

#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>
#include <new>
#include <numeric>

namespace dxg::replay {
namespace {

constexpr size_t kLine = 64;

size_t RoundedUp(size_t bytes) { return (bytes + kLine - 1) / kLine * kLine; }

uint64_t EndOf(const RecordedCall& call) { return std::max(call.begin_ns, call.end_ns); }

void Futex(std::atomic<uint32_t>* word, int what, uint32_t value) {
  syscall(SYS_futex, word, what, value, nullptr, nullptr, 0);
}

}  // namespace

Result<std::unique_ptr<Order>> Order::Create(const Recording& recording) {
  const size_t bytes = RoundedUp(sizeof(Shared)) + RoundedUp(recording.calls().size()) +
                       RoundedUp((size_t{recording.objects()} + 1) * sizeof(Place)) +
                       RoundedUp(recording.processes().size() * sizeof(int32_t));
  void* const memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED)
    return Status::Refuse(ENOMEM, "no memory for the order of {} calls", recording.calls().size());
  return std::unique_ptr<Order>(new Order(recording, memory, bytes));
}

// The memory is zeros, which is what all in it begins with.
Order::Order(const Recording& recording, void* memory, size_t bytes) : memory_(memory), bytes_(bytes) {
  auto* at = static_cast<std::byte*>(memory);
  shared_ = new (at) Shared;
  at += RoundedUp(sizeof(Shared));
  done_ = reinterpret_cast<std::atomic<uint8_t>*>(at);  // Safety: zeros, made for it
  at += RoundedUp(recording.calls().size());
  places_ = reinterpret_cast<Place*>(at);  // Safety: the same
  at += RoundedUp((size_t{recording.objects()} + 1) * sizeof(Place));
  pids_ = reinterpret_cast<std::atomic<int32_t>*>(at);  // Safety: the same

  const std::vector<RecordedCall>& calls = recording.calls();
  std::vector<uint32_t> by_end(calls.size());
  std::iota(by_end.begin(), by_end.end(), 0);
  std::ranges::stable_sort(by_end, {}, [&](uint32_t i) { return EndOf(calls[i]); });
  ranks_.resize(calls.size());
  for (uint32_t rank = 0; rank < by_end.size(); ++rank) {
    ranks_[by_end[rank]] = rank;
    ends_.push_back(EndOf(calls[by_end[rank]]));
  }
  for (const RecordedCall& call : calls) needs_.push_back(EndedBefore(call.begin_ns));
}

Order::~Order() { munmap(memory_, bytes_); }

uint32_t Order::EndedBefore(uint64_t ns) const {
  return static_cast<uint32_t>(std::ranges::lower_bound(ends_, ns) - ends_.begin());
}

bool Order::WaitUntilOver(uint32_t calls) {
  for (;;) {
    const uint32_t now = over();
    if (shared_->stopped.load() != 0) return false;
    if (now >= calls) return true;
    Futex(&shared_->over, FUTEX_WAIT, now);
  }
}

void Order::Done(size_t call) {
  done_[ranks_[call]].store(1, std::memory_order_seq_cst);
  const uint32_t all = static_cast<uint32_t>(ranks_.size());
  uint32_t over = shared_->over.load(std::memory_order_seq_cst);
  bool more = false;
  while (over < all && done_[over].load(std::memory_order_seq_cst) != 0) {
    // Where it fails another one has counted it.
    if (shared_->over.compare_exchange_strong(over, over + 1)) {
      ++over;
      more = true;
    }
  }
  if (more) Futex(&shared_->over, FUTEX_WAKE, INT_MAX);
}

void Order::Stop() {
  shared_->stopped = 1;
  // Also those that looked just before, and sleep on the number.
  shared_->over.fetch_add(1u << 31);
  Futex(&shared_->over, FUTEX_WAKE, INT_MAX);
}

bool Order::IsUnderWay(size_t call) const {
  return over() >= needs_[call] && done_[ranks_[call]].load() == 0;
}

}  // namespace dxg::replay
