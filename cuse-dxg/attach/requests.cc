#include "cuse-dxg/attach/requests.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/status.h"
#include "cuse-dxg/attach/libfuse.h"
#include "cuse-dxg/attach/session.h"

namespace dxg::attach {

FuseOpenRequest::~FuseOpenRequest() {
  if (!request_) return;
  spdlog::error(
      "bug: an open was dropped without an answer; refused with EIO so that the client does not hang");
  Refuse(EIO);
}

void FuseOpenRequest::Accept(uint64_t file) {
  DXG_CHECK(request_);
  fuse_file_info info = {};
  info.fh = file;
  info.direct_io = 1;    // read, write and mmap are ours to refuse, not the page cache's to grant
  info.nonseekable = 1;  // lseek gives ESPIPE
  // The client was killed meanwhile: the kernel forgets this file and will never release it.
  if (fuse_reply_open(std::exchange(request_, nullptr), &info) == -ENOENT) session_.node().Release(file);
}

void FuseOpenRequest::Refuse(int error) {
  DXG_CHECK(request_);
  fuse_reply_err(std::exchange(request_, nullptr), error);
}

FuseIoctlRequest::FuseIoctlRequest(Session& session, fuse_req* request, Caller caller, const Call& call)
    : session_(session),
      request_(request),
      caller_(caller),
      file_(call.file),
      argument_(call.argument),
      code_(call.code),
      kernel_copies_(call.kernel_copies),
      in_bytes_(static_cast<uint32_t>(call.in.size())),
      out_bytes_max_(static_cast<uint32_t>(call.out_bytes_max)) {
  if (call.in.empty()) return;
  if (call.in.size() > small_in_.size()) large_in_ = std::make_unique<std::byte[]>(call.in.size());
  std::memcpy(large_in_ ? large_in_.get() : small_in_.data(), call.in.data(), call.in.size());
}

FuseIoctlRequest::~FuseIoctlRequest() {
  if (!request_) return;
  spdlog::error(
      "bug: ioctl {:#010x} of thread {} was dropped without an answer; it gets EIO, else it would hang",
      code_, caller_.tid);
  Answer(-EIO, {});
}

void FuseIoctlRequest::Answer(int32_t result, std::span<const std::byte> out) {
  DXG_CHECK(request_);
  DXG_CHECK(kernel_copies_ || out.empty());
  if (interrupt_ticket_) session_.interrupts().Drop(interrupt_ticket_);
  // More than the code promises to give back would make the kernel refuse the whole answer.
  const size_t bytes = std::min<size_t>(out.size(), out_bytes_max_);
  fuse_reply_ioctl(std::exchange(request_, nullptr), result, out.data(), bytes);
}

void FuseIoctlRequest::OnInterrupt(std::function<void()> interrupted) {
  Want({.interrupted = std::move(interrupted), .killed = nullptr});
}

void FuseIoctlRequest::OnKilled(std::function<bool()> killed) {
  Want({.interrupted = nullptr, .killed = std::move(killed), .tid = caller_.tid});
}

void FuseIoctlRequest::Want(Interrupts::Wanted wanted) {
  DXG_CHECK(request_);
  if (interrupt_ticket_) return session_.interrupts().Add(interrupt_ticket_, std::move(wanted));
  interrupt_ticket_ = session_.interrupts().Arm(request_, std::move(wanted));
}

FusePollWaiter::~FusePollWaiter() { fuse_pollhandle_destroy(handle_); }

void FusePollWaiter::Wake() { fuse_lowlevel_notify_poll(handle_); }

}  // namespace dxg::attach
