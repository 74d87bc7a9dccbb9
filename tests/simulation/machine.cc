#include "tests/simulation/machine.h"

#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

namespace dxg::simulation {

// Lists of client pages, which here are pages of this process.
class Machine::Pages final : public hostsim::GuestMemory {
 public:
  uint32_t Add(std::shared_ptr<ClientPages> pages) {
    lists_[++last_] = std::move(pages);
    return last_;
  }
  void Remove(uint32_t list) { lists_.erase(list); }
  bool Read(uint32_t list, uint64_t offset, hostsim::Bytes bytes) override {
    return lists_.contains(list) && lists_[list]->Read(offset, std::as_writable_bytes(bytes));
  }
  bool Write(uint32_t list, uint64_t offset, hostsim::ConstBytes bytes) override {
    return lists_.contains(list) && lists_[list]->Write(offset, std::as_bytes(bytes));
  }
  uint64_t Size(uint32_t list) override { return lists_.contains(list) ? lists_[list]->size() : 0; }

 private:
  std::map<uint32_t, std::shared_ptr<ClientPages>> lists_;
  uint32_t last_ = 0;
};

struct Machine::Answer {
  bool done = false;
  int32_t result = 0;
  uint64_t file = 0;
};

class Machine::OpenRequest final : public attach::OpenRequest {
 public:
  OpenRequest(pid_t tid, std::shared_ptr<Answer> answer) : answer_(std::move(answer)) { caller_.tid = tid; }
  const attach::Caller& caller() const override { return caller_; }
  void Accept(uint64_t file) override { *answer_ = {true, 0, file}; }
  void Refuse(int error) override { *answer_ = {true, -error, 0}; }

 private:
  attach::Caller caller_;
  std::shared_ptr<Answer> answer_;
};

class Machine::IoctlRequest final : public attach::IoctlRequest {
 public:
  IoctlRequest(pid_t tid, uint64_t file, uint32_t code, uint64_t argument, std::shared_ptr<Waiting> call)
      : file_(file), code_(code), argument_(argument), call_(std::move(call)) {
    caller_.tid = tid;
  }
  const attach::Caller& caller() const override { return caller_; }
  uint64_t file() const override { return file_; }
  uint32_t code() const override { return code_; }
  uint64_t argument() const override { return argument_; }
  std::span<const std::byte> in() const override { return {}; }
  bool kernel_copies_out() const override { return false; }
  void Answer(int32_t result, std::span<const std::byte>) override {
    DXG_CHECK(!call_->done_);
    call_->done_ = true;
    call_->result_ = result;
  }
  void OnInterrupt(std::function<void()> interrupted) override {
    call_->interrupted_ = std::move(interrupted);
  }
  void OnKilled(std::function<bool()> killed) override { call_->killed_ = std::move(killed); }

 private:
  attach::Caller caller_;
  uint64_t file_;
  uint32_t code_;
  uint64_t argument_;
  std::shared_ptr<Waiting> call_;
};

void Machine::Waiting::Run(std::function<void()>* once) {
  if (const auto call = std::exchange(*once, nullptr)) call();
}

void Machine::Waiting::Kill() {
  Run(&interrupted_);
  if (!done_) Run(&killed_);
}

class Machine::CountedEvent final : public client::EventFile {
 public:
  explicit CountedEvent(std::shared_ptr<uint64_t> ticks) : ticks_(std::move(ticks)) {}
  void Signal() override { ++*ticks_; }

 private:
  const std::shared_ptr<uint64_t> ticks_;
};

class Machine::Visit final : public client::Visit {
 public:
  Visit(Machine& machine, pid_t pid) : machine_(machine), pid_(pid) {}
  void Do(std::vector<client::Step> steps, Done done) override {
    std::vector<uint64_t> results;
    for (const auto& step : steps) {
      auto result = machine_.DoStep(pid_, step);
      if (!result.ok()) return done(std::move(result).status());
      results.push_back(*result);
    }
    done(std::move(results));
  }
  bool holds_thread() const override { return false; }
  void Leave(int32_t) override {}

 private:
  Machine& machine_;
  const pid_t pid_;
};

AdapterProfile Machine::Discrete(uint64_t group_bytes) {
  auto loaded = hostsim::LoadProfile("discrete");
  DXG_CHECK(loaded.ok());
  AdapterProfile profile = *std::move(loaded);
  profile.mutable_engines()->set_tdr_limit_count(0);  // a run has as many hangs as chance wants
  profile.mutable_memory()->set_dedicated_video_bytes(group_bytes);
  profile.mutable_memory()->set_shared_system_bytes(group_bytes);
  return profile;
}

Machine::Machine(const AdapterProfile& profile) : profile_(profile), pages_(std::make_unique<Pages>()) {
  host_ = hostsim::Host::Create({clock_, hostsim::Rng(1), nullptr, pages_.get()}, {profile});
  driver_ =
      std::make_unique<guest::Driver>(static_cast<Backend&>(*this), static_cast<client::Access&>(*this));
  driver_->set_delivery(this);
  driver_->teardown().Stop();  // everything on this thread: the same seed is the same run
  DXG_CHECK(Start(driver_.get()).ok());
}

Machine::~Machine() {
  while (!descriptors_.empty()) CloseDescriptor(descriptors_.begin()->first);
  while (!files_.empty()) Close(files_.begin()->first);
  host_->SetEvents(nullptr);
}

// -- Clients --------------------------------------------------------------------------------------

void Machine::Open(pid_t pid) {
  auto answer = std::make_shared<Answer>();
  driver_->Open(std::make_unique<OpenRequest>(pid, answer));
  DXG_CHECK(answer->done && answer->result == 0);
  files_[pid] = answer->file;
}

void Machine::Close(pid_t pid) {
  for (const auto& call : all_waiting_) {
    if (call->pid() == pid) call->Kill();
  }
  std::erase_if(all_waiting_, [](const auto& call) { return call->done(); });
  driver_->Release(files_.at(pid));
  files_.erase(pid);
  // The process is gone, and with it what was mapped there.
  for (const auto& [address, bytes] : mappings_[pid]) munmap(reinterpret_cast<void*>(address), bytes);
  mappings_.erase(pid);
}

int32_t Machine::CallAt(pid_t pid, uint32_t code, uint64_t argument) {
  auto call = std::make_shared<Waiting>();
  call->pid_ = pid;
  driver_->Ioctl(std::make_unique<IoctlRequest>(pid, files_.at(pid), code, argument, call));
  if (call->done()) return call->result();
  if (all_waiting_.size() == all_waiting_.capacity())
    std::erase_if(all_waiting_, [](const auto& other) { return other->done(); });
  all_waiting_.push_back(call);
  waiting_ = call;
  return kWaits;
}

size_t Machine::waiting() const {
  return static_cast<size_t>(std::count_if(all_waiting_.begin(), all_waiting_.end(),
                                           [](const auto& call) { return !call->done(); }));
}

// A Waiting with its reference counts, a request, and a place in the list, as glibc rounds them up.
const int64_t Machine::kWaitingBytes = (sizeof(Waiting) + 16 + 8 + 15) / 16 * 16 +
                                       (sizeof(IoctlRequest) + 8 + 15) / 16 * 16 +
                                       sizeof(std::shared_ptr<Waiting>);

bool Machine::TakeAnswer(int32_t* result) {
  if (waiting_ == nullptr || !waiting_->done()) return false;
  *result = waiting_->result();
  waiting_ = nullptr;
  return true;
}

int Machine::NewEvent(pid_t pid) {
  events_[++next_event_] = {pid, std::make_shared<uint64_t>(0)};
  return next_event_;
}

void Machine::CloseDescriptor(int descriptor) {
  const auto file = descriptors_.extract(descriptor);
  if (!file.empty()) driver_->Release(file.mapped());
}

void Machine::Settle() {
  while (clock_.AdvanceToNext()) {
  }
}

bool Machine::RemoveAdapter() { return host_->RemoveAdapter(host_->Adapters().front().address); }

bool Machine::AddAdapter() {
  hostsim::AdapterInfo info;
  return host_->AddAdapter(profile_, &info);
}

hostsim::Caller Machine::HostCaller(pid_t pid) {
  hostsim::Caller caller;
  caller.adapter_luid = host_->Adapters().front().address;
  for (const auto& process : driver_->Processes()) {
    if (process->identity.tgid == pid) return {process->host_handle, caller.adapter_luid};
  }
  return caller;
}

size_t Machine::mapped_bytes() const {
  size_t sum = 0;
  for (const auto& [pid, mappings] : mappings_) {
    for (const auto& [address, bytes] : mappings) sum += bytes;
  }
  return sum;
}

// -- Backend --------------------------------------------------------------------------------------

namespace {

std::optional<HostRegion> ToGuest(const std::optional<hostsim::RegionInfo>& info) {
  if (!info) return std::nullopt;
  HostRegion region;
  region.window_address = WindowAddress(info->window_start);
  region.size = info->bytes;
  region.file = info->file->number();
  region.keep = info->file;
  region.cookie = info->cookie;
  return region;
}

}  // namespace

Status Machine::Start(BackendEvents*) {
  for (const auto& info : host_->Adapters()) AdapterArrived(info);
  host_->SetEvents(this);
  return Status::Ok();
}

void Machine::Submit(const HostCall& call, Completion completion) {
  host_->Submit({call.process, call.adapter, call.asynchronous}, call.command->id, *call.request, call.reply,
                [call, completion](bool accepted) {
                  if (call.asynchronous) call.reply->Clear();
                  completion.run(completion.context, accepted || call.asynchronous
                                                         ? Status::Ok()
                                                         : Status::Refuse(EOVERFLOW, "refused by the host"));
                });
}

std::optional<HostRegion> Machine::FindRegion(WindowAddress address) {
  return ToGuest(host_->FindRegion(address.value));
}
std::optional<HostRegion> Machine::HomeRegion(uint32_t process) {
  return ToGuest(host_->HomeRegion(process));
}
std::optional<HostRegion> Machine::FindShared(uint32_t nt_handle, uint32_t index) {
  return ToGuest(host_->FindShared(nt_handle, index));
}
Result<uint32_t> Machine::AddClientPages(std::shared_ptr<ClientPages> pages) {
  return pages_->Add(std::move(pages));
}
void Machine::RemoveClientPages(uint32_t list) { pages_->Remove(list); }

// -- Access ---------------------------------------------------------------------------------------

namespace {

constexpr uint64_t kFirstMapped = 0x10000;

bool Mapped(uint64_t address) { return address >= kFirstMapped && address >> 47 == 0; }

class OwnMemory final : public client::AddressSpace {
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
};

}  // namespace

// As another process: a whole page around a small object is read too, which a sanitizer would not have.
bool Machine::Read(pid_t, uint64_t address, std::span<std::byte> to) {
  if (!Mapped(address)) return false;
  const iovec here{to.data(), to.size()}, there{reinterpret_cast<void*>(address), to.size()};
  return process_vm_readv(getpid(), &here, 1, &there, 1, 0) == static_cast<ssize_t>(to.size());
}

bool Machine::Write(pid_t, uint64_t address, std::span<const std::byte> from) {
  if (!Mapped(address)) return false;
  std::memcpy(reinterpret_cast<void*>(address), from.data(), from.size());
  return true;
}

bool Machine::WritePieces(pid_t tid, std::span<const client::WritePiece> pieces) {
  return std::all_of(pieces.begin(), pieces.end(),
                     [&](const auto& piece) { return Write(tid, piece.address, piece.from); });
}

std::unique_ptr<client::AddressSpace> Machine::Pin(pid_t, uint64_t address, uint64_t, bool) {
  if (!Mapped(address)) return nullptr;
  return std::make_unique<OwnMemory>();
}

std::optional<client::Identity> Machine::Identify(pid_t tid) {
  client::Identity identity;
  identity.tgid = identity.own_pid = tid;
  identity.pid_namespace = 1;
  identity.name = "simulated";
  return identity;
}

// -- Delivery -------------------------------------------------------------------------------------

void Machine::Enter(const client::Waiting& at, const client::Identity&, std::function<void()>,
                    Entered entered) {
  entered(std::unique_ptr<client::Visit>(std::make_unique<Visit>(*this, at.tid)));
}

void Machine::Identify(const client::Waiting&, const client::Identity&, int descriptor,
                       std::function<void(uint64_t)> done) {
  done(descriptors_.contains(descriptor) ? descriptors_[descriptor] : 0);
}

void Machine::TakeEventFile(const client::Waiting&, const client::Identity& process, int descriptor,
                            TookEventFile done) {
  const auto event = events_.find(descriptor);
  if (event == events_.end() || event->second.owner != process.tgid)
    return done(client::NoEventFile(descriptor));
  done(std::shared_ptr<client::EventFile>(std::make_shared<CountedEvent>(event->second.ticks)));
}

Result<uint64_t> Machine::DoStep(pid_t pid, const client::Step& step) {
  switch (step.kind) {
    case client::Step::Kind::kMap: {
      void* at = mmap(nullptr, step.size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, step.file,
                      static_cast<off_t>(step.offset));
      if (at == MAP_FAILED) return Status::Refuse(errno, "mmap: {}", std::strerror(errno));
      mappings_[pid][reinterpret_cast<uint64_t>(at)] = step.size;
      return reinterpret_cast<uint64_t>(at);
    }
    case client::Step::Kind::kUnmap:
      DXG_CHECK(mappings_[pid].erase(step.address) == 1);
      munmap(reinterpret_cast<void*>(step.address), step.size);
      return uint64_t{0};
    case client::Step::Kind::kGiveNode: {
      auto answer = std::make_shared<Answer>();
      token_ = step.token;
      driver_->Open(std::make_unique<OpenRequest>(pid, answer));
      token_ = 0;
      DXG_CHECK(answer->done && answer->result == 0);
      descriptors_[next_descriptor_] = answer->file;
      return static_cast<uint64_t>(next_descriptor_++);
    }
    case client::Step::Kind::kCloseFile:
      CloseDescriptor(static_cast<int>(step.address));
      return uint64_t{0};
    case client::Step::Kind::kGiveFile:
      break;
  }
  return Status::Refuse(EPERM, "not in this machine");
}

// -- Events of the host ---------------------------------------------------------------------------

void Machine::DeviceStateChanged(uint32_t, uint64_t, uint64_t cookie, uint32_t) {
  ++state_changes_;
  driver_->DeviceStateChanged(cookie);
}

void Machine::AdapterArrived(const hostsim::AdapterInfo& info) {
  luids_[info.address] = info.luid;
  driver_->AdapterArrived(info);
}

void Machine::AdapterRemoved(uint64_t vgpu_luid) { driver_->AdapterRemoved(luids_.at(vgpu_luid)); }

}  // namespace dxg::simulation
