#include "tests/attach/fake_kernel.h"

#include <dlfcn.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <utility>

#include "base/status.h"
#include "cuse-dxg/attach/cuse.h"
#include "cuse-dxg/attach/fuse_file.h"

namespace {

std::atomic<int> forgetful = -1;  // the descriptor whose next write is refused

}  // namespace

// libfuse writes its answers with this. A socket never refuses one as /dev/fuse does.
extern "C" ssize_t writev(int file, const iovec* parts, int count) {
  int refused = file;
  if (forgetful.compare_exchange_strong(refused, -1)) {
    errno = ENOENT;
    return -1;
  }
  // The next one in line, not the system call: ThreadSanitizer sees by it that the reader comes after the
  // writer.
  static const auto next = reinterpret_cast<decltype(&writev)>(dlsym(RTLD_NEXT, "writev"));
  return next(file, parts, count);
}

namespace dxg::attach {

FakeKernel::FakeKernel(Kind kind, Node& node, int workers) : kind_(kind) {
  int ends[2];
  DXG_CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) == 0);
  kernel_.reset(ends[0]);
  session_end_ = ends[1];
  auto session = kind == Kind::kCuse ? CreateCuseSession() : CreateFuseFileSession();
  DXG_CHECK(session.ok());
  session_ = *std::move(session);
  DXG_CHECK(session_->Attach(UniqueFd(ends[1])).ok());
  DXG_CHECK(session_->Start(node, workers).ok());
}

Reply FakeKernel::Init() {
  if (kind_ == Kind::kCuse) {
    const cuse_init_in in = {.major = FUSE_KERNEL_VERSION, .minor = 36, .flags = CUSE_UNRESTRICTED_IOCTL};
    return ReceiveOf(Send(CUSE_INIT, BytesOf(in)));
  }
  const fuse_init_in in = {
      .major = FUSE_KERNEL_VERSION, .minor = 36, .flags = FUSE_ATOMIC_O_TRUNC | FUSE_BIG_WRITES};
  return ReceiveOf(Send(FUSE_INIT, BytesOf(in)));
}

uint64_t FakeKernel::Send(uint32_t opcode, const std::vector<std::byte>& payload, uint32_t pid,
                          uint64_t unique) {
  if (unique == 0) unique = last_unique_ += 2;
  fuse_in_header header = {.len = static_cast<uint32_t>(sizeof(header) + payload.size()),
                           .opcode = opcode,
                           .unique = unique,
                           .nodeid = FUSE_ROOT_ID,
                           .uid = 1000,
                           .gid = 100,
                           .pid = pid};
  iovec parts[] = {{&header, sizeof(header)}, {const_cast<std::byte*>(payload.data()), payload.size()}};
  DXG_CHECK(writev(kernel_.get(), parts, 2) == static_cast<ssize_t>(header.len));
  return unique;
}

Reply FakeKernel::Receive() {
  std::vector<std::byte> packet(1 << 16);
  const ssize_t got = read(kernel_.get(), packet.data(), packet.size());
  DXG_CHECK(got >= static_cast<ssize_t>(sizeof(fuse_out_header)));
  const auto header = FromBytes<fuse_out_header>(packet);
  DXG_CHECK(header.len == static_cast<uint32_t>(got));
  return {.unique = header.unique,
          .error = header.error,
          .payload = {packet.begin() + sizeof(header), packet.begin() + got}};
}

Reply FakeKernel::ReceiveOf(uint64_t unique) {
  for (;;) {
    auto early = std::find_if(received_early_.begin(), received_early_.end(),
                              [&](const Reply& reply) { return reply.unique == unique; });
    if (early != received_early_.end()) {
      Reply reply = std::move(*early);
      received_early_.erase(early);
      return reply;
    }
    received_early_.push_back(Receive());
  }
}

void FakeKernel::ForgetNext() { forgetful = session_end_; }

uint64_t FakeKernel::SendOpen(uint32_t pid) { return Send(FUSE_OPEN, BytesOf(fuse_open_in{}), pid); }

// The kernel does not know any more who closes.
uint64_t FakeKernel::SendRelease(uint64_t file) {
  return Send(FUSE_RELEASE, BytesOf(fuse_release_in{.fh = file}), 0);
}

uint64_t FakeKernel::SendIoctl(uint64_t file, uint32_t code, const void* argument, uint32_t pid,
                               uint64_t unique) {
  const bool restricted = kind_ == Kind::kFuseFile;
  const uint32_t bytes = _IOC_SIZE(code);
  fuse_ioctl_in in = {.fh = file,
                      .flags = restricted ? 0u : FUSE_IOCTL_UNRESTRICTED,
                      .cmd = code,
                      .arg = reinterpret_cast<uintptr_t>(argument),
                      .in_size = restricted && (code & IOC_IN) ? bytes : 0,
                      .out_size = restricted && (code & IOC_OUT) ? bytes : 0};
  std::vector<std::byte> payload = BytesOf(in);
  const auto* from = static_cast<const std::byte*>(argument);
  if (in.in_size) payload.insert(payload.end(), from, from + in.in_size);
  return Send(FUSE_IOCTL, payload, pid, unique);
}

void FakeKernel::SendInterrupt(uint64_t unique) {
  Send(FUSE_INTERRUPT, BytesOf(fuse_interrupt_in{.unique = unique}), 0, unique | 1);
}

uint64_t FakeKernel::Open() { return ReceiveOf(SendOpen()).As<fuse_open_out>().fh; }

}  // namespace dxg::attach
