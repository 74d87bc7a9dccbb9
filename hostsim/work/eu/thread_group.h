#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "hostsim/work/eu/thread.h"

namespace dxg::hostsim::eu {

// The threads of a thread group that run at once, and what they share.
struct ThreadGroup {
  struct Member {
    std::unique_ptr<Thread> thread;  // null: it has ended
    uint32_t id = 0;                 // among all threads that run on the GPU
  };

  uint32_t place[3] = {};      // x, y, z of the group
  std::vector<uint8_t> local;  // its local memory
  std::vector<Member> members;
  uint32_t running = 0;    // members that have not ended
  uint32_t signalled = 0;  // members that have come to the barrier

  // A member has come to the barrier; the last one lets all of them go on. One that has ended never comes.
  void Signal(Thread& thread) {
    thread.waits_at_barrier = true;
    if (++signalled < members.size()) return;
    signalled = 0;
    for (Member& member : members) {
      if (member.thread) member.thread->waits_at_barrier = false;
    }
  }
};

}  // namespace dxg::hostsim::eu
