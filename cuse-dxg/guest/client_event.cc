#include "cuse-dxg/guest/client_event.h"

#include <new>

#include "cuse-dxg/guest/driver.h"

namespace dxg::guest {

// Where there is no memory to tell of it, it happens all the same.
void ObservedEvent::Signal() {
  SignalReport report = of_;
  report.object = object_;
  report.value = value_;
  report.at_ns = Census::NowNs();
  try {
    observer_.OnSignal(report);
  } catch (const std::bad_alloc&) {
  }
  file_->Signal();
}

TaskOf<uint64_t> AddClientEvent(Call& call, uint64_t descriptor, EventTable::Lifetime lifetime,
                                Charge charge) {
  client::Delivery* delivery = call.driver.delivery();
  const int number = static_cast<int>(static_cast<uint32_t>(descriptor));
  if (delivery == nullptr || number < 0) co_return client::NoEventFile(number);
  auto taken = co_await Callback<Result<std::shared_ptr<client::EventFile>>>([&](auto done) {
    delivery->TakeEventFile(call.waiting(), call.process->identity, number, std::move(done));
  });
  DXG_CO_ASSIGN(std::shared_ptr<client::EventFile> file, std::move(taken));
  if (CallObserver* const observer = call.driver.observer()) {
    const SignalReport of{.pid = call.process->identity.tgid,
                          .process = call.process->host_handle,
                          .fd = number,
                          .object = 0,
                          .value = 0};
    file = std::make_shared<ObservedEvent>(*observer, of, std::move(file));
  }
  co_return call.driver.events().Add(*call.process, std::move(file), lifetime, std::move(charge));
}

}  // namespace dxg::guest
