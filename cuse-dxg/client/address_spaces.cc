#include "cuse-dxg/client/address_spaces.h"

#include <elf.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <string>

#include "base/page.h"
#include "cuse-dxg/client/process_vm.h"
#include "cuse-dxg/client/waiting.h"

namespace dxg::client {
namespace {

UniqueFd OpenOf(pid_t tid, const char* file, int flags) {
  return UniqueFd(open(fmt::format("/proc/{}/{}", tid, file).c_str(), flags | O_CLOEXEC));
}

// The entry of that type in pairs of words; 0: there is none.
template <typename Word>
uint64_t FindEntry(const std::array<std::byte, 2048>& vector, size_t bytes, uint64_t type) {
  Word entry[2];
  for (size_t at = 0; at + sizeof(entry) <= bytes; at += sizeof(entry)) {
    std::memcpy(entry, &vector[at], sizeof(entry));
    if (entry[0] == AT_NULL) return 0;
    if (entry[0] == type) return entry[1];
  }
  return 0;
}

// Where the kernel put random bytes when the thread's program began (AT_RANDOM); 0: not known.
uint64_t MarkAddressOf(pid_t tid) {
  const UniqueFd file = OpenOf(tid, "auxv", O_RDONLY);
  std::array<std::byte, 2048> vector{};
  const ssize_t bytes = file.valid() ? read(file.get(), vector.data(), vector.size()) : 0;
  if (bytes <= 0) return 0;
  if (const uint64_t found = FindEntry<uint64_t>(vector, static_cast<size_t>(bytes), AT_RANDOM)) return found;
  return FindEntry<uint32_t>(vector, static_cast<size_t>(bytes), AT_RANDOM);  // a 32-bit program's
}

}  // namespace

bool OpenSpace::Read(uint64_t address, std::span<std::byte> to) const {
  BringIn(address, to.size());
  return pread(memory.get(), to.data(), to.size(), static_cast<off_t>(address)) ==
         static_cast<ssize_t>(to.size());
}

bool OpenSpace::Write(uint64_t address, std::span<const std::byte> from) const {
  BringIn(address, from.size());
  return pwrite(memory.get(), from.data(), from.size(), static_cast<off_t>(address)) ==
         static_cast<ssize_t>(from.size());
}

// Whoever reads /proc/PID/mem holds the lock of the address space until a page is there that is not yet, and
// no signal ends that; process_vm_readv gives the lock back meanwhile, and a kill ends it. But it takes a
// process, and not an address space that is kept. So it only brings such pages in, and a byte that it reads
// is dropped.
void OpenSpace::BringIn(uint64_t address, uint64_t size) const {
  uint64_t at = address;
  for (const uint64_t end = address + size; at < end; at = (at / kPageBytes + 1) * kPageBytes) {
    uint64_t entry = 0;
    // Nothing to read: that address space has ended.
    if (pread(pagemap.get(), &entry, sizeof(entry), static_cast<off_t>(at / kPageBytes * sizeof(entry))) !=
        sizeof(entry))
      return;
    if ((entry & kPagemapPresent) != 0) continue;
    if (!IsOfItsProcess()) return;
    std::byte dropped;
    const iovec here = {&dropped, 1};
    const iovec there = {reinterpret_cast<void*>(at), 1};  // Safety: followed in the client only
    (void)process_vm_readv(tgid, &here, 1, &there, 1, 0);
  }
}

// As the time of its start and the place of its random bytes say, which is where no other program has them.
bool OpenSpace::IsOfItsProcess() const {
  return tgid != 0 && start_time != 0 && StartTimeOf(tgid, tgid) == start_time &&
         MarkAddressOf(tgid) == mark_address;
}

std::optional<OpenSpace::Mark> OpenSpace::MarkAt(uint64_t address) const {
  Mark mark{address, {}};
  return address != 0 && Read(address, mark.bytes) ? std::optional(mark) : std::nullopt;
}

std::shared_ptr<OpenSpace> AddressSpaces::Of(pid_t tid) {
  auto now = std::make_shared<OpenSpace>();
  now->memory = OpenOf(tid, "mem", O_RDWR);
  if (!now->memory.valid()) return nullptr;
  now->pagemap = OpenOf(tid, "pagemap", O_RDONLY);
  now->mark_address = MarkAddressOf(tid);
  now->tgid = ThreadGroupOf(tid);
  now->start_time = now->tgid == 0 ? 0 : StartTimeOf(now->tgid, now->tgid);
  const auto mark = now->MarkAt(now->mark_address);
  const Key key{now->tgid, now->start_time};
  // Reads of a client's memory may take long, so they are not done under the lock, and another thread may
  // have come with the same address space meanwhile.
  for (std::shared_ptr<OpenSpace> known; (known = KeepUnlessOther(key, known, now)) != now;) {
    if (!mark || known->mark_address != mark->address) continue;
    const auto its = known->MarkAt(mark->address);  // none: that address space has ended
    if (its && its->bytes == mark->bytes) return known;
  }
  return now;
}

std::shared_ptr<OpenSpace> AddressSpaces::KeepUnlessOther(const Key& key,
                                                          const std::shared_ptr<OpenSpace>& compared,
                                                          const std::shared_ptr<OpenSpace>& now) {
  MutexLock lock(mutex_);
  if (const auto found = spaces_.find(key); found != spaces_.end()) {
    auto known = found->second.lock();
    if (known != nullptr && known != compared) return known;
  }
  if (spaces_.size() >= sweep_at_) {
    std::erase_if(spaces_, [](const auto& space) { return space.second.expired(); });
    sweep_at_ = 2 * spaces_.size() + 16;
  }
  now->number = ++numbers_;
  spaces_[key] = now;
  return now;
}

}  // namespace dxg::client
