#include "cuse-dxg/client/descriptor_room.h"

#include <algorithm>
#include <cerrno>
#include <map>
#include <utility>

#include "cuse-dxg/client/waiting.h"
#include "cuse-dxg/preload/protocol.h"

namespace dxg::client {
namespace {

constexpr rlim_t kRoom = preload::kDescriptorRoom;

}  // namespace

// Processes are told apart by number only: an entry lasts no longer than the visits to it, and while a
// visitor holds a thread its process's number is not another's.
std::shared_ptr<DescriptorRoom::Process> DescriptorRoom::ProcessOf(pid_t tgid) {
  static Mutex mutex;
  static std::map<pid_t, std::weak_ptr<Process>> processes;
  MutexLock lock(mutex);
  std::erase_if(processes, [](const auto& entry) { return entry.second.expired(); });
  std::weak_ptr<Process>& known = processes[tgid];
  auto process = known.lock();
  if (process == nullptr) known = process = std::make_shared<Process>();
  return process;
}

Status DescriptorRoom::Make() {
  if (made()) return Status::Ok();
  auto process = ProcessOf(tgid_);
  MutexLock lock(process->mutex);
  if (process->visits == 0) {
    process->start_time = StartTimeOf(tgid_, tgid_);
    DXG_ASSIGN(process->before, set_limit_(nullptr));
    DXG_ASSIGN(process->raised, Raise(process->before));
  }
  ++process->visits;
  first_ = static_cast<int>(process->before.rlim_cur);
  process_ = process;
  return Status::Ok();
}

Result<rlimit> DescriptorRoom::Raise(const rlimit& before) {
  rlimit raised = before;
  raised.rlim_cur = std::min(before.rlim_max, before.rlim_cur + kRoom);
  if (raised.rlim_cur == before.rlim_cur) raised.rlim_max = raised.rlim_cur = before.rlim_cur + kRoom;
  const Status set = set_limit_(&raised).status();
  if (set.ok()) return raised;
  if (set.value() == -EINTR) return set;
  return Status::Refuse(
      EMFILE,
      "the client's {} descriptors are all in use, and its hard limit allows no more; three "
      "are needed for a moment: close some, or raise the limit (ulimit -Hn)",
      before.rlim_cur);
}

void DescriptorRoom::GiveBack() {
  if (!made()) return;
  const auto process = std::exchange(process_, nullptr);
  MutexLock lock(process->mutex);
  if (--process->visits != 0) return;
  const auto is_as_raised = [raised = process->raised](const rlimit& now) {
    return now.rlim_cur == raised.rlim_cur && now.rlim_max == raised.rlim_max;
  };
  if (Result<rlimit> now = set_limit_(nullptr); now.ok()) {
    if (is_as_raised(*now)) (void)set_limit_(&process->before);
    return;
  }
  // The thread is gone. Where another one has executed a program, that has the raised limit; it is put back
  // from here, where we may: for another user's process it takes CAP_SYS_RESOURCE.
  rlimit now = {};
  if (StartTimeOf(tgid_, tgid_) == process->start_time && prlimit(tgid_, RLIMIT_NOFILE, nullptr, &now) == 0 &&
      is_as_raised(now))
    (void)prlimit(tgid_, RLIMIT_NOFILE, &process->before, nullptr);
}

}  // namespace dxg::client
