#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "hostsim/work/eu/dispatch.h"
#include "hostsim/work/streamers/intel_memory.h"

// From the commands of a batch to what the execution units of Gen12LP are to do.
//
// Layouts are those of the compute runtime's headers (hw_cmds_generated_gen12lp.inl) and of Mesa's genxml,
// both under the MIT license.

namespace dxg::hostsim::intel {

// What commands before a walker left: it outlives the submission.
struct ComputeState {
  uint64_t general = 0, surface = 0, dynamic = 0, indirect = 0, instruction = 0;  // bases
  uint64_t descriptors = 0;  // where MEDIA_INTERFACE_DESCRIPTOR_LOAD last said, from the dynamic base on
  uint64_t scratch = 0;      // of MEDIA_VFE_STATE, from the general base on
  uint32_t scratch_code = 0;

  void SetBases(const uint32_t* words, uint32_t count);  // STATE_BASE_ADDRESS, 12 or more words
  void SetFrontEnd(const uint32_t* words);               // MEDIA_VFE_STATE, 3 or more words
};

// What a GPGPU_WALKER of 15 words starts. False: a page fault, which the memory knows. With a reason in
// `refusal` the rest is not to be used.
bool ReadOrder(PageMemory& memory, const ComputeState& state, const uint32_t* walker,
               eu::DispatchOrder* order, std::string* refusal);

// Kernels that a queue has dispatched, decoded. Programs write new kernels where old ones were, so each is
// compared with memory before it is used again.
class KernelCache {
 public:
  // The queue's memory, in bytes.
  struct Room {
    std::function<bool(uint64_t)> take;  // false: there is no room for them
    std::function<void(uint64_t)> give;
  };
  // For a new one those that were not used for the longest time go, as many as have to.
  std::shared_ptr<const eu::Kernel> Find(PageMemory& memory, const std::atomic<bool>& cancelled,
                                         uint64_t address, const Room& room);
  size_t size() const { return kernels_.size(); }

  static constexpr size_t kKernelsMax = 256;

 private:
  struct Known {
    std::shared_ptr<const eu::Kernel> kernel;
    uint64_t used = 0;  // finds_ then
  };
  using Kernels = std::map<uint64_t, Known>;  // by address
  void Drop(Kernels::iterator known, const Room& room);
  bool DropOldest(const Room& room);

  Kernels kernels_;
  uint64_t finds_ = 0;
};

}  // namespace dxg::hostsim::intel
