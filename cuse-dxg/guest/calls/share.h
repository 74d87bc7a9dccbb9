#pragma once

#include <cstdint>
#include <memory>

#include "cuse-dxg/guest/call.h"

// Objects that are shared between processes, and the descriptors that lead to them.

namespace dxg::guest {

// Counts one descriptor of an object, whose handle in the caller's process is `handle`; the first makes the
// host give it a name. ENOTRECOVERABLE where the host gives none, and the transport's errors. DropDescriptor
// takes it back: the descriptor's close, or who could not give it.
Task AddDescriptor(Call& call, std::shared_ptr<SharedObject> object, uint32_t handle);

// What a descriptor number of the caller leads to; null where it is of no shared object.
Coroutine<std::shared_ptr<SharedObject>> FindSharedObject(Driver& driver, client::Waiting caller,
                                                          const client::Identity& process,
                                                          uint64_t descriptor);
// The same for a call, whose observers hear of it.
Coroutine<std::shared_ptr<SharedObject>> FindSharedObject(Call& call, uint64_t descriptor);

// Gives the caller a descriptor of an object: an open of the node. Where it fails, what AddDescriptor counted
// for it is taken back. The errors of a visit, among them the client's EMFILE.
TaskOf<uint64_t> GiveDescriptor(Driver& driver, Caller& caller, std::shared_ptr<SharedObject> object);
// Takes one back.
client::Step CloseStep(uint64_t descriptor);

}  // namespace dxg::guest
