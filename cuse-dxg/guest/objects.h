#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/address.h"
#include "base/mutex.h"
#include "base/page.h"
#include "cuse-dxg/guest/account.h"
#include "cuse-dxg/guest/handle_table.h"
#include "cuse-dxg/guest/object_list.h"
#include "link/backend.h"

// The driver's objects. Handles lead to them through a process's tables; a handler that found one holds a
// reference, so that an object outlives its handle where a call is still using it.

namespace dxg::guest {

class Driver;
class OpenFile;
class Process;

// An adapter of the VM. Known from its arrival on; removed ones stay known, as stopped, while anybody has
// them open.
struct Adapter {
  explicit Adapter(const HostAdapter& adapter_info) : info(adapter_info) {}
  const HostAdapter info;
  std::atomic<bool> active{true};
};

struct Device;

// A process's hold on an adapter: one for all its handles of that adapter. Devices hang off this, not off a
// handle, and end with the last handle. Guarded by Process::mutex.
struct ProcessAdapter {
  std::shared_ptr<Adapter> adapter;
  uint32_t open_count = 0;
  ObjectList<Device> devices = {};
};

// A hardware queue, with the fence that says how far it is.
struct HwQueue {
  Handle handle;
  Handle fence;
  Handle context;
  Handle device;
  WindowAddress window_address;           // of the page with its fence
  ObjectList<HwQueue>::Place place = {};  // with its context
};

struct Context {
  Handle handle;
  Handle device;  // the driver keeps the handle and looks the device up again, call by call
  ObjectList<HwQueue> hw_queues = {};     // guarded by Process::mutex
  ObjectList<Context>::Place place = {};  // with its device
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
  uint64_t pages = 0;  // of kPageBytes
  bool cached = false;

  // Where the client sees it: existing memory of the client always, anything else while it is locked.
  uint64_t cpu_address = 0;
  uint32_t locks = 0;
  bool existing_memory = false;
  std::unique_ptr<ClientPageList> client_pages;  // only then
  WindowAddress window_address;                  // what the last lock mapped; 0: nothing
  Charge bytes = {};                             // of memory that is not the client's own
  Charge page_list = {};                         // of memory that is
  Charge private_data = {};
  ObjectList<Allocation>::Place place = {};  // with its resource or its device
};

// What all who opened a shared object have in common; its descriptors lead to it, not to the object of the
// process that shared it. Lives until the last of both is gone.
struct SharedObject {
  enum class Kind : uint8_t { kSyncObject, kResource, kSyncFile };
  explicit SharedObject(Kind kind_of_it) : kind(kind_of_it) {}
  virtual ~SharedObject() = default;
  // The file of a new descriptor. `self` owns this object.
  virtual std::unique_ptr<OpenFile> Open(Driver& driver, std::shared_ptr<SharedObject> self) = 0;
  // Whether its descriptors are open for writing. Nothing can be written; it shows in fcntl and in errors.
  virtual bool writable() const { return true; }

  const Kind kind;
  const uint64_t number = ++last_number_;  // no other object has it, of whichever driver
  Mutex mutex;
  uint32_t nt_handle DXG_GUARDED_BY(mutex) = 0;  // the host's name for it while there are descriptors; else 0
  uint32_t descriptors DXG_GUARDED_BY(mutex) = 0;

 private:
  inline static std::atomic<uint64_t> last_number_{0};
};

// The object as a T, which is one of the kinds above; null where it is none, or of another kind.
template <class T>
std::shared_ptr<T> AsKind(std::shared_ptr<SharedObject> object) {
  if (object == nullptr || object->kind != T::kKind) return nullptr;
  return std::static_pointer_cast<T>(std::move(object));
}

struct SharedSyncObject final : SharedObject {
  static constexpr Kind kKind = Kind::kSyncObject;
  SharedSyncObject(bool is_monitored, uint32_t host_handle)
      : SharedObject(kKind), monitored(is_monitored), global_handle(host_handle) {}
  std::unique_ptr<OpenFile> Open(Driver& driver, std::shared_ptr<SharedObject> self) override;
  const bool monitored;
  const uint32_t global_handle;  // the host's, by which it is opened
};

struct SharedResource final : SharedObject {
  static constexpr Kind kKind = Kind::kResource;
  SharedResource() : SharedObject(kKind) {}

  struct Element {
    std::string private_data;  // as its creator gave it, not as the host returned it
    uint64_t pages = 0;
    bool cached = false;
  };

  std::unique_ptr<OpenFile> Open(Driver& driver, std::shared_ptr<SharedObject> self) override;

  std::string runtime_data DXG_GUARDED_BY(mutex);
  std::string private_data DXG_GUARDED_BY(mutex);
  std::vector<Element> elements DXG_GUARDED_BY(mutex);  // may grow until it is sealed
  bool sealed DXG_GUARDED_BY(mutex) = false;
  std::vector<Charge> charges DXG_GUARDED_BY(mutex);      // its allocations' files, and what is kept here
  uint64_t total_private_data DXG_GUARDED_BY(mutex) = 0;  // of the elements, frozen by sealing
};

struct Resource {
  Handle handle;
  Handle device;
  ObjectList<Allocation> allocations = {};
  std::shared_ptr<SharedResource> shared = nullptr;  // null: private to the process
  Charge private_data = {};
  ObjectList<Resource>::Place place = {};  // with its device
};

struct PagingQueue {
  Handle handle;
  Handle fence;
  Handle device;
  WindowAddress window_address;               // of the page with its fence
  ObjectList<PagingQueue>::Place place = {};  // with its device
};

// A fence, mutex, semaphore or CPU notification. Monitored ones are the device's and end with it; the others
// are the process's and outlive the device.
struct SyncObject {
  Handle handle;
  Handle device;
  bool monitored = false;
  WindowAddress window_address;              // of the page with a monitored fence's value; else 0
  uint64_t event = 0;                        // of a CPU notification: what the host signals; else 0
  std::shared_ptr<SharedSyncObject> shared;  // null: private to the process
  ObjectList<SyncObject>::Place place = {};  // with its device, of a monitored one
};

struct Device {
  Handle handle;
  std::shared_ptr<ProcessAdapter> owner;
  // In order of creation; guarded by Process::mutex.
  ObjectList<Context> contexts;
  ObjectList<Allocation> allocations;  // that stand alone
  ObjectList<Resource> resources;
  ObjectList<PagingQueue> paging_queues;
  ObjectList<SyncObject> sync_objects;  // monitored
  ObjectList<Device>::Place place;      // with its owner
  std::vector<Charge> left_at_host;     // of what the host keeps until the device ends; guarded likewise

  // Cleared when destruction begins; a call that found the device before fails with ENODEV.
  std::atomic<bool> active{true};

  // The execution state as the host last told it, and the count of state changes that was current then.
  std::atomic<uint32_t> execution_state{1};
  std::atomic<uint64_t> state_seen{0};

  const std::shared_ptr<Adapter>& adapter() const { return owner->adapter; }
};

}  // namespace dxg::guest
