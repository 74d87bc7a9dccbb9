#include "cuse-dxg/preload/thread_ring.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

namespace dxg::preload::node {
namespace {

// Longer than a call that needs no other process, shorter than two switches of threads cost if we sleep.
constexpr int64_t kSpin_ns = 10'000;
constexpr int kLooksPerClock = 16;

int64_t NowNs() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * int64_t{1'000'000'000} + now.tv_nsec;
}

bool OnStack(const ThreadRing& ring, const void* memory, size_t bytes) {
  const auto here = reinterpret_cast<uintptr_t>(__builtin_frame_address(0));  // Safety: only compared
  const auto at = reinterpret_cast<uintptr_t>(memory);                        // Safety: the same
  return here >= ring.stack_begin && here < ring.stack_end && at > here && at < ring.stack_end &&
         bytes <= ring.stack_end - at;
}

uint32_t Load(const uint32_t* word) { return __atomic_load_n(word, __ATOMIC_SEQ_CST); }

// One line of /proc/self/maps after another, by their characters.
class Maps {
 public:
  // True: a line has ended its permissions, and is what is asked for.
  bool Take(char character, uintptr_t inside) {
    switch (at_) {
      case At::kBegin:
        return Digit(character, '-', &begin_, At::kEnd);
      case At::kEnd:
        return Digit(character, ' ', &end_, At::kPermissions);
      case At::kPermissions:
        if (count_ < 2) permissions_[count_] = character;
        if (++count_ < 2) return false;
        at_ = At::kRest;
        return inside >= begin_ && inside < end_ && permissions_[0] == 'r' && permissions_[1] == 'w';
      case At::kRest:
        if (character == '\n') *this = Maps();
        return false;
    }
    return false;
  }
  uintptr_t begin() const { return begin_; }
  uintptr_t end() const { return end_; }

 private:
  enum class At { kBegin, kEnd, kPermissions, kRest };
  bool Digit(char character, char last, uintptr_t* number, At next) {
    if (character == last) {
      at_ = next;
    } else {
      *number =
          *number * 16 + static_cast<uintptr_t>(character <= '9' ? character - '0' : character - 'a' + 10);
    }
    return false;
  }

  At at_ = At::kBegin;
  uintptr_t begin_ = 0, end_ = 0;
  int count_ = 0;
  char permissions_[2] = {};
};

}  // namespace

bool FindStack(ThreadRing* ring) {
  const auto here = reinterpret_cast<uintptr_t>(__builtin_frame_address(0));  // Safety: only compared
  const long file = syscall(SYS_openat, AT_FDCWD, "/proc/self/maps", O_RDONLY | O_CLOEXEC);
  if (file < 0) return false;
  Maps maps;
  bool found = false;
  char text[1024];
  long bytes;
  while (!found && (bytes = syscall(SYS_read, file, text, sizeof(text))) > 0) {
    for (long i = 0; i < bytes && !found; ++i) found = maps.Take(text[i], here);
  }
  syscall(SYS_close, file);
  ring->stack_begin = maps.begin();
  ring->stack_end = maps.end();
  return found;
}

bool MapRing(ThreadRing* ring, int memory, int bell) {
  void* const page = mmap(nullptr, ring::kBytes, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
  if (page == MAP_FAILED) return false;
  madvise(page, ring::kBytes, MADV_DONTFORK);  // a child has its own
  madvise(page, ring::kBytes, MADV_DONTDUMP);
  ring->page = static_cast<RingPage*>(page);
  ring->bell = bell;
  ring->called = 0;
  ring->spin = Spin();
  return true;
}

void UnmapRing(ThreadRing* ring) {
  if (ring->page != nullptr) munmap(ring->page, ring::kBytes);
  ring->page = nullptr;
}

bool IsAwake(const ThreadRing& ring) { return ring.page != nullptr && Load(&ring.page->awake) != 0; }

bool PutCall(ThreadRing* ring, const Said& said, const void* memory, size_t in_bytes, size_t room,
             bool* rings) {
  RingPage* const page = ring->page;
  const size_t bytes = in_bytes > room ? in_bytes : room;
  if (page == nullptr || bytes > ring::kStructMax || (bytes != 0 && !OnStack(*ring, memory, bytes)))
    return false;
  memcpy(&page->said, &said, sizeof(said));
  memcpy(page->in, memory, in_bytes);
  // Who is not awake has to be given a core first.
  const bool spins = IsAwake(*ring) && ring->spin.May();
  __atomic_store_n(&page->state, spins ? ring::kSpins : ring::kSleeps, __ATOMIC_RELAXED);
  __atomic_store_n(&page->called, ++ring->called, __ATOMIC_SEQ_CST);
  *rings = !IsAwake(*ring);
  return true;
}

void RingBell(const ThreadRing& ring) {
  const uint64_t one = 1;
  while (syscall(SYS_write, ring.bell, &one, sizeof(one)) < 0 && errno == EINTR) {
  }
}

bool AwaitAnswer(ThreadRing* ring, Told* told, void* memory, size_t room) {
  RingPage* const page = ring->page;
  uint32_t state = Load(&page->state);
  if (state == ring::kSleeps) return false;
  for (int64_t until = NowNs() + kSpin_ns; state == ring::kSpins && NowNs() < until;) {
    for (int i = 0; i < kLooksPerClock && state == ring::kSpins; ++i) {
      Pause();
      state = Load(&page->state);
    }
  }
  if (state == ring::kSpins && __atomic_compare_exchange_n(&page->state, &state, ring::kSleeps, false,
                                                           __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
    ring->spin.WasForNothing();
    return false;
  }
  if (state != ring::kAnswered) return false;
  ring->spin.Worked();
  memcpy(told, &page->told, sizeof(*told));
  const size_t bytes = page->out_bytes;
  memcpy(memory, page->out, bytes < room ? bytes : room);
  return true;
}

}  // namespace dxg::preload::node
