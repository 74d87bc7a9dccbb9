#pragma once

#include <cstdint>
#include <memory>

#include "cuse-dxg/guest/host.h"
#include "cuse-dxg/guest/process.h"
#include "cuse-dxg/guest/task.h"
#include "cuse-dxg/guest/teardown_thread.h"
#include "proto/abi/flags.h"

// What ends when something ends. The handles are free by then; this tells the host, in the driver's order.
// The result is always Ok: nobody is left to hear of a refusal. What is more than a little goes on on the
// teardown thread, and so does whoever waits for it.

namespace dxg::guest {

// What the driver says of allocations that it takes back after a failed call:
// D3DDDICB_DESTROYALLOCATION2FLAGS.
inline constexpr uint32_t kAssumeNotInUse = DXG_DESTROY_ASSUME_NOT_IN_USE;

// What the client no longer has to see of these, which were taken out of their process.
std::vector<Arena::Mapping> ReleaseMemory(Process& process,
                                          const std::vector<std::shared_ptr<Allocation>>& allocations);

// The pages with the fences of its hardware queues, of a context that was taken out of its process. `unmap`
// gets what the client no longer has to see.
void ReleaseQueueFences(Process& process, const Context& context, std::vector<Arena::Mapping>* unmap);

// A device that was taken out of its process. `handle` is how the host hears of it: as the caller named it,
// instance bits and all. What is to be unmapped in the client is added to `unmap`.
Task EndDevice(Driver& driver, TeardownThread::Turn& turn, std::shared_ptr<Process> process,
               std::shared_ptr<Device> device, uint32_t handle, std::vector<Arena::Mapping>* unmap);

// The devices of an adapter whose last handle is closed.
Task EndAdapter(Driver& driver, TeardownThread::Turn& turn, std::shared_ptr<Process> process,
                std::shared_ptr<ProcessAdapter> held, std::vector<Arena::Mapping>* unmap);

// A teardown in a call of a process, which ends after it: the call may have been given up meanwhile, because
// its thread was killed, and its descriptor closed.
class TeardownInCall {
 public:
  TeardownInCall(Driver& driver, std::shared_ptr<Process> process);
  ~TeardownInCall();
  TeardownInCall(const TeardownInCall&) = delete;
  TeardownInCall& operator=(const TeardownInCall&) = delete;

  TeardownThread::Turn turn;

 private:
  Driver& driver_;
  const std::shared_ptr<Process> process_;
};

// A process whose last descriptor is closed, with its events.
Task EndProcess(Driver& driver, std::shared_ptr<Process> process);

// A descriptor of a shared object that is closed. The last one ends the host's name for it.
Task DropDescriptor(Host& host, std::shared_ptr<SharedObject> object);

// The host's name for a shared object, given up.
Task EndSharedName(Host& host, uint32_t nt_handle);

}  // namespace dxg::guest
