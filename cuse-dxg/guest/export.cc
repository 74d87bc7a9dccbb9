#include "cuse-dxg/guest/export.h"

#include <linux/udmabuf.h>
#include <spdlog/spdlog.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cstring>

#include "cuse-dxg/guest/caller.h"
#include "cuse-dxg/guest/driver.h"
#include "cuse-dxg/guest/holder_call.h"
#include "proto/abi/dxg_export.h"

namespace dxg::guest {
namespace {

class Exporter : public Caller {
 public:
  Exporter(Driver& driver, client::Access& access, std::unique_ptr<attach::IoctlRequest> request,
           client::Identity&& process, std::shared_ptr<SharedResource> object)
      : Caller(std::move(request), access, identity_),
        driver_(driver),
        identity_(std::move(process)),
        object_(std::move(object)) {
    set_delivery(driver.delivery());
  }
  ~Exporter() override {
    if (dmabuf_ >= 0) close(dmabuf_);
  }

  Task Run();
  void Finish(const Status& status) {
    if (!status.ok()) spdlog::debug("export by thread {}: {}", tid(), status.why());
    Answer(status, {});
  }

 private:
  Status CopyIn();
  Status CopyOut();
  Result<int> MakeDmabuf(const HostRegion& region);

  Driver& driver_;
  const client::Identity identity_;
  const std::shared_ptr<SharedResource> object_;
  dxg_export args_{};
  int dmabuf_ = -1;
};

Status Exporter::CopyIn() {
  const auto in = ioctl_->in();
  if (in.size() == sizeof(args_)) {
    std::memcpy(&args_, in.data(), sizeof(args_));
  } else if (!access_.Read(tid(), ioctl_->argument(), std::as_writable_bytes(std::span(&args_, 1)))) {
    return Status::Refuse(EFAULT, "the argument at {:#x} cannot be read", ioctl_->argument());
  }
  if ((args_.kind == DXG_EXPORT_MEMFD || args_.kind == DXG_EXPORT_DMABUF) && args_.reserved == 0)
    return Status::Ok();
  return Status::Refuse(EINVAL, "kind is {}, reserved is {}; expected 1 (memfd) or 2 (dma-buf), and 0",
                        args_.kind, args_.reserved);
}

Status Exporter::CopyOut() {
  if (access_.Write(tid(), ioctl_->argument(), std::as_bytes(std::span(&args_, 1)))) return Status::Ok();
  return Status::Refuse(EFAULT, "the argument at {:#x} cannot be written", ioctl_->argument());
}

// The kernel keeps the memory file's pages in the dma-buf, and needs nothing of ours afterwards. Who may not
// use udmabuf asks for the memory as a file.
Result<int> Exporter::MakeDmabuf(const HostRegion& region) {
  Result<UniqueFd> device = access_.OpenFor(tid(), "/dev/udmabuf");
  if (!device.ok() && device.status().value() == -EACCES) return device.status();
  if (!device.ok()) return Status::Refuse(ENODEV, "{}: load the module udmabuf", device.status().why());
  udmabuf_create create{};
  create.memfd = static_cast<uint32_t>(region.file);
  create.flags = UDMABUF_FLAGS_CLOEXEC;
  create.offset = region.file_offset;
  create.size = region.size;
  const int made = ioctl(device->get(), UDMABUF_CREATE, &create);
  const int error = errno;
  if (made < 0)
    return Status::Refuse(error,
                          "the kernel makes no dma-buf of {} bytes: {} (see /sys/module/udmabuf/parameters)",
                          region.size, std::strerror(error));
  return made;
}

Task Exporter::Run() {
  DXG_CO_TRY(CopyIn());
  uint32_t nt_handle = 0;
  {
    MutexLock lock(object_->mutex);
    nt_handle = object_->nt_handle;
    if (args_.allocation_index >= object_->elements.size()) {
      co_return Status::Refuse(EINVAL, "allocation_index is {}; the resource has {} allocations",
                               args_.allocation_index, object_->elements.size());
    }
  }
  const auto region = driver_.backend().FindShared(nt_handle, args_.allocation_index);
  if (!region) co_return Status::Refuse(EPERM, "the host does not show this memory as a file");
  client::Step step;
  step.kind = client::Step::Kind::kGiveFile;
  step.file = region->file;
  if (args_.kind == DXG_EXPORT_DMABUF) {
    DXG_CO_ASSIGN(dmabuf_, MakeDmabuf(*region));
    step.file = dmabuf_;
  }
  std::vector<uint64_t> results;
  DXG_CO_TRY(co_await InClient(step, &results));
  args_.fd = static_cast<int32_t>(results.front());
  args_.size = region->size;
  Status status = CopyOut();
  if (!status.ok()) {
    step.kind = client::Step::Kind::kCloseFile;
    step.address = results.front();
    (void)co_await InClient(step, nullptr);
  }
  co_return status;
}

}  // namespace

void Export(Driver& driver, client::Access& access, std::unique_ptr<attach::IoctlRequest>& request,
            std::shared_ptr<SharedResource> object) {
  ServeHolder<Exporter>(driver, access, request, std::move(object));
}

}  // namespace dxg::guest
