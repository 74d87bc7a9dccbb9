#include <algorithm>
#include <utility>

#include "base/printable.h"
#include "cuse-dxg/guest/driver.h"

// What there is to see of processes.

namespace dxg::guest {
namespace {

void Describe(const Process& process, bool by_name, ControlReply::Live::GuestProcess* seen) {
  seen->set_process_id(static_cast<uint64_t>(process.identity.tgid));
  seen->set_started(process.identity.start_time);
  seen->set_user(process.identity.user);
  seen->set_name(Printable(process.identity.name));
  seen->set_host_handle(process.host_handle);
  seen->set_bytes(process.account->used(Charged::kBytes));
  seen->set_objects(process.account->used(Charged::kObjects));
  seen->set_wait_points(process.account->used(Charged::kWaitPoints));
  process.activity.AddTo(seen, by_name);
}

}  // namespace

void Driver::AddTo(const ControlRequest::Live& wanted, ControlReply::Live* live) {
  constexpr size_t kPageMax = 128, kPageBytesMax = 40 * 1024;
  std::vector<std::shared_ptr<Process>> page;
  page.reserve(kPageMax + 1);
  const auto after = static_cast<pid_t>(std::min<uint64_t>(wanted.guest_after(), INT32_MAX));
  {
    MutexLock lock(mutex_);
    for (auto each = processes_.upper_bound(Key{after, UINT64_MAX});
         each != processes_.end() && page.size() <= kPageMax; ++each) {
      if (each->second.state == Entry::State::kLive) page.push_back(each->second.process);
    }
  }
  size_t bytes = 0, listed = 0;
  for (; listed < page.size() && listed < kPageMax; ++listed) {
    const Process& process = *page[listed];
    Describe(process, wanted.calls_of() == static_cast<uint64_t>(process.identity.tgid),
             live->add_guest_processes());
    bytes += live->guest_processes().rbegin()->ByteSizeLong();
    // A page has one at least, or there is no next one.
    if (listed != 0 && bytes > kPageBytesMax) {
      live->mutable_guest_processes()->RemoveLast();
      break;
    }
  }
  if (listed < page.size()) live->set_guest_next(static_cast<uint64_t>(page[listed - 1]->identity.tgid));
}

}  // namespace dxg::guest
