#include "cuse-dxg/guest/client_event.h"

#include "cuse-dxg/guest/driver.h"

namespace dxg::guest {

TaskOf<uint64_t> AddClientEvent(Call& call, uint64_t descriptor, EventTable::Lifetime lifetime,
                                Charge charge) {
  client::Delivery* delivery = call.driver.delivery();
  const int number = static_cast<int>(static_cast<uint32_t>(descriptor));
  if (delivery == nullptr || number < 0) co_return client::NoEventFile(number);
  auto taken = co_await Callback<Result<std::shared_ptr<client::EventFile>>>([&](auto done) {
    delivery->TakeEventFile(call.waiting(), call.process->identity, number, std::move(done));
  });
  DXG_CO_ASSIGN(std::shared_ptr<client::EventFile> file, std::move(taken));
  co_return call.driver.events().Add(*call.process, std::move(file), lifetime, std::move(charge));
}

}  // namespace dxg::guest
