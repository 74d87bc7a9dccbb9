#include "cuse-dxg/guest/client_event.h"

#include "cuse-dxg/guest/driver.h"

namespace dxg::guest {

TaskOf<uint64_t> AddClientEvent(Call& call, uint64_t descriptor, EventTable::Lifetime lifetime,
                                Charge charge) {
  client::Delivery* delivery = call.driver.delivery();
  const int number = static_cast<int>(static_cast<uint32_t>(descriptor));
  std::shared_ptr<client::EventFile> file;
  if (delivery != nullptr && number >= 0) {
    file = co_await Callback<std::shared_ptr<client::EventFile>>([&](auto done) {
      delivery->TakeEventFile(call.waiting(), call.process->identity, number, std::move(done));
    });
  }
  if (file == nullptr)
    co_return Status::Refuse(EINVAL, "descriptor {} of the caller is no eventfd that can be held", number);
  co_return call.driver.events().Add(*call.process, std::move(file), lifetime, std::move(charge));
}

}  // namespace dxg::guest
