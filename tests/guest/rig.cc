#include "tests/guest/rig.h"

#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <numeric>

#include "proto/abi/flags.h"
#include "tests/guest/counted_memory.h"

namespace dxg::guest {
namespace {

class TestOpen final : public attach::OpenRequest {
 public:
  TestOpen(pid_t tid, uid_t uid, std::shared_ptr<Outcome> outcome) : outcome_(std::move(outcome)) {
    caller_.tid = tid;
    caller_.uid = uid;
  }
  const attach::Caller& caller() const override { return caller_; }
  void Accept(uint64_t file) override { outcome_->Done(0, {}, file); }
  void Refuse(int error) override { outcome_->Done(-error, {}, 0); }

 private:
  attach::Caller caller_;
  std::shared_ptr<Outcome> outcome_;
};

// While a visit is entered: whose call is answered for the time being.
thread_local std::shared_ptr<Outcome>* entering = nullptr;

class TestIoctl final : public attach::IoctlRequest {
 public:
  TestIoctl(pid_t tid, uid_t uid, uint64_t file, uint32_t code, uint64_t argument, size_t restricted_bytes,
            std::shared_ptr<Outcome> outcome)
      : file_(file),
        code_(code),
        argument_(argument),
        restricted_(restricted_bytes != 0),
        outcome_(std::move(outcome)) {
    caller_.tid = tid;
    caller_.uid = uid;
    const auto* bytes = reinterpret_cast<const std::byte*>(argument);
    in_.assign(bytes, bytes + restricted_bytes);
  }
  const attach::Caller& caller() const override { return caller_; }
  uint64_t file() const override { return file_; }
  uint32_t code() const override { return code_; }
  uint64_t argument() const override { return argument_; }
  std::span<const std::byte> in() const override { return in_; }
  bool kernel_copies_out() const override { return restricted_; }
  void Answer(int32_t result, std::span<const std::byte> out) override {
    if (entering == nullptr) return outcome_->Done(result, out, 0);
    EXPECT_EQ(result, -EIO) << "of a call whose visit does not come about, because the injector ends";
    *entering = outcome_;
  }
  void OnInterrupt(std::function<void()> interrupted) override {
    outcome_->SetInterrupt(std::move(interrupted));
  }
  void OnKilled(std::function<bool()> killed) override { outcome_->SetKill(std::move(killed)); }

 private:
  attach::Caller caller_;
  uint64_t file_;
  uint32_t code_;
  uint64_t argument_;
  bool restricted_;
  std::vector<std::byte> in_;
  std::shared_ptr<Outcome> outcome_;
};

class OwnSpace final : public client::AddressSpace {
 public:
  bool Read(uint64_t address, std::span<std::byte> to) override {
    std::memcpy(to.data(), reinterpret_cast<const void*>(address), to.size());
    return true;
  }
  bool Write(uint64_t address, std::span<const std::byte> from) override {
    std::memcpy(reinterpret_cast<void*>(address), from.data(), from.size());
    return true;
  }
  bool Frames(uint64_t, std::span<uint64_t>) override { return false; }
  int file() const override { return 5; }
  uint64_t number() const override { return 77; }
};

class FakeMap final : public client::AddressMap {
 public:
  explicit FakeMap(const FakeAccess& access) : access_(access), program_(access.program) {}
  client::Mapped Shows(uint64_t address, uint64_t size, const client::FileId&, uint64_t) override {
    const OutsideCount outside;
    return alive() ? access_.shows(address, size) : client::Mapped::kNo;
  }
  std::optional<client::MappedRange> At(uint64_t) override { return std::nullopt; }
  bool is_quick() const override { return false; }
  bool alive() override { return access_.program == program_; }

 private:
  const FakeAccess& access_;
  const uint64_t program_;
};

class FakeVisit final : public client::Visit {
 public:
  FakeVisit(FakeDelivery& delivery, std::shared_ptr<Outcome> whose)
      : delivery_(delivery), whose_(std::move(whose)) {}
  void Do(std::vector<client::Step> steps, Done done) override {
    const OutsideCount outside;
    if (delivery_.before_step) std::exchange(delivery_.before_step, nullptr)();
    std::vector<uint64_t> results;
    for (const auto& step : steps) {
      delivery_.steps.push_back(step);
      if (const int error = std::exchange(delivery_.refuse_step, 0))
        return done(Status::Refuse(error, "refused by the test"));
      if (step.kind == client::Step::Kind::kMap && step.size > delivery_.map_bytes_max)
        return done(Status::Refuse(ENOMEM, "no room, says the test"));
      if (step.kind == client::Step::Kind::kGiveNode && delivery_.no_room) {
        delivery_.token = step.token;
        delivery_.opened_in_vain.push_back(delivery_.open_node());
        delivery_.token = 0;
        return done(Status::Refuse(EMFILE, "no room, says the test"));
      }
      results.push_back(Result(step));
    }
    done(std::move(results));
  }
  bool holds_thread() const override { return delivery_.hold_thread; }
  void Leave(int32_t result) override {
    const OutsideCount outside;
    delivery_.left.push_back(result);
    if (whose_ != nullptr) std::exchange(whose_, nullptr)->Done(result, {}, 0);
  }

 private:
  uint64_t Result(const client::Step& step) {
    if (step.kind == client::Step::Kind::kMap) ++delivery_.mapped;
    if (step.kind == client::Step::Kind::kUnmap) --delivery_.mapped;
    const bool where_asked = delivery_.map_where_asked && step.address != 0;
    if (step.kind == client::Step::Kind::kMap) return where_asked ? step.address : delivery_.map_result;
    if (step.kind != client::Step::Kind::kGiveNode) return 0;
    delivery_.token = step.token;
    delivery_.files[delivery_.next_descriptor] = delivery_.open_node();
    delivery_.token = 0;
    return delivery_.next_descriptor++;
  }

  FakeDelivery& delivery_;
  std::shared_ptr<Outcome> whose_;  // null: its thread is not held
};

}  // namespace

std::unique_ptr<client::AddressMap> FakeAccess::MapOf(pid_t) {
  const OutsideCount outside;
  return shows ? std::make_unique<FakeMap>(*this) : nullptr;
}

void FakeDelivery::Enter(const client::Waiting&, const client::Identity& process,
                         std::function<void()> answer, Entered done) {
  const OutsideCount outside;
  ++entered;
  user = process.user;
  if (refuse_enter != 0) return done(Status::Refuse(refuse_enter, "refused by the test"));
  std::shared_ptr<Outcome> whose;
  if (hold_thread) {
    entering = &whose;
    answer();
    entering = nullptr;
  }
  if (kill_after_answer) {
    if (whose != nullptr) whose->Done(-EIO, {}, 0);
    return done(Status::Refuse(EINTR, "killed by the test"));
  }
  done(std::unique_ptr<client::Visit>(std::make_unique<FakeVisit>(*this, std::move(whose))));
}

std::optional<HostRegion> FakeHost::FindRegion(WindowAddress address) {
  const OutsideCount outside;
  for (const auto& [begin, region] : regions) {
    if (address.value >= begin && address.value - begin < region.size) return region;
  }
  return std::nullopt;
}

std::optional<HostRegion> FakeHost::HomeRegion(uint32_t) {
  const OutsideCount outside;
  if (home == 0) return std::nullopt;
  return FindRegion(WindowAddress(home));
}

std::optional<HostRegion> FakeHost::FindShared(uint32_t nt_handle, uint32_t) {
  const OutsideCount outside;
  if (nt_handle == 0 || exported == 0) return std::nullopt;
  return FindRegion(WindowAddress(exported));
}

dxg::Result<uint32_t> FakeHost::AddClientPages(std::shared_ptr<ClientPages> pages) {
  const OutsideCount outside;
  const uint32_t list = 7 + static_cast<uint32_t>(client_pages.size());
  client_pages[list] = std::move(pages);
  return list;
}

void FakeHost::RemoveClientPages(uint32_t list) {
  const OutsideCount outside;
  client_pages.erase(list);
}

bool FakeHost::ClientFrames(uint32_t list, uint64_t page, std::span<uint64_t> frames) {
  const OutsideCount outside;
  std::iota(frames.begin(), frames.end(), kFirstFrame + page);
  return client_pages.contains(list);
}

bool FakeAccess::Read(pid_t, uint64_t address, std::span<std::byte> to) {
  const OutsideCount outside;
  if (before_read) before_read(address);
  if (address < 4096 || unreadable.contains(address)) return false;
  // As another process: a whole page around a small object is read too, which a sanitizer would not have.
  const iovec here{to.data(), to.size()}, there{reinterpret_cast<void*>(address), to.size()};
  return process_vm_readv(getpid(), &here, 1, &there, 1, 0) == static_cast<ssize_t>(to.size());
}

bool FakeAccess::Write(pid_t, uint64_t address, std::span<const std::byte> from) {
  const OutsideCount outside;
  if (address < 4096) return false;
  for (uint64_t at = address; at < address + from.size(); ++at) {
    if (unwritable.contains(at)) return false;
  }
  std::memcpy(reinterpret_cast<void*>(address), from.data(), from.size());
  return true;
}

bool FakeAccess::WritePieces(pid_t tid, std::span<const client::WritePiece> pieces) {
  return std::all_of(pieces.begin(), pieces.end(),
                     [&](const auto& piece) { return Write(tid, piece.address, piece.from); });
}

std::unique_ptr<client::AddressSpace> FakeAccess::Pin(pid_t, uint64_t, uint64_t, bool) {
  const OutsideCount outside;
  if (!pinnable) return nullptr;
  return std::make_unique<OwnSpace>();
}

std::optional<client::Identity> FakeAccess::Identify(pid_t tid) {
  const OutsideCount outside;
  if (!tgid_of.contains(tid)) return std::nullopt;
  client::Identity identity;
  identity.tgid = tgid_of[tid];
  identity.start_time = start_of[identity.tgid];
  identity.own_pid = tid;
  identity.pid_namespace = 1;
  if (const auto of = inside.find(tid); of != inside.end())
    std::tie(identity.pid_namespace, identity.own_pid) = of->second;
  identity.name = "test";
  return identity;
}

void FakeHost::Submit(const HostCall& call, Completion completion) {
  const OutsideCount outside;
  if (on_submit) on_submit(call);
  {
    std::lock_guard lock(mutex_);
    asked.push_back(call.command->name);
    if (hold.contains(call.command->name)) {
      held_.emplace_back(call, completion);
      return;
    }
  }
  Answer(call, completion);
}

namespace {

// The fences' half of the answers.
void AnswerFences(const HostCall& call, uint32_t handle, std::atomic<uint32_t>* next_handle, uint64_t page,
                  int32_t status) {
  if (auto* made = dynamic_cast<host::CreateSyncObject::Reply*>(call.reply)) {
    const auto& request = static_cast<const host::CreateSyncObject::Request&>(*call.request);
    made->set_sync_object(handle);
    made->set_global_sync_object((request.flags() & 1) != 0 ? handle | 0x80000000 : 0);
    made->set_fence_gpu_va(0x1000);
    made->set_fence_storage_address(page);
  }
  if (auto* opened = dynamic_cast<host::OpenSyncObject::Reply*>(call.reply)) {
    opened->set_sync_object(handle);
    opened->set_gpu_virtual_address(0x2000);
    opened->set_guest_cpu_physical_address(page);
  }
  if (auto* queue = dynamic_cast<host::CreateHwQueue::Reply*>(call.reply)) {
    queue->set_hwqueue(handle);
    queue->set_progress_fence(*next_handle += 0x40);
    queue->set_progress_fence_cpu_va(page);
  }
  if (auto* wait = dynamic_cast<host::WaitForSyncObjectFromCpu::Reply*>(call.reply)) wait->set_status(status);
  if (auto* signal = dynamic_cast<host::SignalSyncObject::Reply*>(call.reply)) signal->set_status(status);
}

uint64_t EventOf(const HostCall& call) {
  constexpr uint32_t kEnqueueCpuEvent = DXG_SIGNAL_ENQUEUE_CPU_EVENT;
  if (const auto* wait = dynamic_cast<const host::WaitForSyncObjectFromCpu::Request*>(call.request))
    return wait->guest_event();
  const auto* signal = dynamic_cast<const host::SignalSyncObject::Request*>(call.request);
  return signal != nullptr && (signal->flags() & kEnqueueCpuEvent) != 0 ? signal->event_or_device() : 0;
}

}  // namespace

void FakeHost::Answer(const HostCall& call, Completion completion) {
  if (const uint64_t event = EventOf(call)) {
    {
      std::lock_guard lock(mutex_);
      events.push_back(event);
    }
    if (before_answer) before_answer(call);
  }
  if (call.asynchronous) return completion.run(completion.context, Status::Ok());
  if (refuse.contains(call.command->name))
    return completion.run(completion.context, Status::Refuse(EOVERFLOW, "refused by the test"));
  const uint32_t handle = next_handle_ += 0x40;
  if (auto* process = dynamic_cast<host::CreateProcess::Reply*>(call.reply)) process->set_process(handle);
  if (auto* device = dynamic_cast<host::CreateDevice::Reply*>(call.reply)) device->set_device(handle);
  if (auto* context = dynamic_cast<host::CreateContextVirtual::Reply*>(call.reply))
    context->set_context(handle);
  if (auto* state = dynamic_cast<host::GetDeviceState::Reply*>(call.reply)) {
    const auto& request = static_cast<const host::GetDeviceState::Request&>(*call.request);
    state->set_device(request.device());
    state->set_state_type(request.state_type());
    state->set_state(std::string(48, '\3'));
  }
  if (auto* made = dynamic_cast<host::CreateAllocation::Reply*>(call.reply)) {
    const auto& request = static_cast<const host::CreateAllocation::Request&>(*call.request);
    made->set_resource((request.flags() & 1) != 0 ? handle : 0);
    for (const auto& element : request.allocations()) {
      auto* record = made->add_allocations();
      record->set_allocation(next_handle_ += 0x40);
      record->set_allocation_size(allocation_bytes);
      record->set_priv_drv_data_size(element.priv_drv_data_size());
    }
    made->set_allocation_data(request.allocation_data());
  }
  if (auto* lock = dynamic_cast<host::Lock2::Reply*>(call.reply))
    lock->set_cpu_visible_buffer_offset(next_lock);
  if (auto* shared = dynamic_cast<host::CreateNtSharedObject::Reply*>(call.reply))
    shared->set_shared_handle(handle);
  if (auto* queue = dynamic_cast<host::CreatePagingQueue::Reply*>(call.reply)) {
    queue->set_paging_queue(handle);
    queue->set_sync_object(next_handle_ += 0x40);
    queue->set_fence_storage_physical_address(next_lock);
  }
  if (auto* open = dynamic_cast<host::OpenResource::Reply*>(call.reply)) {
    const auto& request = static_cast<const host::OpenResource::Request&>(*call.request);
    open->set_resource(handle);
    for (uint32_t i = 0; i < request.allocation_count(); ++i) open->add_allocations(next_handle_ += 0x40);
  }
  AnswerFences(call, handle, &next_handle_, next_lock, status);
  if (auto* memory = dynamic_cast<host::QueryVideoMemoryInfo::Reply*>(call.reply)) memory->set_budget(1234);
  if (after_answer) after_answer(call);
  completion.run(completion.context, Status::Ok());
}

void FakeHost::Release() {
  std::vector<std::pair<HostCall, Completion>> held;
  {
    std::lock_guard lock(mutex_);
    held.swap(held_);
  }
  std::vector<std::thread> threads;
  for (const auto& [call, completion] : held)
    threads.emplace_back([this, call = call, completion = completion] { Answer(call, completion); });
  for (auto& thread : threads) thread.join();
}

void FakeHost::ReleaseOne() {
  std::optional<std::pair<HostCall, Completion>> first;
  {
    std::lock_guard lock(mutex_);
    if (held_.empty()) return;
    first = std::move(held_.front());
    held_.erase(held_.begin());
  }
  Answer(first->first, first->second);
}

void Outcome::Done(int32_t value, std::span<const std::byte> bytes, uint64_t opened) {
  const OutsideCount outside;
  std::function<void()> dropped, dropped_too;  // after the lock is given back: they own shares of the call
  std::lock_guard lock(mutex);
  dropped = std::exchange(kill, nullptr);
  dropped_too = std::exchange(interrupt, nullptr);
  EXPECT_FALSE(done) << "answered twice";
  done = true;
  result = value;
  out.assign(bytes.begin(), bytes.end());
  file = opened;
  changed.notify_all();
}

// As the kernel and libfuse do: it takes the place of `kill`, and a signal from before is told of at once.
void Outcome::SetInterrupt(std::function<void()> interrupted) {
  const OutsideCount outside;
  std::function<void()> dropped;
  std::lock_guard lock(mutex);
  dropped = std::exchange(kill, nullptr);
  interrupt = std::move(interrupted);
  if (signal_pending) std::thread([this_one = interrupt] { this_one(); }).detach();
}

bool Outcome::Signal() {
  std::function<void()> run;
  {
    std::lock_guard lock(mutex);
    signal_pending = true;
    run = std::exchange(interrupt, nullptr);
  }
  if (run) run();
  return run != nullptr;
}

bool Outcome::Kill() {
  std::function<void()> run;
  {
    std::lock_guard lock(mutex);
    run = std::exchange(kill, nullptr);
    if (!run) run = std::exchange(interrupt, nullptr);
  }
  if (run) run();
  return run != nullptr;
}

int32_t Outcome::Wait() {
  std::unique_lock lock(mutex);
  changed.wait(lock, [this] { return done; });
  return result;
}

DriverTest::DriverTest() {
  HostAdapter adapter;
  adapter.luid = kLuid;
  adapter.address = 7;
  adapter.host_handle = 0x40000740;
  driver.AdapterArrived(adapter);
  access.tgid_of = {{100, 100}, {101, 100}, {200, 200}};
}

void DriverTest::Deliver() {
  driver.set_delivery(&delivery);
  access.tgid_of[FakeDelivery::kOpener] = FakeDelivery::kOpener;
  delivery.open_node = [this] {
    auto outcome = StartOpen(FakeDelivery::kOpener);
    return outcome->Wait() == 0 ? outcome->file : 0;
  };
}

std::shared_ptr<Outcome> DriverTest::StartOpen(pid_t tid) {
  auto outcome = std::make_shared<Outcome>();
  driver.Open(std::make_unique<TestOpen>(tid, opener_uid, outcome));
  return outcome;
}

uint64_t DriverTest::Open(pid_t tid) {
  auto outcome = StartOpen(tid);
  EXPECT_EQ(outcome->Wait(), 0);
  return outcome->file;
}

std::shared_ptr<Outcome> DriverTest::StartRaw(uint64_t file, pid_t tid, uint32_t code, uint64_t argument,
                                              size_t restricted_bytes) {
  auto outcome = std::make_shared<Outcome>();
  StartRawWith(outcome, file, tid, code, argument, restricted_bytes);
  return outcome;
}

void DriverTest::StartRawWith(std::shared_ptr<Outcome> outcome, uint64_t file, pid_t tid, uint32_t code,
                              uint64_t argument, size_t restricted_bytes) {
  auto ioctl = std::make_unique<TestIoctl>(tid, caller_uid, file, code, argument, restricted_bytes,
                                           std::move(outcome));
  FailAllocation(fail_allocation);
  driver.Ioctl(std::move(ioctl));
  allocations_of_call = AllocationsSince();
  FailAllocation(0);
}

int32_t DriverTest::OpenAdapterRaw(uint64_t file, pid_t tid) {
  d3dkmt_openadapterfromluid args{};
  std::memcpy(&args.adapter_luid, &kLuid, sizeof(kLuid));
  return Call(file, tid, LX_DXOPENADAPTERFROMLUID, &args);
}

uint32_t DriverTest::OpenAdapter(uint64_t file, pid_t tid) {
  d3dkmt_openadapterfromluid args{};
  std::memcpy(&args.adapter_luid, &kLuid, sizeof(kLuid));
  EXPECT_EQ(Call(file, tid, LX_DXOPENADAPTERFROMLUID, &args), 0);
  return args.adapter_handle.v;
}

uint32_t DriverTest::CreateDevice(uint64_t file, pid_t tid, uint32_t adapter) {
  d3dkmt_createdevice args{};
  args.adapter.v = adapter;
  EXPECT_EQ(Call(file, tid, LX_DXCREATEDEVICE, &args), 0);
  return args.device.v;
}

FenceTest::FenceTest() {
  constexpr uint64_t kRegion = 0xf00000000000;
  Deliver();
  delivery.eventfds[kEventfd] = std::make_shared<CountingFile>();
  HostRegion region;
  region.window_address = WindowAddress(kRegion);
  region.size = 1 << 20;
  host.regions[kRegion] = region;
  host.next_lock = kRegion + 0x1000;
  delivery.map_result = 0x7e0000000000;
  file = Open(100);
  adapter = OpenAdapter(file, 100);
  device = CreateDevice(file, 100, adapter);
}

FenceTest::~FenceTest() {
  if (owned_driver != nullptr && file != 0) driver.Release(file);
}

}  // namespace dxg::guest
