#pragma once

#include "cuse-dxg/client/access.h"

namespace dxg::client {

// The clients of this machine: memory by process_vm_readv and process_vm_writev, which honour page
// protections (a write through /proc/pid/mem would not), identity from /proc.
class ProcessVm final : public Access {
 public:
  bool Read(pid_t tid, uint64_t address, std::span<std::byte> to) override;
  bool Write(pid_t tid, uint64_t address, std::span<const std::byte> from) override;
  bool ReadPieces(pid_t tid, std::span<const ReadPiece> pieces) override;
  bool WritePieces(pid_t tid, std::span<const WritePiece> pieces) override;
  std::unique_ptr<AddressSpace> Pin(pid_t tid, uint64_t address, uint64_t size, bool writable) override;
  std::optional<Identity> Identify(pid_t tid) override;
  bool InGroup(pid_t tid, pid_t tgid) override;
  uint64_t PidNamespace(pid_t tid) override;
};

}  // namespace dxg::client
