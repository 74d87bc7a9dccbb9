#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"
#include "proto/contract/contract.h"

// Calls between their messages and the memory of a client, by the contract's tables: for a client's side that
// has messages, and for a node's side that answers with some.

namespace dxg::replay {

using contract::Message;

// Copies to or from a client. False: some byte is not there.
struct ClientMemory {
  std::function<bool(uint64_t address, std::span<std::byte> to)> read;
  std::function<bool(uint64_t address, std::span<const std::byte> from)> write;
};

// -- The node's side: `args` has the fixed struct as the client gave it --

// The buffers of the Request. One that cannot be read, or has more elements than are allowed, stays empty: a
// driver has refused such a call before, or has not looked. So does one that would make them more than 6 MiB
// together.
void ReadBuffers(const contract::CallRow& row, const std::byte* args, const ClientMemory& memory,
                 Message* request);

// The buffers of the Reply. What the client's elements have and the Reply does not stays. EFAULT: one cannot
// be written; EPROTO: it has more than the client has room for.
Status WriteBuffers(const contract::CallRow& row, const std::byte* args, const ClientMemory& memory,
                    const Message& reply);

// Memory of the client's own that elements of the Request name, as it is in the client's structs: the address
// for each element, 0 where there is none. Empty: the call has no such elements.
std::vector<uint64_t> OwnMemoryIn(const contract::CallRow& row, const std::byte* args,
                                  const ClientMemory& memory);

// -- The client's side --

// A call's fixed struct, and the memory that it leads to, in this process.
class ClientCall {
 public:
  // An address that cannot be touched, and the buffer that the client had there; empty: none is known.
  struct Fault {
    uint64_t address;
    std::string buffer;
    bool read_only = false;  // it can be read, and not written
    uint64_t recorded = 0;   // where it was in the recorded client; 0: not known
  };
  // `reply` is the one that is recorded, which tells what the client gave room for. `own_memory` gives whole
  // pages of the client's own that the call is to name. `addresses` are the recorded client's, as
  // row.addresses has them; none: they are not known.
  ClientCall(const contract::CallRow& row, const Message& request, const Message& reply, int32_t result,
             Fault fault, std::function<uint64_t(uint64_t bytes)> own_memory,
             std::span<const uint64_t> addresses = {});
  ~ClientCall();
  ClientCall(const ClientCall&) = delete;
  ClientCall& operator=(const ClientCall&) = delete;

  // For ioctl(2).
  void* args() { return args_.data(); }
  uint32_t code() const { return row_.code; }
  // What is there after the call.
  std::unique_ptr<Message> ReadReply() const;
  // The member with an address at which the call shows memory; 0: none.
  uint64_t AddressIn(const contract::Member& member) const;

 private:
  // Of 8 bytes, because the structs want to lie so. It stays where it is while this lives.
  using Block = std::vector<uint64_t>;
  std::byte* NewBlock(size_t bytes);
  // Whether the struct's pointer needs no memory: it is put as it was, as null or where nothing can be.
  bool PutKnown(const contract::Buffer& buffer, std::byte* args);
  const uint64_t* RecordedAddress(const contract::Buffer& buffer, const std::byte* args) const;
  uint64_t ReadOnly(const std::byte* block, size_t bytes);
  void PutIn(const contract::Buffer& buffer, const Message& request, std::byte* args);
  void PutElements(const contract::Buffer& buffer, const Message& request, std::byte* to, uint32_t count);
  void PutOut(const contract::Buffer& buffer, const Message& reply);
  void PutTestBuffers(const Message& request);

  const contract::CallRow& row_;
  const int32_t result_;
  const Fault fault_;
  const std::function<uint64_t(uint64_t)> own_memory_;
  const std::span<const uint64_t> addresses_;
  const std::unique_ptr<Message> recorded_;  // the reply
  Block args_;
  std::vector<std::unique_ptr<Block>> blocks_;
  void* read_only_ = nullptr;  // pages
  size_t read_only_bytes_ = 0;
  std::vector<std::pair<const contract::Buffer*, uint32_t>> out_;  // and how many elements were recorded
};

}  // namespace dxg::replay
