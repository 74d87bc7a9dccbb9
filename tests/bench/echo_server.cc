#include "tests/bench/echo_server.h"

#define FUSE_USE_VERSION 312
#include <fuse3/fuse_lowlevel.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <thread>

#include "base/page.h"
#include "proto/abi/d3dkmthk.h"

namespace dxg::bench {
namespace {

void GetAttr(fuse_req_t request, fuse_ino_t, fuse_file_info*) {
  struct stat attributes {};
  attributes.st_ino = FUSE_ROOT_ID;
  attributes.st_mode = S_IFREG | 0666;
  attributes.st_nlink = 1;
  fuse_reply_attr(request, &attributes, 3600);
}

void Open(fuse_req_t request, fuse_ino_t, fuse_file_info* info) { fuse_reply_open(request, info); }

// The page of the client's memory that `address` is in, by the one system call that it takes.
void ReadPage(pid_t client, uint64_t address) {
  static char page[kPageBytes];
  const iovec to = {page, kPageBytes};
  const iovec from = {reinterpret_cast<void*>(address & ~(kPageBytes - 1)), kPageBytes};
  (void)process_vm_readv(client, &to, 1, &from, 1, 0);
}

int hop = -1;  // the way to the second process, where there is one

// There and back.
void Hop(const void* in, size_t bytes) {
  char answer[4096];
  if (hop < 0 || bytes > sizeof(answer)) return;
  if (send(hop, in, bytes, 0) < 0 || recv(hop, answer, sizeof(answer), 0) < 0) _exit(1);
}

bool threaded = false;

// A request on its way, in front of its bytes.
struct OnItsWay {
  fuse_req_t request;
  char bytes[512];
};

void SendToHop(fuse_req_t request, const void* in, size_t bytes) {
  OnItsWay sent;
  sent.request = request;
  std::memcpy(sent.bytes, in, bytes);
  if (send(hop, &sent, offsetof(OnItsWay, bytes) + bytes, 0) < 0) _exit(1);
}

void AnswerFromHop() {
  OnItsWay came;
  for (;;) {
    const ssize_t bytes = recv(hop, &came, sizeof(came), 0);
    if (bytes <= 0) return;
    fuse_reply_ioctl(came.request, 0, came.bytes, static_cast<size_t>(bytes) - offsetof(OnItsWay, bytes));
  }
}

// The second process: sends back what comes, until the first one is gone.
void ServeHop(int socket) {
  char request[4096];
  for (;;) {
    const ssize_t came = recv(socket, request, sizeof(request), 0);
    if (came <= 0 || send(socket, request, static_cast<size_t>(came), 0) < 0) _exit(0);
  }
}

void Ioctl(fuse_req_t request, fuse_ino_t, unsigned code, void*, fuse_file_info*, unsigned, const void* in,
           size_t in_bytes, size_t out_bytes) {
  if (code == LX_DXSIGNALSYNCHRONIZATIONOBJECTFROMCPU) {
    d3dkmt_signalsynchronizationobjectfromcpu args;
    std::memcpy(&args, in, sizeof(args));
    if (args.objects != 0) ReadPage(fuse_req_ctx(request)->pid, args.objects);
  }
  if (threaded) return SendToHop(request, in, std::min(in_bytes, sizeof(OnItsWay::bytes)));
  Hop(in, in_bytes);
  fuse_reply_ioctl(request, 0, in, in_bytes < out_bytes ? in_bytes : out_bytes);
}

}  // namespace

int ServeEcho(const std::string& path, int ready_fd) { return ServeEchoByThreads(path, ready_fd, 1); }

int ServeEchoByThreads(const std::string& path, int ready_fd, int threads) {
  fuse_lowlevel_ops operations{};
  operations.getattr = GetAttr;
  operations.open = Open;
  operations.ioctl = Ioctl;
  char* arguments[] = {const_cast<char*>("echo"), nullptr};
  fuse_args args = FUSE_ARGS_INIT(1, arguments);
  fuse_session* session = fuse_session_new(&args, &operations, sizeof(operations), nullptr);
  if (session == nullptr || fuse_session_mount(session, path.c_str()) != 0) return 1;
  fuse_set_signal_handlers(session);
  if (write(ready_fd, "r", 1) != 1) return 1;
  if (threads == 1) {
    fuse_session_loop(session);
  } else {
    fuse_loop_config* const config = fuse_loop_cfg_create();
    fuse_loop_cfg_set_max_threads(config, static_cast<unsigned>(threads));
    fuse_loop_cfg_set_idle_threads(config, static_cast<unsigned>(threads));
    fuse_session_loop_mt(session, config);
    fuse_loop_cfg_destroy(config);
  }
  fuse_session_unmount(session);
  fuse_session_destroy(session);
  return 0;
}

int ServeEchoWithThread(const std::string& path, int ready_fd) {
  threaded = true;
  return ServeEchoWithHop(path, ready_fd);
}

int ServeEchoWithHop(const std::string& path, int ready_fd) {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) return 1;
  if (fork() == 0) {
    close(ready_fd);
    close(ends[0]);
    ServeHop(ends[1]);
  }
  close(ends[1]);
  hop = ends[0];
  if (threaded) std::thread(AnswerFromHop).detach();
  return ServeEcho(path, ready_fd);
}

}  // namespace dxg::bench
