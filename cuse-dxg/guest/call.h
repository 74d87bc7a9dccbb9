#pragma once

#include <atomic>
#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "cuse-dxg/client/access.h"
#include "cuse-dxg/guest/caller.h"
#include "cuse-dxg/guest/host.h"
#include "cuse-dxg/guest/observer.h"
#include "cuse-dxg/guest/process.h"
#include "cuse-dxg/guest/task.h"
#include "proto/contract/calls.gen.h"

namespace dxg::guest {

class Driver;

// One ioctl while it is served: the caller's fixed struct as copied in, and the copies between the client's
// memory and the messages. Handlers decide WHEN something is copied, because the driver's order decides which
// error a client sees; the contract's tables say HOW.
class Call : public Caller {
 public:
  // `args` has room for the row's fixed struct.
  Call(Driver& driver, const contract::CallRow& row, std::shared_ptr<Process> process,
       std::unique_ptr<attach::IoctlRequest> ioctl, client::Access& access, std::byte* args)
      : Caller(std::move(ioctl), access, process->identity),
        driver(driver),
        row(row),
        process(std::move(process)),
        args_(args) {}
  ~Call() override = default;

  Driver& driver;
  const contract::CallRow& row;
  const std::shared_ptr<Process> process;
  Charge charge;  // of a handler, for as long as the call is there

  // For an observer that wants to know: memory of the client that this call names.
  void NameMemory(NamedMemory memory);
  std::span<const NamedMemory> named_memory() const {
    return named_memory_ != nullptr ? *named_memory_ : std::span<const NamedMemory>();
  }

  // For an observer: what a descriptor of this call is of.
  void NameShared(const SharedObject* object);
  std::optional<uint64_t> named_shared() const {
    return named_shared_ == kNotNamed ? std::nullopt : std::optional(named_shared_);
  }

  virtual contract::Message& request_message() = 0;
  virtual contract::Message& reply_message() = 0;

  // COPYIN: the fixed struct, and from it the request.
  Status CopyArgsIn();

  // Where that buffer lies in the client, as the struct says.
  uint64_t AddressOf(const contract::Buffer& buffer) const;

  // As CopyIn, and `raw` gets the bytes as they lie in the client: what a message leaves out may still be
  // needed.
  Status CopyIn(const contract::Buffer& buffer, std::vector<std::byte>* raw);
  // A buffer of the Request, from the client. A count over the contract's limit is the handler's to refuse,
  // in its place in the driver's order; here it is EINVAL, as a last line.
  Status CopyIn(const contract::Buffer& buffer);
  // Several of them, which are numbers or bytes, in their order and in one go. Null: that one is left out.
  Status CopyIn(std::initializer_list<const contract::Buffer*> buffers);
  // A buffer of the Reply, to the client: as many elements as the field has.
  Status CopyOut(const contract::Buffer& buffer);

  // Members of the struct, to the client, with the reply's values. Now() writes at once and knows whether it
  // worked; a handler with something to undo uses it. Late() may leave the copy to the kernel, which does it
  // together with the answer and without another system call.
  Status OutNow(contract::Member member);
  Status OutNowAll() { return OutNow({0, row.args_size}); }
  Status OutLate(contract::Member member);
  // The bytes that OutNow would write, to be written together with others.
  client::WritePiece PieceOf(contract::Member member);
  // A member with an address in the client, which no message holds, as a Now() or PieceOf() of it writes it.
  void SetAddress(contract::Member member, uint64_t address);
  Status OutLateAll() { return OutLate({0, row.args_size}); }

  std::byte* args() { return args_; }
  bool has_args() const { return has_args_; }  // else nothing was ever written to them

  // Answers the client. The last thing that happens to a call.
  void Answer(const Status& status);

 private:
  void OutlivesItsFile() override { process->CallOutlivesItsFile(); }
  void Ends() override;

  std::unique_ptr<std::vector<NamedMemory>> named_memory_;
  static constexpr uint64_t kNotNamed = ~0ull;
  uint64_t named_shared_ = kNotNamed;  // no std::optional: a parked call is to be small
  uint16_t out_bytes_ = 0;             // of args_, that the kernel copies with the answer
  bool has_args_ = false;
  std::byte* const args_;
};

// A Call with its messages. `Traits` is the call's struct of dxg::calls.
template <class Traits>
class CallOf final : public Call {
 public:
  CallOf(Driver& driver, const contract::CallRow& row, std::shared_ptr<Process> process,
         std::unique_ptr<attach::IoctlRequest> ioctl, client::Access& access)
      : Call(driver, row, std::move(process), std::move(ioctl), access, storage_) {}
  typename Traits::Request request;
  typename Traits::Reply reply;

  contract::Message& request_message() override { return request; }
  contract::Message& reply_message() override { return reply; }

 private:
  alignas(8) std::byte
      storage_[sizeof(typename Traits::Args)];  // small, so that a call is; not cleared: it is copied over
};

}  // namespace dxg::guest
