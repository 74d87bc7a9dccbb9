#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "cuse-dxg/trace/contents.h"
#include "cuse-dxg/tracer/tracee_memory.h"
#include "proto/contract/contract.h"
#include "proto/dxg/allocation.pb.h"
#include "proto/dxg/trace.pb.h"

namespace dxg::tracer {

// An ioctl as its caller's memory has it: before the node has seen it, and after it has answered. The
// contract's tables say where its buffers are, as they say it to the guest.
class ObservedCall {
 public:
  // The thread is stopped at the call's entry. `code` and `argument` are those of its ioctl. NamedMemory will
  // be asked for if `names_memory`.
  ObservedCall(pid_t tid, uint32_t code, uint64_t argument, bool names_memory);

  // Null: none of the calls.
  const contract::CallRow* row() const { return row_; }
  // Whether something could not be decoded, which is in `raw` then.
  bool is_raw() const { return request_ == nullptr; }

  // The thread is stopped at the call's exit. Fills in all that is known of the call but the file.
  void Ended(int32_t result, TraceCall* call);
  // After Ended, of a call that was answered. Null: nothing was decoded.
  const contract::Message* request() const { return request_.get(); }
  const contract::Message* reply() const { return reply_.get(); }
  uint32_t code() const { return code_; }
  // Memory of the caller's that it names, as the guest tells an observer (guest/observer.h), as far as its
  // structs tell: of CreateAllocation the pages that it gives for an existing heap; of Lock2 what was mapped
  // meanwhile, from the address on that the node gave (NewFrom).
  std::vector<guest::NamedMemory> NamedMemory() const;

  // The thread is gone: there is a request and no reply.
  void Lost(TraceCall* call) const;

 private:
  using OwnedMessage = std::unique_ptr<contract::Message>;
  void FillIn(TraceCall* call) const;
  // What is in the buffers at the addresses that `args` has.
  void ReadBuffers(std::span<const contract::Buffer> buffers, const std::byte* args,
                   contract::Message* message);
  bool IsOfResource(const contract::Buffer& buffer) const;
  void ReadElements(const contract::Buffer& buffer, const std::byte* elements, uint32_t count,
                    contract::Message* message);
  void Adapt(const std::byte* element, AllocationInfo2* info);
  void TakeInlineValues();

  const pid_t tid_;
  const uint32_t code_;
  const uint64_t argument_;
  const contract::CallRow* row_;
  std::vector<std::byte> args_;  // the fixed struct, at the entry
  OwnedMessage request_, reply_;
  uint64_t locked_ = 0;                 // by Lock2
  std::vector<Mapping> mapped_before_;  // that
  std::vector<uint64_t> own_memory_;    // of the elements of CreateAllocation; 0: none
  size_t room_;  // bytes that buffers may still have: what is more than that is no call that a driver takes
};

}  // namespace dxg::tracer
