#include "hostsim/machine/machine.h"

#include <algorithm>
#include <new>

#include "base/memory_reserve.h"
#include "base/page.h"
#include "hostsim/machine/call.h"
#include "hostsim/machine/host.h"
#include "proto/abi/interface.h"
#include "proto/abi/ntstatus.h"

namespace dxg::hostsim {
namespace {

// LUIDs of an adapter lie in a row from here, 16 apart, as small as those of a Windows that has just booted.
constexpr uint64_t kFirstLuid = 0x10000;
constexpr uint64_t kLuidStep = 0x10;

// The host's names of adapters, in the form of all handles.
constexpr uint32_t kFirstAdapterHandle = 1u << kHandleUniqueShift;
constexpr uint32_t kAdapterHandleStep = 1u << kHandleIndexShift;
constexpr uint64_t kAdapterHandles = kHandleIndexMask + 1;

}  // namespace

uint64_t Machine::NewGuestLuid(uint64_t wanted) {
  const uint64_t base = kFirstLuid + adapter_serial_ * kLuidStep;
  if (wanted != 0 && guest_luids_.insert(wanted).second) return wanted;
  uint64_t luid = base;
  while (!guest_luids_.insert(luid).second) luid += kLuidStep << 32;
  return luid;
}

bool Machine::SetWindow(uint64_t start, uint64_t bytes) {
  if (!io_space_->is_one_file) return true;
  MutexLock lock(window_mutex_);
  if (window_) return window_->info().window_start == start && window_->info().bytes <= bytes;
  WindowFile window = world_.window;
  window.bytes = std::min(window.bytes, bytes / kPageBytes * kPageBytes);
  window_ = Region::OfWindow(io_space_, std::move(window), start);
  return window_ != nullptr;
}

// Two devices of one machine are never at one address: who comes second moves to the next bus that is free.
void Machine::TakePciAddress(AdapterProfile::Pci* pci) const {
  auto taken = [pci](const auto& adapter) {
    const AdapterProfile::Pci& other = adapter->profile().pci();
    return other.bus() == pci->bus() && other.slot() == pci->slot() && other.function() == pci->function();
  };
  constexpr uint32_t kBuses = 256;
  while (std::any_of(adapters_.begin(), adapters_.end(), taken)) pci->set_bus((pci->bus() + 1) % kBuses);
}

std::shared_ptr<Adapter> Machine::AddAdapter(AdapterProfile profile) {
  WriterLock lock(mutex_);
  if (adapters_.size() >= kAdaptersMax) return nullptr;
  TakePciAddress(profile.mutable_pci());
  AdapterInfo info;
  info.luid = NewGuestLuid(profile.luid());
  info.host_luid = kFirstLuid + adapter_serial_ * kLuidStep + 1;
  info.address = kFirstLuid + adapter_serial_ * kLuidStep + 2;
  info.host_handle =
      kFirstAdapterHandle + static_cast<uint32_t>(adapter_serial_ % kAdapterHandles) * kAdapterHandleStep;
  info.compute_only = profile.kind() == AdapterProfile::COMPUTE_ONLY;
  info.async_messages = profile.messages().asynchronous();
  info.interface_version = profile.messages().interface_version();
  info.name = profile.name();
  info.description = profile.description();
  ++adapter_serial_;
  adapters_.push_back(
      std::make_shared<Adapter>(std::move(profile), std::move(info), *this, world_.rng.Next()));
  return adapters_.back();
}

void Machine::Find(uint32_t process, uint64_t vgpu_luid, std::shared_ptr<Process>* found_process,
                   std::shared_ptr<Adapter>* found_adapter) {
  ReaderLock lock(mutex_);
  *found_process = processes_.Share(process);
  auto is_it = [vgpu_luid](const auto& adapter) { return adapter->info().address == vgpu_luid; };
  if (auto it = std::find_if(adapters_.begin(), adapters_.end(), is_it); it != adapters_.end()) {
    *found_adapter = *it;
  } else if (auto gone = std::find_if(removed_adapters_.begin(), removed_adapters_.end(), is_it);
             gone != removed_adapters_.end()) {
    *found_adapter = *gone;
  }
}

std::shared_ptr<Adapter> Machine::FindAdapter(uint64_t vgpu_luid) {
  std::shared_ptr<Process> process;
  std::shared_ptr<Adapter> adapter;
  Find(0, vgpu_luid, &process, &adapter);
  return adapter;
}

std::vector<std::shared_ptr<Adapter>> Machine::Adapters() {
  ReaderLock lock(mutex_);
  return adapters_;
}

std::shared_ptr<Adapter> Machine::TakeAdapter(uint64_t vgpu_luid) {
  std::shared_ptr<Adapter> forgotten;  // its end waits for threads of engines: not under the lock
  WriterLock lock(mutex_);
  auto it = std::find_if(adapters_.begin(), adapters_.end(),
                         [vgpu_luid](const auto& adapter) { return adapter->info().address == vgpu_luid; });
  if (it == adapters_.end()) return nullptr;
  std::shared_ptr<Adapter> adapter = *it;
  adapters_.erase(it);
  removed_adapters_.push_back(adapter);
  if (removed_adapters_.size() > kRemovedAdaptersMax) {
    forgotten = std::move(removed_adapters_.front());
    removed_adapters_.pop_front();
  }
  adapter->Remove();
  return adapter;
}

uint32_t Machine::AddProcess(std::shared_ptr<Process> process) {
  WriterLock lock(mutex_);
  Process* const added = process.get();
  const uint32_t handle = processes_.Insert(std::move(process));
  if (handle != 0) added->handle = handle;
  return handle;
}

std::shared_ptr<UserBudget> Machine::BudgetOf(uint32_t user) {
  WriterLock lock(mutex_);
  std::weak_ptr<UserBudget>& known = users_[user];
  if (auto budget = known.lock()) return budget;
  std::erase_if(users_, [user](const auto& each) { return each.first != user && each.second.expired(); });
  auto budget = std::make_shared<UserBudget>(world_.user_limits);
  users_[user] = budget;
  return budget;
}

std::shared_ptr<Process> Machine::FindProcess(uint32_t handle) {
  ReaderLock lock(mutex_);
  return processes_.Share(handle);
}

std::vector<std::shared_ptr<Process>> Machine::Processes() {
  ReaderLock lock(mutex_);
  return processes_.ShareAll();
}

bool Machine::EndProcess(uint32_t handle, const std::shared_ptr<void>& stopped, Aftermath* aftermath) {
  std::shared_ptr<Process> process;
  {
    WriterLock lock(mutex_);
    process = processes_.Remove(handle);
  }
  if (!process) return false;
  MutexLock lock(process->mutex());
  process->End(stopped, aftermath);
  return true;
}

uint32_t Machine::AddShared(SharedObject object) {
  auto shared = std::make_shared<const SharedObject>(std::move(object));
  WriterLock lock(mutex_);
  return shared_.Insert(std::move(shared));
}

std::shared_ptr<const SharedObject> Machine::FindShared(uint32_t handle) {
  ReaderLock lock(mutex_);
  return shared_.Share(handle);
}

std::shared_ptr<const SharedObject> Machine::RemoveShared(uint32_t handle, bool nt) {
  WriterLock lock(mutex_);
  const SharedObject* found = shared_.Find(handle);
  return found && found->nt == nt ? shared_.Remove(handle) : nullptr;
}

void Machine::DropSync(SyncObject& object, bool local, Aftermath* aftermath) {
  if (!sync_.Drop(object, local, aftermath) || object.global_handle == 0) return;
  RemoveShared(object.global_handle, false);
}

uint64_t Machine::shared() {
  ReaderLock lock(mutex_);
  return shared_.size();
}

void Machine::CallAt(uint64_t at_ns, std::function<void()> call) {
  world_.clock.CallAt(at_ns, [gate = gate_, call = std::move(call)] {
    const MemoryReserve::Use of_all;  // nobody could be told that it failed
    ReaderLock lock(gate->mutex);
    if (gate->open) call();
  });
}

void Machine::EndCalls() {
  WriterLock lock(gate_->mutex);
  gate_->open = false;
}

void Machine::StopEngines() {
  std::vector<std::shared_ptr<Adapter>> adapters;
  {
    ReaderLock lock(mutex_);
    adapters = adapters_;
    adapters.insert(adapters.end(), removed_adapters_.begin(), removed_adapters_.end());
  }
  for (const auto& adapter : adapters) adapter->engines().Stop();
}

namespace {

// What cannot be delivered, because there is no memory at all, keeps nothing else from being delivered.
template <class Items, class Each>
void ForAll(const Items& items, Each each) {
  for (const auto& item : items) {
    try {
      each(item);
    } catch (const std::bad_alloc&) {
    }
  }
}

}  // namespace

void Machine::Deliver(Aftermath aftermath) {
  const MemoryReserve::Use of_all;
  ForAll(aftermath.work, [this](const WorkEvent& event) { world_.work->OnWork(event); });
  if (HostEvents* told = events.load()) {
    ForAll(aftermath.changes, [told](const StateChange& change) {
      told->DeviceStateChanged(change.process, change.vgpu_luid, change.cookie,
                               static_cast<uint32_t>(change.state));
    });
    ForAll(aftermath.events,
           [told](const GuestEvent& event) { told->GuestEvent(event.process, event.event); });
  }
  ForAll(aftermath.calls, [](const std::function<void()>& call) { call(); });
}

void Machine::DeliverInTurn(Aftermath aftermath) {
  struct Link {
    Machine& machine;
    Aftermath aftermath;
  };
  thread_local std::deque<Link>* chain = nullptr;
  const MemoryReserve::Use of_all;
  if (chain) {
    chain->push_back({*this, std::move(aftermath)});
    return;
  }
  std::deque<Link> links;
  chain = &links;
  links.push_back({*this, std::move(aftermath)});
  while (!links.empty()) {
    Link link = std::move(links.front());
    links.pop_front();
    link.machine.Deliver(std::move(link.aftermath));
  }
  chain = nullptr;
}

bool Machine::FaultyGuestMemory::Read(uint32_t gpadl, uint64_t offset, Bytes bytes) {
  return !Gone() && real().Read(gpadl, offset, bytes);
}
bool Machine::FaultyGuestMemory::Write(uint32_t gpadl, uint64_t offset, ConstBytes bytes) {
  return !Gone() && real().Write(gpadl, offset, bytes);
}
uint64_t Machine::FaultyGuestMemory::Size(uint32_t gpadl) { return real().Size(gpadl); }
bool Machine::FaultyGuestMemory::knows_frames() const { return real().knows_frames(); }
bool Machine::FaultyGuestMemory::ReadFrame(uint64_t frame, uint64_t offset, Bytes bytes) {
  return !Gone() && real().ReadFrame(frame, offset, bytes);
}
bool Machine::FaultyGuestMemory::WriteFrame(uint64_t frame, uint64_t offset, ConstBytes bytes) {
  return !Gone() && real().WriteFrame(frame, offset, bytes);
}

std::function<void()> CommandContext::Defer() {
  deferred = std::make_shared<Deferred>();
  return [end = deferred] { end->Arrive(); };
}

void CommandContext::Note(FidelityKind kind, std::string_view what, std::optional<uint64_t> number,
                          std::string_view why) const {
  // Commands have the names of their calls.
  const std::string_view name =
      command ? std::string_view(command->request->GetDescriptor()->containing_type()->name()) : "";
  machine.fidelity().Note(
      {kind, name, what, number},
      [this] { return FidelityFirst{.process = process ? process->process_id : 0, .ns = machine.NowNs()}; },
      why);
}

Passage CommandContext::At(FaultPoint point, std::optional<uint32_t> node,
                           std::optional<uint32_t> type) const {
  Passage passage{.point = point, .node = node, .type = type};
  if (process) passage.process = process->process_id;
  if (adapter) passage.adapter = adapter->info().luid;
  if (command) passage.command = command->name;
  return passage;
}

std::shared_ptr<void> CommandContext::DeferUntilLetGo() {
  const std::function<void()> end = Defer();
  std::shared_ptr<void> share(deferred.get(),
                              [end](void*) { end(); });  // of something: a share in nothing looks like none
  aftermath.Then([share] {});                            // so that it never goes under a lock
  return share;
}

int32_t CommandContext::CheckCaller() const {
  return process && adapter ? kStatusSuccess : kStatusInvalidParameter;
}

int32_t CommandContext::CheckLiveAdapter() const {
  if (const int32_t status = CheckCaller(); status != kStatusSuccess) return status;
  return adapter->removed() ? kStatusDeviceRemoved : kStatusSuccess;
}

}  // namespace dxg::hostsim
