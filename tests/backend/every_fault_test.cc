#include <gtest/gtest.h>

#include <condition_variable>
#include <mutex>
#include <set>

#include "cuse-dxg/backend/host_control.h"
#include "cuse-dxg/backend/in_process.h"
#include "hostsim/bytes.h"
#include "hostsim/faults.h"
#include "hostsim/private_data.h"
#include "proto/contract/host_commands.gen.h"
#include "proto/dxg/host.pb.h"

// Each fault point once: armed through the control interface, passed by a client's life, struck, cleared, nothing left.

namespace dxg {
namespace {

using hostsim::FaultPointInfo;

constexpr uint64_t kPage = 4096;

std::string AllocationData() {
  using namespace hostsim;
  std::string data(kAllocationDataBytes, '\0');
  Put<uint32_t>(BytesOf(data), 0, kAllocationMagic);
  Put<uint32_t>(BytesOf(data), kAllocationVersionAt, kAllocationVersion);
  Put<uint64_t>(BytesOf(data), kAllocationSizeAt, kPage);
  return data;
}

class EveryFault : public testing::TestWithParam<FaultPointInfo>, public BackendEvents {
 protected:
  EveryFault() : backend_(*CreateInProcessBackend({})) { EXPECT_TRUE(backend_->Start(this).ok()); }
  // While we can still be told of events.
  void TearDown() override { backend_->Stop(); }

  // BackendEvents
  void AdapterArrived(const HostAdapter& adapter) override {
    std::lock_guard lock(mutex_);
    adapter_ = adapter;
    ++arrivals_;
    changed_.notify_all();
  }
  void AdapterStopped(uint64_t) override {}
  void AdapterRemoved(uint64_t) override {}
  void DeviceStateChanged() override {}
  void GuestEvent(uint64_t) override {}

  template <class Command>
  typename Command::Reply Ask(const typename Command::Request& request, bool global = false) {
    struct Answer {
      std::mutex mutex;
      std::condition_variable changed;
      bool done = false;
    } answer;
    typename Command::Reply reply;
    auto complete = [](void* context, Status) {
      auto* to = static_cast<Answer*>(context);
      std::lock_guard lock(to->mutex);
      to->done = true;
      to->changed.notify_all();
    };
    const auto* row = contract::FindHostCommand(contract::kHostCommandId<typename Command::Request>);
    backend_->Submit({row, process_, global ? 0 : first_.address, &request, &reply}, {complete, &answer});
    std::unique_lock lock(answer.mutex);
    answer.changed.wait(lock, [&answer] { return answer.done; });
    return reply;
  }

  ControlReply Control(const ControlRequest& request) {
    ControlReply reply;
    backend_->control()->Serve(request, &reply);
    EXPECT_EQ(reply.error(), "") << request.ShortDebugString();
    return reply;
  }
  void Arm(const FaultPointInfo& info) {
    ControlRequest request;
    request.mutable_set_fault()->set_point(info.name);
    if ((info.takes & hostsim::kTakesDelay) != 0) request.mutable_set_fault()->set_delay_ns(1'000'000);
    Control(request);
  }
  ControlReply::Point State(const FaultPointInfo& info) {
    ControlRequest request;
    request.mutable_list_faults();
    return Control(request).points(static_cast<int>(info.point));
  }

  void LiveAClientsLife();
  void UseMemory();
  void UseFence();
  void ExpectNothingLeft();

  std::mutex mutex_;
  std::condition_variable changed_;
  HostAdapter adapter_;  // that arrived last
  int arrivals_ = 0;
  HostAdapter first_;
  std::unique_ptr<Backend> backend_;
  uint32_t process_ = 0, device_ = 0, queue_ = 0, allocation_ = 0;
};

void EveryFault::UseMemory() {
  host::CreateAllocation::Request create;
  create.set_device(device_);
  create.set_alloc_count(1);
  create.add_allocations()->set_priv_drv_data_size(hostsim::kAllocationDataBytes);
  create.set_allocation_data(AllocationData());
  const auto created = Ask<host::CreateAllocation>(create);
  allocation_ = created.allocations_size() == 1 ? created.allocations(0).allocation() : 0;

  host::MakeResident::Request resident;
  resident.set_paging_queue(queue_);
  resident.set_alloc_count(1);
  resident.add_allocations(allocation_);
  resident.set_flags(3);  // must succeed, and cannot trim further
  Ask<host::MakeResident>(resident);
  host::MapGpuVirtualAddress::Request map;
  map.set_paging_queue(queue_);
  map.set_allocation(allocation_);
  map.set_size_in_pages(1);
  map.set_protection(1);
  Ask<host::MapGpuVirtualAddress>(map);
  host::Lock2::Request lock;
  lock.set_device(device_);
  lock.set_allocation(allocation_);
  Ask<host::Lock2>(lock);
  host::OfferAllocations::Request offer;
  offer.set_device(device_);
  offer.set_priority(1);
  offer.set_allocation_count(1);
  offer.add_allocations(allocation_);
  Ask<host::OfferAllocations>(offer);
  (void)backend_->AddClientPages(nullptr);
}

void EveryFault::UseFence() {
  host::CreateSyncObject::Request create;
  create.set_device(device_);
  create.set_type(5);  // D3DDDI_MONITORED_FENCE
  create.set_info(std::string(64, 0));
  const auto created = Ask<host::CreateSyncObject>(create);
  host::SignalSyncObject::Request signal;
  signal.set_event_or_device(device_);
  signal.set_object_count(1);
  signal.add_objects(created.sync_object());
  signal.add_fence_values(1);
  Ask<host::SignalSyncObject>(signal);
}

// What a client does between its first open and its end; where trouble comes, it goes on as well as it can.
void EveryFault::LiveAClientsLife() {
  first_ = adapter_;
  process_ = Ask<host::CreateProcess>({}, true).process();
  host::QueryAdapterInfo::Request query;
  query.set_query_type(15);  // ADAPTERTYPE
  query.set_private_data_size(4);
  query.set_private_data(std::string(4, '\0'));
  Ask<host::QueryAdapterInfo>(query);
  host::QueryClockCalibration::Request clock;
  clock.set_adapter(first_.host_handle);
  Ask<host::QueryClockCalibration>(clock);
  device_ = Ask<host::CreateDevice>({}).device();
  host::CreateContextVirtual::Request context;
  context.set_device(device_);
  Ask<host::CreateContextVirtual>(context);
  host::CreatePagingQueue::Request queue;
  queue.set_device(device_);
  queue_ = Ask<host::CreatePagingQueue>(queue).paging_queue();
  UseFence();
  UseMemory();
  host::MarkDeviceAsError::Request mark;
  mark.set_device(device_);
  mark.set_reason(0x80000000);
  Ask<host::MarkDeviceAsError>(mark);
}

void EveryFault::ExpectNothingLeft() {
  ControlRequest request;
  request.mutable_status();
  const std::set<std::string> stays = {"adapters", "armed faults", "lost accesses to client pages"};
  const ControlReply reply = Control(request);
  for (const auto& count : reply.counts()) {
    EXPECT_TRUE(stays.contains(count.name()) || count.value() == 0) << count.value() << " " << count.name();
  }
}

// Points that only work on an engine passes, and an access of it: their tests are the host's.
bool NeedsAnEngine(hostsim::FaultPoint point) {
  using hostsim::FaultPoint;
  const std::set<FaultPoint> points = {
      FaultPoint::kEngineHang, FaultPoint::kEngineResetFails, FaultPoint::kHangWithoutTimeout, FaultPoint::kPageFault,
      FaultPoint::kGpuSlow,    FaultPoint::kGpuJitter,        FaultPoint::kGpuStarvation,      FaultPoint::kClientMemoryGone};
  return points.contains(point);
}

TEST_P(EveryFault, IsListedArmedStruckAndClearedAndLeavesNothing) {
  const FaultPointInfo& info = GetParam();
  EXPECT_EQ(State(info).name(), info.name);
  Arm(info);
  if (info.point == hostsim::FaultPoint::kTooManyTimeouts) Arm(hostsim::InfoOf(hostsim::FaultPoint::kAdapterReset));
  if (info.point == hostsim::FaultPoint::kAdapterReturn) Arm(hostsim::InfoOf(hostsim::FaultPoint::kAdapterRemoval));
  ASSERT_EQ(State(info).rules_size(), 1);
  LiveAClientsLife();
  EXPECT_EQ(State(info).struck(), NeedsAnEngine(info.point) ? 0u : 1u);
  if (info.point == hostsim::FaultPoint::kAdapterReturn) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return arrivals_ == 2; });
  }
  ControlRequest clear;
  clear.mutable_clear_faults();
  Control(clear);
  EXPECT_EQ(State(info).rules_size(), 0);
  Ask<host::DestroyProcess>({}, true);
  ExpectNothingLeft();
}

INSTANTIATE_TEST_SUITE_P(AllOf, EveryFault, testing::ValuesIn(hostsim::FaultPoints().begin(), hostsim::FaultPoints().end()),
                         [](const auto& each) {
                           std::string name = each.param.name;
                           for (char& c : name) c = c == '-' ? '_' : c;
                           return name;
                         });

}  // namespace
}  // namespace dxg
