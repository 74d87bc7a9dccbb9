// Sync files: CreateSyncFile, WaitSyncFile, OpenSyncObjectFromSyncFile, and what the descriptors answer
// themselves.
#include "cuse-dxg/guest/calls/sync_file.h"

#include <fmt/format.h>
#include <linux/sync_file.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>

#include "base/monotonic.h"
#include "cuse-dxg/guest/calls/share.h"
#include "cuse-dxg/guest/calls/sync_object.h"
#include "cuse-dxg/guest/driver.h"
#include "cuse-dxg/guest/handlers.h"
#include "cuse-dxg/guest/holder_call.h"
#include "cuse-dxg/guest/nt_status.h"
#include "cuse-dxg/guest/teardown.h"
#include "proto/abi/flags.h"
#include "proto/dxg/host.pb.h"

namespace dxg::guest {
namespace {

// As the driver names its fences.
constexpr char kDriverName[] = "dxgkrnl", kTimelineName[] = "no_timeline";

std::atomic<uint64_t> last_context{0};

template <size_t kSize>
void CopyName(const std::string& name, char (&to)[kSize]) {
  name.copy(to, kSize - 1);
}

}  // namespace

// -- Fences ---------------------------------------------------------------------------------------

// What the host's event signals. Where that goes without having happened, nobody will ever know: the fence
// ends with an error then, as fences of the kernel do, and nobody sleeps on it for ever.
class SyncFence::Event final : public client::EventFile {
 public:
  explicit Event(std::weak_ptr<SyncFence> fence) : fence_(std::move(fence)) {}
  ~Event() override {
    if (const auto fence = happened_ ? nullptr : fence_.lock()) fence->End(-ECANCELED);
  }
  void Signal() override {
    happened_ = true;
    if (const auto fence = fence_.lock()) fence->Happened();
  }

 private:
  std::weak_ptr<SyncFence> fence_;
  std::atomic<bool> happened_{false};
};

SyncFence::SyncFence(Driver& driver, Source source, uint64_t value)
    : driver_(driver),
      source_(std::move(source)),
      shared_(source_.object->shared),
      value_(value),
      context_(++last_context) {}

SyncFence::~SyncFence() {
  driver_.events().Remove(event_);
  if (has_descriptor) DropDescriptor(driver_.host(), shared_).Start(nullptr);
}

Task SyncFence::Await() {
  const auto self = shared_from_this();
  const auto process = source_.process.lock();
  if (process == nullptr) co_return Status::Refuse(EINVAL, "the process that made the sync file has ended");
  event_ = driver_.events().Add(*process, std::make_shared<Event>(self), EventTable::Lifetime::kOnce);
  host::WaitForSyncObjectFromCpu::Request request;
  host::WaitForSyncObjectFromCpu::Reply reply;
  request.set_device(source_.device_name);
  request.set_object_count(1);
  request.set_guest_event(event_);
  request.add_objects(source_.object_name);
  request.add_fence_values(value_);
  DXG_CO_TRY(co_await driver_.host().Ask(*source_.device->adapter(), process->host_handle, request, &reply));
  co_return FromNtStatus(reply.status(), "WaitForSyncObjectFromCpu");
}

// A host also ends waits of CPUs when some other handle of a shared fence is destroyed. A sync file is ready
// when the value is reached and not before, so it asks again, as long as its own handle is there.
void SyncFence::Happened() {
  if (Reached()) return End(1);
  const auto process = source_.process.lock();
  if (process == nullptr) return End(-ECANCELED);
  auto object = process->FindSyncObject(source_.object_name);
  if (!object.ok() || *object != source_.object) return End(-ECANCELED);
  Await().Start([self = shared_from_this()](const Status& status) {
    if (!status.ok()) self->End(-ECANCELED);
  });
}

// Where the host does not show the fence's page as a file, its word is taken for it.
bool SyncFence::Reached() const {
  const auto region = driver_.backend().FindRegion(source_.object->window_address);
  if (!region || region->file < 0) return true;
  uint64_t value = 0;
  const uint64_t offset = region->file_offset + (source_.object->window_address - region->window_address);
  const ssize_t read = pread(region->file, &value, sizeof(value), static_cast<off_t>(offset));
  return read != sizeof(value) || value >= value_;
}

int32_t SyncFence::status() const {
  MutexLock lock(mutex_);
  return status_;
}

uint64_t SyncFence::timestamp_ns() const {
  MutexLock lock(mutex_);
  return timestamp_ns_;
}

void SyncFence::Watch(const std::shared_ptr<SyncFile>& file) {
  MutexLock lock(mutex_);
  if (status_ != 0) return;
  std::erase_if(files_, [](const auto& each) { return each.expired(); });
  files_.push_back(file);
}

// The first end counts.
void SyncFence::End(int32_t status) {
  std::vector<std::weak_ptr<SyncFile>> files;
  {
    MutexLock lock(mutex_);
    if (status_ != 0) return;
    status_ = status;
    timestamp_ns_ = MonotonicNs();
    files.swap(files_);
  }
  for (const auto& each : files) {
    if (const auto file = each.lock()) file->Wake();
  }
}

// -- Files ----------------------------------------------------------------------------------------

SyncFile::SyncFile(std::vector<std::shared_ptr<SyncFence>> fences, std::string name)
    : SharedObject(kKind), fences_(std::move(fences)), name_(std::move(name)) {
  descriptors = 1;  // its open is the only one; the host has no name for it
}

std::shared_ptr<SyncFile> SyncFile::Create(std::vector<std::shared_ptr<SyncFence>> fences, std::string name) {
  std::shared_ptr<SyncFile> file(new SyncFile(std::move(fences), std::move(name)));
  for (const auto& fence : file->fences_) fence->Watch(file);
  return file;
}

std::shared_ptr<SyncFile> SyncFile::Create(const std::shared_ptr<SyncFence>& fence) {
  return Create(std::vector{fence},
                fmt::format("{}-{}{}-{}", kDriverName, kTimelineName, fence->context(), fence->value()));
}

int32_t SyncFile::status() const {
  int32_t status = 1;
  for (const auto& fence : fences_) {
    const int32_t each = fence->status();
    if (each == 0) return 0;
    if (each < 0) status = each;
  }
  return status;
}

// The waiter is in place before it is looked whether there is something to wait for: no wake-up is lost.
uint32_t SyncFile::Poll(std::unique_ptr<attach::PollWaiter> waiter) {
  if (waiter != nullptr) {
    MutexLock lock(waiter_mutex_);
    waiter_.swap(waiter);
  }
  return status() != 0 ? POLLIN : 0;
}

void SyncFile::Wake() {
  MutexLock lock(waiter_mutex_);
  if (waiter_ != nullptr) waiter_->Wake();
}

// -- Calls on the descriptor itself ---------------------------------------------------------------

namespace {

class SyncFileCall : public Caller {
 public:
  SyncFileCall(Driver& driver, client::Access& access, std::unique_ptr<attach::IoctlRequest> request,
               client::Identity&& process, std::shared_ptr<SyncFile> file)
      : Caller(std::move(request), access, identity_),
        driver_(driver),
        identity_(std::move(process)),
        file_(std::move(file)) {
    set_delivery(driver.delivery());
  }

  Task Run() {
    if (ioctl_->code() == SYNC_IOC_FILE_INFO) co_return Info();
    if (ioctl_->code() == SYNC_IOC_MERGE) co_return co_await Merge();
    co_return Status::Refuse(ENOTTY, "request code {:#010x} is none of a sync file's", ioctl_->code());
  }
  void Finish(const Status& status) {
    if (!status.ok()) spdlog::debug("sync file, by thread {}: {}", tid(), status.why());
    Answer(status, {});
  }

 private:
  template <typename T>
  Status CopyIn(T* args) {
    const auto in = ioctl_->in();
    if (in.size() == sizeof(T)) {
      std::memcpy(args, in.data(), sizeof(T));
    } else if (!access_.Read(tid(), ioctl_->argument(), std::as_writable_bytes(std::span(args, 1)))) {
      return Status::Refuse(EFAULT, "the argument at {:#x} cannot be read", ioctl_->argument());
    }
    if (args->flags == 0 && args->pad == 0) return Status::Ok();
    return Status::Refuse(EINVAL, "flags and pad are {:#x} and {:#x}; expected 0", args->flags, args->pad);
  }
  template <typename T>
  Status CopyOut(const T& args) {
    if (access_.Write(tid(), ioctl_->argument(), std::as_bytes(std::span(&args, 1)))) return Status::Ok();
    return Status::Refuse(EFAULT, "the argument at {:#x} cannot be written", ioctl_->argument());
  }

  Status Info();
  Task Merge();

  Driver& driver_;
  const client::Identity identity_;
  const std::shared_ptr<SyncFile> file_;
};

Status SyncFileCall::Info() {
  sync_file_info info{};
  DXG_TRY(CopyIn(&info));
  const auto& fences = file_->fences();
  if (info.num_fences != 0) {
    if (info.num_fences < fences.size()) {
      return Status::Refuse(EINVAL, "room for {} fences; there are {}", info.num_fences, fences.size());
    }
    std::vector<sync_fence_info> each(fences.size());
    for (size_t i = 0; i < fences.size(); ++i) {
      CopyName(kTimelineName, each[i].obj_name);
      CopyName(kDriverName, each[i].driver_name);
      each[i].status = fences[i]->status();
      each[i].timestamp_ns = fences[i]->timestamp_ns();
    }
    if (!access_.Write(tid(), info.sync_fence_info, std::as_bytes(std::span(each)))) {
      return Status::Refuse(EFAULT, "sync_fence_info at {:#x} cannot be written ({} fences)",
                            info.sync_fence_info, fences.size());
    }
  }
  std::memset(info.name, 0, sizeof(info.name));
  CopyName(file_->name(), info.name);
  info.status = file_->status();
  info.num_fences = static_cast<uint32_t>(fences.size());
  return CopyOut(info);
}

// What is still to come of both; where nothing is, what ended last.
std::vector<std::shared_ptr<SyncFence>> Together(const SyncFile& first, const SyncFile& second) {
  std::vector<std::shared_ptr<SyncFence>> fences;
  for (const SyncFile* file : {&first, &second}) {
    for (const auto& fence : file->fences()) {
      if (fence->status() != 1 && std::find(fences.begin(), fences.end(), fence) == fences.end())
        fences.push_back(fence);
    }
  }
  if (fences.empty()) {
    const auto& a = first.fences().front();
    const auto& b = second.fences().front();
    fences.push_back(a->timestamp_ns() > b->timestamp_ns() ? a : b);
  }
  return fences;
}

Task SyncFileCall::Merge() {
  sync_merge_data args{};
  DXG_CO_TRY(CopyIn(&args));
  const auto other = AsKind<SyncFile>(
      co_await FindSharedObject(driver_, waiting(), identity_, static_cast<uint32_t>(args.fd2)));
  if (other == nullptr)
    co_return Status::Refuse(ENOENT, "descriptor {} is no sync file of this device", args.fd2);
  auto fences = Together(*file_, *other);
  if (fences.size() > SyncFile::kFencesMax) {
    co_return Status::Refuse(ENOMEM, "{} fences in one sync file; at most {}", fences.size(),
                             SyncFile::kFencesMax);
  }
  args.name[sizeof(args.name) - 1] = '\0';
  auto merged = SyncFile::Create(std::move(fences), args.name);
  DXG_CO_ASSIGN(const uint64_t descriptor, co_await GiveDescriptor(driver_, *this, std::move(merged)));
  args.fence = static_cast<int32_t>(descriptor);
  Status status = CopyOut(args);
  if (!status.ok()) (void)co_await InClient(CloseStep(descriptor), nullptr);
  co_return status;
}

}  // namespace

void SyncFileIoctl(Driver& driver, client::Access& access, std::unique_ptr<attach::IoctlRequest>& request,
                   std::shared_ptr<SyncFile> file) {
  ServeHolder<SyncFileCall>(driver, access, request, std::move(file));
}

// -- Calls of the device --------------------------------------------------------------------------

namespace handlers {
namespace {

using CreateFile = calls::CreateSyncFile;
using OpenFromFile = calls::OpenSyncObjectFromSyncFile;

constexpr uint32_t kOpenFlags =
    DXG_SYNC_SHARED | DXG_SYNC_NT_SECURITY_SHARING | DXG_SYNC_NO_SIGNAL;  // to wait only

// The fence of a sync file that CreateSyncFile gave out. A merged one has no one fence.
TaskOf<std::shared_ptr<SyncFence>> FindFence(Call& call, uint64_t descriptor) {
  const auto file = AsKind<SyncFile>(co_await FindSharedObject(call, descriptor));
  if (file == nullptr)
    co_return Status::Refuse(EINVAL, "descriptor {} of the caller is no sync file of this device",
                             static_cast<uint32_t>(descriptor));
  if (file->fences().size() != 1)
    co_return Status::Refuse(EINVAL, "descriptor {} is a merged sync file, of {} fences",
                             static_cast<uint32_t>(descriptor), file->fences().size());
  co_return file->fences().front();
}

// Anything but 0 from the host ends the call with it.
#define RETURN_UNLESS_ZERO(expression) \
  if (Status status = (expression); status.value() != 0) co_return status

Task AskToWait(Call& call, const ContextAndDevice& found, uint32_t context, uint32_t object, uint64_t value) {
  host::WaitForSyncObjectFromGpu::Request request;
  host::WaitForSyncObjectFromGpu::Reply reply;
  request.set_context(context);
  request.set_object_count(1);
  request.add_objects(object);
  request.add_fence_values(value);
  DXG_CO_TRY(
      co_await call.driver.host().Ask(*found.device->adapter(), call.process->host_handle, request, &reply));
  co_return FromNtStatus(reply.status(), "WaitForSyncObjectFromGpu");
}

// The host's handle of the fence lives for this wait only.
Task QueueWait(Call& call, const ContextAndDevice& found, uint32_t context, const SyncFence& fence) {
  const uint32_t process = call.process->host_handle;
  host::OpenSyncObject::Request open;
  host::OpenSyncObject::Reply opened;
  open.set_device(found.device->handle.value);
  open.set_global_sync_object(fence.shared()->global_handle);
  open.set_flags(kOpenFlags);
  DXG_CO_TRY(co_await call.driver.host().AskGlobal(process, open, &opened));
  RETURN_UNLESS_ZERO(FromNtStatus(opened.status(), "OpenSyncObject"));
  // The driver waits for one more than the value once that was reached, which may never be.
  const Status waits = co_await AskToWait(call, found, context, opened.sync_object(), fence.value());
  host::DestroySyncObject::Request destroy;
  host::DestroySyncObject::Reply destroyed;
  destroy.set_sync_object(opened.sync_object());
  const Status sent = co_await call.driver.host().AskGlobal(process, destroy, &destroyed);
  if (!waits.ok()) co_return waits;
  DXG_CO_TRY(sent);
  RETURN_UNLESS_ZERO(FromNtStatus(destroyed.status(), "DestroySyncObject"));
  co_return Status::Ok();
}

}  // namespace

Task CreateSyncFile(CallOf<CreateFile>& call) {
  const auto& args = call.request;
  DXG_CO_ASSIGN(auto device, call.process->FindDevice(args.device()));
  DXG_CO_TRY(CheckActive(*device));
  DXG_CO_TRY(CheckActive(*device->adapter()));
  DXG_CO_ASSIGN(auto object, call.process->FindSyncObject(args.monitored_fence()));
  // Whatever fails from here on, the fence takes it back as it goes: the event, and what it counts of the
  // shared object.
  const SyncFence::Source source{call.process, device, args.device(), object, args.monitored_fence()};
  auto fence = std::make_shared<SyncFence>(call.driver, source, args.fence_value());
  if (object->shared != nullptr) {
    DXG_CO_TRY(co_await AddDescriptor(call, object->shared, args.monitored_fence()));
    fence->has_descriptor = true;
  }
  DXG_CO_TRY(co_await fence->Await());
  auto file = SyncFile::Create(fence);
  call.NameShared(file.get());
  DXG_CO_ASSIGN(const uint64_t descriptor, co_await GiveDescriptor(call.driver, call, std::move(file)));
  call.reply.set_sync_file_handle(descriptor);
  Status status = call.OutNowAll();
  if (!status.ok()) (void)co_await call.InClient(CloseStep(descriptor), nullptr);
  co_return status;
}

Task WaitSyncFile(CallOf<calls::WaitSyncFile>& call) {
  DXG_CO_ASSIGN(auto fence, co_await FindFence(call, call.request.sync_file_handle()));
  DXG_CO_ASSIGN(auto found, FindContextAndDevice(*call.process, call.request.context()));
  DXG_CO_TRY(CheckActive(*found.device));
  DXG_CO_TRY(CheckActive(*found.device->adapter()));
  if (fence->shared() == nullptr) co_return Status::Ok();
  co_return co_await QueueWait(call, found, call.request.context(), *fence);
}

Task OpenSyncObjectFromSyncFile(CallOf<OpenFromFile>& call) {
  DXG_CO_ASSIGN(auto fence, co_await FindFence(call, call.request.sync_file_handle()));
  if (fence->shared() == nullptr) co_return Status::Ok();
  DXG_CO_ASSIGN(auto device, call.process->FindDevice(call.request.device()));
  DXG_CO_TRY(CheckActive(*device));
  DXG_CO_TRY(CheckActive(*device->adapter()));
  const OpenOptions options{device->handle.value, 0, kOpenFlags, true};
  DXG_CO_ASSIGN(const auto opened, co_await OpenSharedSyncObject(call, device, fence->shared(), options));
  const std::function<Status()> answer = [&] {
    call.reply.set_syncobj(opened.object->handle.value);
    call.reply.set_fence_value(fence->value() +
                               (fence->status() != 0 ? 1 : 0));  // as the driver, which counts it up
    call.reply.set_fence_value_gpu_va(opened.fence_gpu_virtual_address);
    call.SetAddress(OpenFromFile::Address::fence_value_cpu_va, opened.fence_cpu_virtual_address);
    return call.OutNowAll();
  };
  co_return co_await EnterOpened(call, device, opened, answer);
}

}  // namespace handlers
}  // namespace dxg::guest
