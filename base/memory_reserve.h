#pragma once

namespace dxg {

// Work that others wait for has to be finished once it has begun: a lock's state, a queue, a completion. Much
// of it needs a little memory in the middle, and where the machine has none to give, an exception there would
// lose what was to be done, or end the process for everybody. So the process keeps some memory back for it.
//
// As with the kernel's PF_MEMALLOC, a thread says when its work is of that kind, and only then it gets what
// was kept. What can be refused is not of that kind: it throws std::bad_alloc as ever.
class MemoryReserve {
 public:
  // Sets memory aside and serves from it, for the rest of the process: what main() calls first. It replaces
  // the process's std::new_handler. Without it, no thread gets more than others.
  static void Keep();

  // While there is one, this thread's allocations find memory where others do not. Where the reserve is used
  // up they wait for somebody to free some, kPatienceMs in all, and throw std::bad_alloc then. They nest.
  class Use {
   public:
    Use();
    ~Use();
    Use(const Use&) = delete;
    Use& operator=(const Use&) = delete;
  };

  static constexpr int kPatienceMs = 200;
};

// What main() calls first. Keeps a reserve; and from then on every free() takes about as long as the next
// one. By default glibc puts small pieces aside and joins all of them at once, with the heap locked: that
// takes 400 ms when a client with a million objects has left, and whoever needs memory meanwhile waits.
void PrepareMemory();

}  // namespace dxg
