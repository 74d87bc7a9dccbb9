#pragma once

#include <sys/ioctl.h>

#include <cstdint>

// A device that only brings memory and descriptors into its clients, on request. The program delivery-server
// has it behind the product's own command line. A client chooses everything about a visit: its steps, its
// result, and where it stops until it is told to continue.

namespace dxg::client::delivery {

constexpr uint64_t kMemoryBytes = 64 << 20;

struct WantedStep {
  uint32_t kind;  // Step::Kind
  uint32_t writable;
  uint64_t offset;  // in the device's memory
  uint64_t size;
  uint64_t address;
  uint64_t result;  // out
};

enum class Hold : uint32_t { kNowhere, kBeforeEnter, kBeforeAnswer, kBeforeSteps, kBeforeLeave };

struct Visit {
  WantedStep steps[4];
  uint32_t steps_count;
  Hold hold;
  int32_t result;      // of the call, if the visit succeeds
  uint32_t repeat;     // how often the steps are done; 0: once
  int32_t done_error;  // out, by Leave: a positive errno of the steps; the call's result is it, negative
  uint32_t unused;
};

// Visits the caller.
constexpr uint32_t kVisit = _IOWR('V', 1, Visit);
// The number of visits that are held.
constexpr uint32_t kHeld = _IO('V', 2);
// Continues the visits that are held at the place in the argument, or all (0). The result is their number.
constexpr uint32_t kGoOn = _IO('V', 3);
// Which file the argument, a descriptor number, means: the result is its token, 1000 for an open of a
// client's own, 0.
constexpr uint32_t kIdentify = _IO('V', 4);
// The byte of the device's memory at the argument.
constexpr uint32_t kPeek = _IO('V', 5);
// Files of kGiveNode that are open.
constexpr uint32_t kNodesOpen = _IO('V', 6);
constexpr uint32_t kServerPid = _IO('V', 7);
// Does nothing; benchmarks compare visits with it.
constexpr uint32_t kNothing = _IO('V', 8);
// The number of open descriptors of the server. Shows leaks.
constexpr uint32_t kServerFiles = _IO('V', 9);
// How many visits were refused, have done their steps, or have failed, so far.
constexpr uint32_t kEnded = _IO('V', 10);
// Takes the eventfd at the argument, a descriptor number, and keeps it. The result is which of the kept ones
// it is, from 1 on; 0: it is none.
constexpr uint32_t kTake = _IO('V', 11);
// Signals all that are kept; the result is how many. With an argument: that many times each.
constexpr uint32_t kSignal = _IO('V', 12);
// Closes all eventfds that are kept.
constexpr uint32_t kDrop = _IO('V', 13);

}  // namespace dxg::client::delivery
