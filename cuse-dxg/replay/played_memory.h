#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "cuse-dxg/replay/layout.h"
#include "cuse-dxg/replay/recording.h"

namespace dxg::replay {

// What a recorded client wrote into its memory, for the process that plays it. A recording with --memory full
// has it with the calls that hand it on (docs/recording.md): commands with their submission, what was locked
// with its Unlock2, the client's own pages with their CreateAllocation. It has the address that the recorded
// client had; here the memory is elsewhere. As the recorder found it, so it is found again: what a command's
// GPU address is mapped to, and where the CPU sees that.
//
// Not for several threads at once.
class PlayedMemory {
 public:
  // What a number stands for here that is a GPU address of the recording; the same number where it is none.
  using Rename = std::function<uint64_t(uint64_t)>;

  // How many bytes the recording says that the element-th memory of the client's own has; 0: it does not say.
  static uint64_t OwnBytes(const RecordedCall& call, size_t element);

  // Before the call: what it hands on is put in its place. `own` are the places of the client's own memory
  // that the call names, in the order of its elements.
  void Put(const RecordedCall& call, const std::vector<uint64_t>& own, const Rename& rename) const;
  // After it was done, here and in the recording. `request` and `reply` are those of this process.
  void Learn(const RecordedCall& call, const std::vector<uint64_t>& own, const ClientCall& made,
             const Message& reply);
  // Whether the queue's fence shows that value, or shows nothing.
  bool HasReached(const RecordedPaging& paging) const;
  void ForgetFence(uint32_t queue) { pages_.erase(queue); }
  // From here on that GPU address of the recording, and a page from it on, is that one here.
  void Name(uint64_t gpu_address, uint64_t live);
  // The GPU address here of one that is within what has a name or was mapped; 0: it is within nothing.
  uint64_t Mapped(uint64_t gpu_address) const;

 private:
  struct Place {
    uint64_t recorded = 0, live = 0;  // addresses of the CPU
  };
  struct Range {
    uint64_t begin, end;
    uint32_t allocation;
    uint64_t live;  // the beginning here
  };

  // What was there before is gone: nobody says when a device takes its mappings along.
  void Put(const Range& range);
  const Range* RangeOf(uint64_t gpu_address) const;
  Place PlaceOf(const RecordedCall& call) const;

  // Both by numbers of the recording.
  std::map<uint32_t, Place> shown_;     // by the handle of the allocation
  std::map<uint32_t, uint64_t> pages_;  // of fences, by object
  std::map<uint64_t, Range> mapped_;    // by the beginning
};

}  // namespace dxg::replay
