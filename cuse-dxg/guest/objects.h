#pragma once

#include <atomic>
#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "cuse-dxg/backend/backend.h"
#include "cuse-dxg/guest/handle_table.h"

// The driver's objects. Handles lead to them through a process's tables; a handler that found one holds a reference,
// so that an object outlives its handle where a call is still using it.

namespace dxg::guest {

class Process;

// An adapter of the VM. Known from its arrival on; removed ones stay known, as stopped, while anybody has them open.
struct Adapter {
  explicit Adapter(HostAdapter adapter_info) : info(std::move(adapter_info)) {}
  const HostAdapter info;
  std::atomic<bool> active{true};
};

struct Device;

// A process's hold on an adapter: one for all its handles of that adapter. Devices hang off this, not off a handle,
// and end with the last handle. Guarded by Process::mutex.
struct ProcessAdapter {
  std::shared_ptr<Adapter> adapter;
  uint32_t open_count = 0;
  std::list<std::shared_ptr<Device>> devices;  // in order of creation
};

struct Context {
  Handle handle;
  Handle device;  // the driver keeps the handle and looks the device up again, call by call
};

// Client pages behind allocations. The host's list of them ends with the last allocation that names it.
class ClientPageList {
 public:
  ClientPageList(Backend& backend, uint32_t number) : backend_(backend), number_(number) {}
  ~ClientPageList() { backend_.RemoveClientPages(number_); }
  ClientPageList(const ClientPageList&) = delete;
  ClientPageList& operator=(const ClientPageList&) = delete;
  uint32_t number() const { return number_; }

 private:
  Backend& backend_;
  const uint32_t number_;
};

// Memory of the GPU as one process has it. The process's mutex guards what is not const.
struct Allocation {
  Handle handle;
  Handle device;
  Handle resource;     // 0: stands alone
  uint64_t pages = 0;  // 4096 bytes each
  bool cached = false;

  // Where the client sees it: existing memory of the client always, anything else while it is locked.
  uint64_t cpu_address = 0;
  uint32_t locks = 0;
  bool existing_memory = false;
  std::unique_ptr<ClientPageList> client_pages;  // only then
  uint64_t window_address = 0;                   // what the last lock mapped; 0: nothing
};

// What all who opened a shared resource have in common; its descriptors lead to it, not to the resource of the process
// that shared it. Lives until the last of both is gone.
struct SharedResource {
  struct Element {
    std::string private_data;  // as its creator gave it, not as the host returned it
    uint64_t pages = 0;
    bool cached = false;
  };

  std::mutex mutex;  // guards all below
  std::string runtime_data, private_data;
  std::vector<Element> elements;  // may grow until it is sealed
  bool sealed = false;
  uint64_t total_private_data = 0;  // of the elements, frozen by sealing
  uint32_t nt_handle = 0;           // the host's name for it while there are descriptors; else 0
  uint32_t descriptors = 0;
};

struct Resource {
  Handle handle;
  Handle device;
  std::list<std::shared_ptr<Allocation>> allocations;
  std::shared_ptr<SharedResource> shared;  // null: private to the process
};

struct PagingQueue {
  Handle handle;
  Handle fence;
  Handle device;
  uint64_t window_address = 0;  // of the page with its fence
};

struct Device {
  Handle handle;
  std::shared_ptr<ProcessAdapter> owner;
  // In order of creation; guarded by Process::mutex.
  std::list<std::shared_ptr<Context>> contexts;
  std::list<std::shared_ptr<Allocation>> allocations;  // that stand alone
  std::list<std::shared_ptr<Resource>> resources;
  std::list<std::shared_ptr<PagingQueue>> paging_queues;

  // Cleared when destruction begins; a call that found the device before fails with ENODEV.
  std::atomic<bool> active{true};

  // The execution state as the host last told it, and the count of state changes that was current then.
  std::atomic<uint32_t> execution_state{1};
  std::atomic<uint64_t> state_seen{0};

  const std::shared_ptr<Adapter>& adapter() const { return owner->adapter; }
};

}  // namespace dxg::guest
