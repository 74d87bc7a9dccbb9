#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "hostsim/serve/guest_ram.h"
#include "link/backend.h"
#include "link/simulated_bus/gpadl.h"

namespace dxg::hostsim::serve {

// The lists of pages (GPADLs) that a guest has told of, by its numbers. Those that are not of rings go to the
// back-end, which has numbers of its own.
class GuestGpadls {
 public:
  static constexpr uint64_t kPagesMax = 1u << 22;  // of one guest: 16 GiB
  static constexpr size_t kListsMax = 4096;

  explicit GuestGpadls(std::shared_ptr<GuestRam> ram) : ram_(std::move(ram)) {}

  // What a message of the guest's came to.
  struct Outcome {
    enum { kNonsense, kMoreToCome, kComplete, kRefused } what = kNonsense;
    uint32_t relid = 0;
    uint32_t gpadl = 0;
  };
  Outcome Begin(std::span<const std::byte> payload) DXG_EXCLUDES(mutex_);
  Outcome GoOn(std::span<const std::byte> payload) DXG_EXCLUDES(mutex_);
  // Gives the back-end a list that is complete. False: it refuses, and the list is forgotten.
  bool GiveTo(Backend& backend, uint32_t gpadl) DXG_EXCLUDES(mutex_);
  // Forgets it; the back-end's number for it, 0 where it has none.
  uint32_t End(uint32_t gpadl) DXG_EXCLUDES(mutex_);
  uint32_t ListOf(uint32_t gpadl) DXG_EXCLUDES(mutex_);
  // The frames of a list that is complete; none: there is no such list.
  std::optional<std::vector<uint64_t>> FramesOf(uint32_t gpadl) DXG_EXCLUDES(mutex_);

 private:
  struct Gpadl {
    uint32_t relid;
    vmbus::link::GpadlFrames frames;
    uint32_t list = 0;  // the back-end's; 0: of rings, or not all of it is told
  };
  static Outcome Add(Gpadl& gpadl, uint32_t number, std::span<const std::byte> frames);

  const std::shared_ptr<GuestRam> ram_;
  Mutex mutex_;  // taken before the back-end's
  std::map<uint32_t, Gpadl> gpadls_ DXG_GUARDED_BY(mutex_);
  uint64_t pages_ DXG_GUARDED_BY(mutex_) = 0;
};

}  // namespace dxg::hostsim::serve
