#include "cuse-dxg/guest/caller.h"

namespace dxg::guest {

Task Caller::Enter() {
  if (visit_ != nullptr) co_return Status::Ok();
  if (delivery_ == nullptr) co_return Status::Refuse(EPERM, "this device has no way to bring memory or descriptors into clients");
  auto entered = co_await Callback<Result<std::unique_ptr<client::Visit>>>([&](auto done) {
    delivery_->Enter(tid(), process_, [this] {
      answered_ = true;
      ioctl_->Answer(0, {});
    }, std::move(done));
  });
  if (!entered.ok()) co_return std::move(entered).status();
  visit_ = *std::move(entered);
  co_return Status::Ok();
}

Task Caller::InClient(std::vector<client::Step> steps, std::vector<uint64_t>* results) {
  DXG_CO_TRY(co_await Enter());
  auto done = co_await Callback<Result<std::vector<uint64_t>>>(
      [&](auto callback) { visit_->Do(std::move(steps), std::move(callback)); });
  if (!done.ok()) co_return std::move(done).status();
  if (results != nullptr) *results = *std::move(done);
  co_return Status::Ok();
}

void Caller::Answer(Status status, std::span<const std::byte> out) {
  if (!answered_) return ioctl_->Answer(status.value(), out);
  if (visit_ == nullptr) return;  // the thread was killed on its way
  // What the kernel was to copy with the answer.
  int32_t result = status.value();
  if (!out.empty() && !access_.Write(tid(), ioctl_->argument(), out)) result = -EFAULT;
  visit_->Leave(result);
}

}  // namespace dxg::guest
