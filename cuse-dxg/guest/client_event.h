#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <utility>

#include "cuse-dxg/guest/call.h"
#include "cuse-dxg/guest/event_table.h"
#include "cuse-dxg/guest/observer.h"

// Eventfds of clients as events of the host.

namespace dxg::guest {

// An eventfd whose observer is told before it is signalled.
class ObservedEvent final : public client::EventFile {
 public:
  ObservedEvent(CallObserver& observer, const SignalReport& of, std::shared_ptr<client::EventFile> file)
      : observer_(observer), of_(of), file_(std::move(file)) {}
  void SetName(uint32_t object, uint64_t value) { object_ = object, value_ = value; }
  void Signal() override;

 private:
  CallObserver& observer_;  // of the driver, which ends before it
  const SignalReport of_;
  const std::shared_ptr<client::EventFile> file_;
  std::atomic<uint32_t> object_{0};
  std::atomic<uint64_t> value_{0};
};

// Enters an event that signals the eventfd behind a descriptor number of the caller, of which the lower 32
// bits count. EINVAL where it is none, ENOMEM where too many are held (client::EventFiles).
// Who gets it removes it where the host does not come to know of it.
// `charge` is held as long as the event is there.
TaskOf<uint64_t> AddClientEvent(Call& call, uint64_t descriptor, EventTable::Lifetime lifetime,
                                Charge charge = {});

}  // namespace dxg::guest
