#pragma once

#include <map>
#include <set>

#include "base/page.h"
#include "cuse-dxg/client/access.h"
#include "tests/golden/record.h"

namespace dxg::golden {

// The memory of the recorded clients. Each process has an arena that keeps its content from record to record,
// a read-only page, and nothing else. The recorded thread and process numbers identify callers.
class FakeClient final : public client::Access {
 public:
  static constexpr uint64_t kArena = 0x5a5000000000, kArenaEnd = 0x5a5004000000;
  // Memory that is handed to the GPU, with a part that can only be read.
  static constexpr uint64_t kSysmem = 0x5a5200000000, kSysmemEnd = 0x5a5201000000;
  static constexpr uint64_t kSysmemReadOnly = 0x5a5200080000, kSysmemReadOnlyEnd = 0x5a5200082000;
  static constexpr uint64_t kReadOnly = 0x5a5100000000, kReadOnlyEnd = 0x5a5100001000;

  void Put(pid_t tgid, uint64_t address, std::span<const std::byte> bytes);
  Bytes Get(pid_t tgid, uint64_t address, size_t size);  // zeros where nothing was ever put

  void AddThread(pid_t tid, pid_t tgid) { tgid_[tid] = tgid; }
  void set_task_name(std::string name) { task_name_ = std::move(name); }

  bool Read(pid_t tid, uint64_t address, std::span<std::byte> to) override;
  bool Write(pid_t tid, uint64_t address, std::span<const std::byte> from) override;
  bool WritePieces(pid_t tid, std::span<const client::WritePiece> pieces) override;
  std::unique_ptr<client::AddressSpace> Pin(pid_t tid, uint64_t address, uint64_t size,
                                            bool writable) override;
  std::optional<client::Identity> Identify(pid_t tid) override;
  bool InGroup(pid_t tid, pid_t tgid) override { return tgid_.at(tid) == tgid; }
  uint64_t PidNamespace(pid_t) override { return 1; }

 private:
  static constexpr uint64_t kPage = kPageBytes;
  std::map<std::pair<pid_t, uint64_t>, Bytes> pages_;  // by process and page number
  std::map<pid_t, pid_t> tgid_;
  std::string task_name_;
};

}  // namespace dxg::golden
