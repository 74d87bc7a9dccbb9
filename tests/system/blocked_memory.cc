// Clients whose memory does not answer: pages of a file system of their own that holds every read.
//
//     dxg-blocked-memory attack NODE MOUNT-POINT THREADS BLOCKED KIND [own-thread] [sync]
//         THREADS calls at once, each with a buffer in such a page. Prints "blocked" when BLOCKED pages are
//         asked for, and ends when the calls have ended: with 0 if none of them succeeded. The file system
//         is a process of its own, which outlives the program; with `own-thread` a thread. With `sync` a
//         page is waited for in a way that no signal ends.
//         KIND: struct (the call's own struct), in (a buffer that is read), out (one that is written), answer
//         (one that is written when the host has answered), share (where what a visit brings goes), flush (a
//         descriptor that is an eventfd one moment and the held file the next: who takes and closes it waits
//         for the file's flush), or what a GPU does (held_work.h says the kinds). The last two end only when
//         they are killed. While a GPU waits, the program maps memory, and prints "goes on" when it has.
//     dxg-blocked-memory calls NODE COUNT
//         Makes calls, and sends as many bytes to a process that sends them back. Says how long both took,
//         and ends with 0 if all succeeded and 99 of 100 calls took no more than 20 ms, and what 99 of 100 of
//         those bytes took: that is the machine's own delay, which is no fault of the node.
//     dxg-blocked-memory work NODE COUNT
//         Has the GPU do so many things one after the other, and ends with 0 if all were done.
#define FUSE_USE_VERSION 312
#include <fcntl.h>
#include <fmt/format.h>
#include <fuse_lowlevel.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <functional>
#include <stdexcept>
#include <string_view>
#include <thread>
#include <vector>

#include "base/page.h"
#include "proto/abi/d3dkmthk.h"
#include "tests/conformance/allocation_data.h"
#include "tests/system/held_work.h"

namespace {

constexpr size_t kPage = dxg::kPageBytes;
constexpr size_t kFilePages = 4096;

[[noreturn]] void Fail(std::string_view what) {
  fmt::print(stderr, "dxg-blocked-memory: {}: {}\n", what, std::strerror(errno));
  std::exit(1);
}

// -- The file system: a root that is one file ------------------------------------------------------

bool sync_reads = false;
int told = -1;  // gets a byte for each page that is asked for, and each flush that is held
// So many pages are to be asked for before the file system says "blocked" in the client's place, which may be
// stuck by then: what a process maps waits while a host in another process waits for one of its pages.
int reads_to_say = 0;
bool holds_flushes = false;
pid_t client_pid = 0;

void Init(void*, fuse_conn_info* connection) {
  connection->max_readahead = 0;
  if (sync_reads) connection->want &= ~FUSE_CAP_ASYNC_READ;
}

void GetAttributes(fuse_req_t request, fuse_ino_t, fuse_file_info*) {
  struct stat attributes = {};
  attributes.st_ino = FUSE_ROOT_ID;
  attributes.st_mode = S_IFREG | 0666;
  attributes.st_nlink = 1;
  attributes.st_size = kFilePages * kPage;
  fuse_reply_attr(request, &attributes, 3600);
}

void HoldRead(fuse_req_t, fuse_ino_t, size_t, off_t, fuse_file_info*) {
  if (reads_to_say > 0 && --reads_to_say == 0 && write(STDOUT_FILENO, "blocked\n", 8) != 8)
    Fail("cannot say that it is blocked");
  if (write(told, "r", 1) != 1) Fail("cannot tell of a read");
}

// Of a descriptor that somebody else closes. The client itself is not held up.
void HoldFlush(fuse_req_t request, fuse_ino_t, fuse_file_info*) {
  if (!holds_flushes || syscall(SYS_tgkill, client_pid, fuse_req_ctx(request)->pid, 0) == 0) {
    fuse_reply_err(request, 0);
  } else if (write(told, "f", 1) != 1) {
    Fail("cannot tell of a flush");
  }
}

constexpr fuse_lowlevel_ops kOperations = {
    .init = Init,
    .getattr = GetAttributes,
    .open = [](fuse_req_t request, fuse_ino_t, fuse_file_info* file) { fuse_reply_open(request, file); },
    .read = HoldRead,
    .flush = HoldFlush,
};

void ServePages(const char* mount_point, int ready) {
  char name[] = "held", flag[] = "-o", options[] = "allow_other,fsname=held", own_options[] = "fsname=held";
  // Users may not let others in, and need not: the node reaches the memory, not the file.
  char* arguments[] = {name, flag, geteuid() == 0 ? options : own_options, nullptr};
  fuse_args args = FUSE_ARGS_INIT(3, arguments);
  fuse_session* session = fuse_session_new(&args, &kOperations, sizeof(kOperations), nullptr);
  if (session == nullptr || fuse_session_mount(session, mount_point) != 0) Fail("cannot mount");
  if (write(ready, "m", 1) != 1) Fail("cannot say that it is mounted");
  fuse_session_loop(session);
}

// -- Clients ---------------------------------------------------------------------------------------

d3dkmthandle FirstAdapter(int node) {
  d3dkmt_adapterinfo adapters[16] = {};
  d3dkmt_enumadapters2 list = {};
  list.num_adapters = std::size(adapters);
  list.adapters = reinterpret_cast<uint64_t>(adapters);
  if (ioctl(node, LX_DXENUMADAPTERS2, &list) != 0 || list.num_adapters == 0) Fail("no adapter");
  return adapters[0].adapter_handle;
}

d3dkmthandle CreateDevice(int node, d3dkmthandle adapter) {
  d3dkmt_createdevice device = {};
  device.adapter = adapter;
  if (ioctl(node, LX_DXCREATEDEVICE, &device) != 0) Fail("no device");
  return device.device;
}

// An allocation, and a page for what the host says of it.
int Ask(int node, d3dkmthandle adapter, std::byte* page) {
  dxg::conformance::AllocationData data{.bytes = kPage};
  d3dddi_allocationinfo2 info = {};
  info.priv_drv_data = reinterpret_cast<uint64_t>(&data);
  info.priv_drv_data_size = sizeof(data);
  d3dkmt_createallocation create = {};
  create.device = CreateDevice(node, adapter);
  create.alloc_count = 1;
  create.allocation_info = reinterpret_cast<uint64_t>(&info);
  if (ioctl(node, LX_DXCREATEALLOCATION, &create) < 0) Fail("no allocation");
  d3dkmt_getallocationpriority ask = {};
  ask.device = create.device;
  ask.allocation_list = reinterpret_cast<uint64_t>(&info.allocation);
  ask.allocation_count = 1;
  ask.priorities = reinterpret_cast<uint64_t>(page);
  return ioctl(node, LX_DXGETALLOCATIONPRIORITY, &ask);
}

d3dkmthandle CreateFence(int node, d3dkmthandle device) {
  d3dkmt_createsynchronizationobject2 fence = {};
  fence.device = device;
  fence.info.type = _D3DDDI_MONITORED_FENCE;
  fence.info.flags.shared = 1;
  fence.info.flags.nt_security_sharing = 1;
  if (ioctl(node, LX_DXCREATESYNCHRONIZATIONOBJECT, &fence) != 0) Fail("no fence");
  return fence.sync_object;
}

// A fence to be shared, and a page for its descriptor.
int Share(int node, d3dkmthandle adapter, std::byte* page) {
  const d3dkmthandle fence = CreateFence(node, CreateDevice(node, adapter));
  d3dkmt_shareobjects share = {};
  share.object_count = 1;
  share.objects = reinterpret_cast<uint64_t>(&fence);
  share.shared_handle = reinterpret_cast<uint64_t>(page);
  return ioctl(node, LX_DXSHAREOBJECTS, &share);
}

// Calls that take a descriptor, while a thread puts now an eventfd and now the held file under its number.
void BeginFlushes(int node, d3dkmthandle adapter, int held, int threads) {
  const int event = eventfd(0, EFD_CLOEXEC), number = dup(event);
  if (event < 0 || number < 0) Fail("no eventfd");
  std::thread([=] {
    for (;;) {
      dup2(held, number);
      dup2(event, number);
    }
  }).detach();
  const d3dkmthandle device = CreateDevice(node, adapter);
  const d3dkmthandle fence = CreateFence(node, device);
  for (int i = 0; i < threads; ++i) {
    std::thread([=] {
      for (;;) {
        const uint64_t reached = 0;
        d3dkmt_waitforsynchronizationobjectfromcpu wait = {};
        wait.device = device;
        wait.object_count = 1;
        wait.objects = reinterpret_cast<uint64_t>(&fence);
        wait.fence_values = reinterpret_cast<uint64_t>(&reached);
        wait.async_event = static_cast<uint64_t>(number);
        ioctl(node, LX_DXWAITFORSYNCHRONIZATIONOBJECTFROMCPU, &wait);
      }
    }).detach();
  }
}

int Touch(int node, d3dkmthandle adapter, std::string_view kind, std::byte* page) {
  if (kind == "struct") return ioctl(node, LX_DXQUERYADAPTERINFO, page);
  if (kind == "share") return Share(node, adapter, page);
  if (kind == "answer") return Ask(node, adapter, page);
  if (kind == "in") {
    d3dkmt_queryadapterinfo query = {};
    query.adapter = adapter;
    query.type = _KMTQAITYPE_ADAPTERTYPE;
    query.private_data = reinterpret_cast<uint64_t>(page);
    query.private_data_size = sizeof(d3dkmt_adaptertype);
    return ioctl(node, LX_DXQUERYADAPTERINFO, &query);
  }
  d3dkmt_enumadapters2 list = {};
  list.num_adapters = 16;
  list.adapters = reinterpret_cast<uint64_t>(page);
  return ioctl(node, LX_DXENUMADAPTERS2, &list);
}

int Attack(int argc, char** argv) {
  const char* const path = argv[2];
  const char* const mount_point = argv[3];
  const int threads = std::atoi(argv[4]), blocked = std::atoi(argv[5]);
  const std::string_view kind = argv[6];
  bool own_thread = false;
  for (int i = 7; i < argc; ++i) {
    own_thread |= std::string_view(argv[i]) == "own-thread";
    sync_reads |= std::string_view(argv[i]) == "sync";
  }
  int tell[2];
  if (pipe2(tell, O_CLOEXEC) != 0) Fail("pipe");
  told = tell[1];
  holds_flushes = kind == "flush";
  if (dxg::held::IsWork(kind)) reads_to_say = blocked;
  client_pid = getpid();
  if (own_thread) {
    std::thread([=] { ServePages(mount_point, tell[1]); }).detach();
  } else if (fork() == 0) {
    setsid();
    ServePages(mount_point, tell[1]);
    _exit(0);
  }
  char byte;
  if (read(tell[0], &byte, 1) != 1) Fail("the file system did not come up");
  const int file = open(mount_point, O_RDWR | O_CLOEXEC);
  struct stat attributes;  // until it is asked for, the kernel thinks that the root is empty
  if (file < 0 || fstat(file, &attributes) != 0 || attributes.st_size == 0)
    Fail("the held file has no pages");
  void* const pages = mmap(nullptr, kFilePages * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0);
  if (pages == MAP_FAILED) Fail("cannot map the held file");
  // By the last thread of a process that is its own file system, that would wait for ever.
  if (!holds_flushes) close(file);
  const int node = open(path, O_RDWR | O_CLOEXEC);
  if (node < 0) Fail("cannot open the node");
  const d3dkmthandle adapter = FirstAdapter(node);

  const auto page = [pages](int i) { return static_cast<std::byte*>(pages) + i * 8 * kPage; };
  const auto wait_until_blocked = [&] {
    for (int i = 0; i < blocked; ++i) {
      if (read(tell[0], &byte, 1) != 1) Fail("the file system ended");
    }
  };
  const auto say = [](const char* what) {
    fmt::print("{}\n", what);
    std::fflush(stdout);
  };
  if (holds_flushes) {
    BeginFlushes(node, adapter, file, threads);
    wait_until_blocked();
    say("blocked");
    for (;;) pause();
  }
  if (dxg::held::IsWork(kind)) {
    std::vector<std::function<void()>> work;
    for (int i = 0; i < threads; ++i) work.push_back(dxg::held::PrepareWork(path, kind, page(i)));
    for (const auto& queue : work) queue();
    wait_until_blocked();
    if (mmap(nullptr, kPage, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED) Fail("mmap");
    say("goes on");
    for (;;) pause();
  }

  std::atomic<int> succeeded = 0;
  std::vector<std::thread> calls;
  for (int i = 0; i < threads; ++i) {
    calls.emplace_back([&, i] {
      if (Touch(node, adapter, kind, page(i)) >= 0) ++succeeded;
    });
  }
  wait_until_blocked();
  say("blocked");
  for (std::thread& call : calls) call.join();
  if (succeeded != 0) Fail("a call succeeded");
  say("ended");
  _exit(0);  // the file system's thread does not end
}

// How long something takes, often.
class Times {
 public:
  template <class What>
  void Add(What what) {
    const auto begun = std::chrono::steady_clock::now();
    what();
    took_us_.push_back(
        std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - begun).count());
  }
  // Of 100 of them, so many took no more.
  double Percentile(size_t percent) {
    std::sort(took_us_.begin(), took_us_.end());
    return took_us_[std::min(took_us_.size() - 1, took_us_.size() * percent / 100)];
  }
  void Print(std::string_view name) {
    fmt::print("{} {}: median {:.0f} us, p99 {:.0f} us, worst {:.0f} us\n", took_us_.size(), name,
               Percentile(50), Percentile(99), Percentile(100));
  }

 private:
  std::vector<double> took_us_;
};

// A process that sends each byte back, until the other end is closed.
int StartEcho() {
  std::array<int, 2> ends;
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0) Fail("socketpair");
  const pid_t child = fork();
  if (child < 0) Fail("fork");
  if (child == 0) {
    close(ends[0]);
    for (char byte; read(ends[1], &byte, 1) == 1 && write(ends[1], &byte, 1) == 1;) {
    }
    _exit(0);
  }
  close(ends[1]);
  return ends[0];
}

int Calls(char** argv) {
  constexpr double kLateMax_us = 20'000;
  const int echo = StartEcho();
  const int node = open(argv[2], O_RDWR | O_CLOEXEC);
  if (node < 0) Fail("cannot open the node");
  const d3dkmthandle adapter = FirstAdapter(node);
  Times calls, echoes;
  for (int i = 0; i < std::atoi(argv[3]); ++i) {
    d3dkmt_adaptertype type = {};
    calls.Add([&] {
      if (Touch(node, adapter, "in", reinterpret_cast<std::byte*>(&type)) != 0) Fail("a call failed");
    });
    echoes.Add([&] {
      char byte = 1;
      if (write(echo, &byte, 1) != 1 || read(echo, &byte, 1) != 1) Fail("no echo");
    });
  }
  calls.Print("calls");
  echoes.Print("echoes");
  if (calls.Percentile(99) <= kLateMax_us + echoes.Percentile(99)) return 0;
  fmt::print(stderr, "dxg-blocked-memory: one call of 100 took more than {:.0f} us longer than an echo\n",
             kLateMax_us);
  return 1;
}

int Run(int argc, char** argv) {
  const std::string_view what = argc > 1 ? argv[1] : "";
  if (what == "attack" && argc >= 7) return Attack(argc, argv);
  if (what == "calls" && argc == 4) return Calls(argv);
  if (what == "work" && argc == 4) return dxg::held::WorkBeside(argv[2], std::atoi(argv[3])), 0;
  fmt::print(stderr, "usage: see the head of blocked_memory.cc\n");
  return 2;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return Run(argc, argv);
  } catch (const std::runtime_error& error) {
    fmt::print(stderr, "dxg-blocked-memory: {}\n", error.what());
    return 1;
  }
}
