#pragma once

#include <cstdint>

#include "base/status.h"
#include "cuse-dxg/client/access.h"
#include "cuse-dxg/client/address_spaces.h"

namespace dxg::client {

// Of an entry of /proc/PID/pagemap: the page is in memory (Linux, Documentation/admin-guide/mm/pagemap.rst).
inline constexpr uint64_t kPagemapPresent = uint64_t{1} << 63;

// The clients of this machine: memory by process_vm_readv and process_vm_writev, which honour page
// protections (a write through /proc/pid/mem would not), identity from /proc.
class ProcessVm final : public Access {
 public:
  bool Read(pid_t tid, uint64_t address, std::span<std::byte> to) override;
  bool Write(pid_t tid, uint64_t address, std::span<const std::byte> from) override;
  bool ReadPieces(pid_t tid, std::span<const ReadPiece> pieces) override;
  bool WritePieces(pid_t tid, std::span<const WritePiece> pieces) override;
  std::unique_ptr<AddressSpace> Pin(pid_t tid, uint64_t address, uint64_t size, bool writable) override;
  std::unique_ptr<AddressMap> MapOf(pid_t tid) override { return AddressMap::Of(tid); }
  std::optional<Identity> Identify(pid_t tid) override;
  bool InGroup(pid_t tid, pid_t tgid) override;
  uint64_t PidNamespace(pid_t tid) override;
  Result<UniqueFd> OpenFor(pid_t tid, const std::string& path) override;

 private:
  AddressSpaces spaces_;
};

// Whether this process may use the two calls at all, which a seccomp profile may forbid (Docker's before 23).
Status CheckProcessVm();

// As seen from this process; 0: the thread is gone or not visible from here.
pid_t ThreadGroupOf(pid_t tid);

}  // namespace dxg::client
