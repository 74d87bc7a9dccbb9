#pragma once

#include "cuse-dxg/attach/library/session.h"
#include "cuse-dxg/client/process_vm.h"

namespace dxg::attach::library {

// The memory of clients. Where process_vm_readv is forbidden (a container's profile, Yama, a program with
// other rights), or where it says that the memory is not there, the client's thread is asked, which waits in
// its call anyway: its own kernel then says whether an address is good.
class LibraryMemory final : public client::Access {
 public:
  explicit LibraryMemory(LibrarySession& session)
      : session_(session), direct_(client::CheckProcessVm().ok()) {}
  bool Read(pid_t tid, uint64_t address, std::span<std::byte> to) override;
  bool Write(pid_t tid, uint64_t address, std::span<const std::byte> from) override;
  bool ReadPieces(pid_t tid, std::span<const client::ReadPiece> pieces) override;
  bool WritePieces(pid_t tid, std::span<const client::WritePiece> pieces) override;
  std::unique_ptr<client::AddressSpace> Pin(pid_t tid, uint64_t address, uint64_t size,
                                            bool writable) override;
  std::unique_ptr<client::AddressMap> MapOf(pid_t tid) override;
  std::optional<client::Identity> Identify(pid_t tid) override { return processes_.Identify(tid); }
  bool InGroup(pid_t tid, pid_t tgid) override { return processes_.InGroup(tid, tgid); }
  uint64_t PidNamespace(pid_t tid) override { return processes_.PidNamespace(tid); }
  Result<UniqueFd> OpenFor(pid_t tid, const std::string& path) override;

 private:
  // In pieces, by the thread itself. One of the two is empty.
  bool Carry(pid_t tid, uint64_t address, std::span<std::byte> to, std::span<const std::byte> from);

  LibrarySession& session_;
  client::ProcessVm processes_;
  const bool direct_;
};

}  // namespace dxg::attach::library
