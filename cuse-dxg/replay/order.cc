#include "cuse-dxg/replay/order.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>
#include <new>
#include <numeric>
#include <string_view>

#include "base/unique_fd.h"

namespace dxg::replay {
namespace {

constexpr size_t kLine = 64;

size_t RoundedUp(size_t bytes) { return (bytes + kLine - 1) / kLine * kLine; }

struct Span {
  uint64_t begin_ns, end_ns;
};

// By event. A process that is not seen to open the node does it before its first call, and one that is not
// seen to close it does it at the end. Nobody closes it before his last call is over.
std::vector<Span> SpansOf(const Recording& recording) {
  std::vector<Span> spans;
  spans.reserve(recording.calls().size() + 2 * recording.processes().size());
  for (const RecordedCall& call : recording.calls())
    spans.push_back({call.begin_ns, std::max(call.begin_ns, call.end_ns)});
  for (const RecordedProcess& process : recording.processes()) {
    uint64_t open_ns = process.opened_ns != 0 || process.calls.empty() ? process.opened_ns : ~0ull;
    uint64_t last_ns = open_ns == ~0ull ? 0 : open_ns;
    for (const size_t call : process.calls) {
      open_ns = std::min(open_ns, spans[call].begin_ns);
      last_ns = std::max(last_ns, spans[call].end_ns);
    }
    spans.push_back({open_ns, open_ns});
    const uint64_t close_ns = process.closed_ns != 0 ? process.closed_ns : ~0ull;
    spans.push_back({close_ns, std::max(close_ns, last_ns)});
  }
  return spans;
}

// By call: those before it that wait without limit and had not ended when it began. The last ones, of many.
std::vector<std::vector<uint32_t>> WaitsOf(const Recording& recording) {
  constexpr size_t kMost = 64;
  const auto& calls = recording.calls();
  std::vector<uint32_t> by_begin(calls.size());
  std::iota(by_begin.begin(), by_begin.end(), 0);
  std::ranges::stable_sort(by_begin, {}, [&](uint32_t i) { return calls[i].begin_ns; });
  std::vector<std::vector<uint32_t>> waits(calls.size());
  std::vector<uint32_t> under_way;
  for (const uint32_t i : by_begin) {
    std::erase_if(under_way, [&](uint32_t each) { return calls[each].end_ns <= calls[i].begin_ns; });
    waits[i] = under_way;
    if (calls[i].row->call_class != WAIT) continue;
    if (under_way.size() == kMost) under_way.erase(under_way.begin());
    under_way.push_back(i);
  }
  return waits;
}

// Of a thread of any process of ours.
bool IsAsleep(int32_t thread) {
  char path[32], text[512];
  *fmt::format_to_n(path, sizeof(path) - 1, "/proc/{}/stat", thread).out = '\0';
  const UniqueFd file(open(path, O_RDONLY | O_CLOEXEC));
  const ssize_t got = read(file.get(), text, sizeof(text));
  // "7 (name) S ...", and a name may have anything.
  const std::string_view stat(text, got > 0 ? static_cast<size_t>(got) : 0);
  const size_t at = stat.rfind(')');
  return at == std::string_view::npos || at + 2 >= stat.size() || stat[at + 2] != 'R';
}

void Futex(std::atomic<uint32_t>* word, int what, uint32_t value) {
  syscall(SYS_futex, word, what, value, nullptr, nullptr, 0);
}

}  // namespace

Result<std::unique_ptr<Order>> Order::Create(const Recording& recording) {
  const size_t events = recording.calls().size() + 2 * recording.processes().size();
  const size_t bytes = RoundedUp(sizeof(Shared)) + RoundedUp(events) +
                       RoundedUp((size_t{recording.objects()} + 1) * sizeof(Place)) +
                       RoundedUp(recording.processes().size() * sizeof(int32_t)) +
                       recording.calls().size() * sizeof(int32_t);
  void* const memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED)
    return Status::Refuse(ENOMEM, "no memory for the order of {} calls", recording.calls().size());
  return std::unique_ptr<Order>(new Order(recording, memory, bytes));
}

// The memory is zeros, which is what all in it begins with.
Order::Order(const Recording& recording, void* memory, size_t bytes)
    : calls_(recording.calls().size()), memory_(memory), bytes_(bytes) {
  auto* at = static_cast<std::byte*>(memory);
  shared_ = new (at) Shared;
  at += RoundedUp(sizeof(Shared));
  done_ = reinterpret_cast<std::atomic<uint8_t>*>(at);  // Safety: zeros, made for it
  const std::vector<Span> spans = SpansOf(recording);
  at += RoundedUp(spans.size());
  places_ = reinterpret_cast<Place*>(at);  // Safety: the same
  at += RoundedUp((size_t{recording.objects()} + 1) * sizeof(Place));
  pids_ = reinterpret_cast<std::atomic<int32_t>*>(at);  // Safety: the same
  at += RoundedUp(recording.processes().size() * sizeof(int32_t));
  players_ = reinterpret_cast<std::atomic<int32_t>*>(at);  // Safety: the same

  std::vector<uint32_t> by_end(spans.size());
  std::iota(by_end.begin(), by_end.end(), 0);
  std::ranges::stable_sort(by_end, {}, [&](uint32_t i) { return spans[i].end_ns; });
  ranks_.resize(spans.size());
  for (uint32_t rank = 0; rank < by_end.size(); ++rank) {
    ranks_[by_end[rank]] = rank;
    ends_.push_back(spans[by_end[rank]].end_ns);
  }
  for (const Span& span : spans) needs_.push_back(EndedBefore(span.begin_ns));
  waits_ = WaitsOf(recording);
}

Order::~Order() { munmap(memory_, bytes_); }

uint32_t Order::EndedBefore(uint64_t ns) const {
  return static_cast<uint32_t>(std::ranges::lower_bound(ends_, ns) - ends_.begin());
}

bool Order::HasBegun(size_t call) const {
  if (done_[ranks_[call]].load() != 0) return true;
  const int32_t thread = players_[call];
  return thread != 0 && IsAsleep(thread);
}

bool Order::WaitForWaits(size_t call) const {
  constexpr int kLooks = 20'000;
  constexpr timespec kPause{.tv_sec = 0, .tv_nsec = 100'000};
  for (const uint32_t wait : waits_[call]) {
    for (int i = 0; i < kLooks && shared_->stopped.load() == 0 && !HasBegun(wait); ++i)
      nanosleep(&kPause, nullptr);
  }
  return std::ranges::all_of(waits_[call], [this](uint32_t wait) { return HasBegun(wait); });
}

bool Order::WaitUntilOver(uint32_t calls) {
  for (;;) {
    const uint32_t now = over();
    if (shared_->stopped.load() != 0) return false;
    if (now >= calls) return true;
    Futex(&shared_->over, FUTEX_WAIT, now);
  }
}

void Order::Done(size_t event) {
  done_[ranks_[event]].store(1, std::memory_order_seq_cst);
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
