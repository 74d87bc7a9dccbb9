#include "cuse-dxg/client/process_vm.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>
#include <vector>

#include "base/container.h"
#include "base/proc_status.h"
#include "cuse-dxg/client/credentials.h"
#include "cuse-dxg/client/waiting.h"

namespace dxg::client {
namespace {

iovec Remote(uint64_t address, size_t size) {
  // Safety: never followed here, only by the kernel in the client.
  return {reinterpret_cast<void*>(address), size};
}

// Copies all of them, as many at once as one system call takes. False: one of them could not be.
template <class Each>
bool CopyAll(std::span<const Each> all, auto bytes_of, auto copy) {
  while (!all.empty()) {
    iovec local[kPiecesAtOnce], remote[kPiecesAtOnce];
    const size_t count = std::min(all.size(), kPiecesAtOnce);
    ssize_t bytes = 0;
    for (size_t i = 0; i < count; ++i) {
      const auto here = bytes_of(all[i]);
      local[i] = {const_cast<std::byte*>(here.data()), here.size()};  // Safety: of a write only read from
      remote[i] = Remote(all[i].address, here.size());
      bytes += static_cast<ssize_t>(here.size());
    }
    if (copy(local, remote, count) != bytes) return false;
    all = all.subspan(count);
  }
  return true;
}

std::string Slurp(const std::string& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

pid_t ThreadGroupIn(const ProcStatus& status) {
  const std::vector<uint64_t> numbers = status.Numbers("Tgid");
  return numbers.empty() ? 0 : static_cast<pid_t>(numbers.front());
}

}  // namespace

// Its own memory, for which no right is needed.
Status CheckProcessVm() {
  uint64_t word = 1, copy = 0;
  iovec here = {&copy, sizeof(copy)}, there = {&word, sizeof(word)};
  if (process_vm_readv(getpid(), &here, 1, &there, 1, 0) == sizeof(copy) &&
      process_vm_writev(getpid(), &here, 1, &there, 1, 0) == sizeof(copy))
    return Status::Ok();
  const int error = errno;
  return Status::Refuse(error,
                        "process_vm_readv is forbidden here ({}), and without it no client's memory can be "
                        "reached: {}",
                        std::strerror(error),
                        InContainer()
                            ? "start the container with --cap-add SYS_PTRACE, or with --security-opt "
                              "seccomp=unconfined"
                            : "a seccomp filter or the kernel's configuration forbids it");
}

bool ProcessVm::Read(pid_t tid, uint64_t address, std::span<std::byte> to) {
  const iovec local{to.data(), to.size()};
  const iovec remote = Remote(address, to.size());
  return process_vm_readv(tid, &local, 1, &remote, 1, 0) == static_cast<ssize_t>(to.size());
}

bool ProcessVm::Write(pid_t tid, uint64_t address, std::span<const std::byte> from) {
  const iovec local{const_cast<std::byte*>(from.data()), from.size()};  // Safety: only read from
  const iovec remote = Remote(address, from.size());
  return process_vm_writev(tid, &local, 1, &remote, 1, 0) == static_cast<ssize_t>(from.size());
}

bool ProcessVm::ReadPieces(pid_t tid, std::span<const ReadPiece> pieces) {
  return CopyAll(
      pieces, [](const ReadPiece& piece) { return piece.to; },
      [tid](const iovec* local, const iovec* remote, size_t count) {
        return process_vm_readv(tid, local, count, remote, count, 0);
      });
}

bool ProcessVm::WritePieces(pid_t tid, std::span<const WritePiece> pieces) {
  return CopyAll(
      pieces, [](const WritePiece& piece) { return piece.from; },
      [tid](const iovec* local, const iovec* remote, size_t count) {
        return process_vm_writev(tid, local, count, remote, count, 0);
      });
}

std::optional<Identity> ProcessVm::Identify(pid_t tid) {
  const ProcStatus status(tid);
  Identity identity;
  identity.tgid = ThreadGroupIn(status);
  if (identity.tgid == 0) return std::nullopt;
  // In each pid namespace that it is in, its own at last.
  const std::vector<uint64_t> numbers = status.Numbers("NSpid");
  identity.own_pid = numbers.empty() ? tid : static_cast<pid_t>(numbers.back());
  identity.pid_namespace = PidNamespace(tid);
  identity.namespace_owner = NamespaceOwnerOf(tid);
  identity.name = Slurp(fmt::format("/proc/{}/comm", tid));
  if (!identity.name.empty() && identity.name.back() == '\n') identity.name.pop_back();
  identity.start_time = StartTimeOf(identity.tgid, identity.tgid);
  if (identity.start_time == 0) return std::nullopt;
  return identity;
}

bool ProcessVm::InGroup(pid_t tid, pid_t tgid) {
  // A thread's number is given to another only when all numbers have been used in between, tens of thousands
  // at the least. That takes longer than a tick, so within one the last answer still holds: of calls that
  // follow each other at once only the first costs a system call.
  struct Seen {
    pid_t tid, tgid;
    timespec tick;
  };
  thread_local Seen seen{};
  timespec tick{};
  clock_gettime(CLOCK_MONOTONIC_COARSE, &tick);
  if (seen.tid == tid && seen.tgid == tgid && seen.tick.tv_nsec == tick.tv_nsec &&
      seen.tick.tv_sec == tick.tv_sec)
    return true;
  // Signal 0 is never delivered; ESRCH says that the thread is not of that group. The thread waits in our
  // call, so its number cannot have been given to another one.
  if (syscall(SYS_tgkill, tgid, tid, 0) != 0 && errno != EPERM) return false;
  seen = {tid, tgid, tick};
  return true;
}

pid_t ThreadGroupOf(pid_t tid) { return ThreadGroupIn(ProcStatus(tid)); }

uint64_t ProcessVm::PidNamespace(pid_t tid) {
  struct stat info {};
  if (stat(fmt::format("/proc/{}/ns/pid", tid).c_str(), &info) != 0) return 0;
  return info.st_ino;
}

Result<UniqueFd> ProcessVm::OpenFor(pid_t tid, const std::string& path) { return client::OpenFor(tid, path); }

}  // namespace dxg::client
