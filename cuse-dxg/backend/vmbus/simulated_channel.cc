#include "cuse-dxg/backend/vmbus/simulated_channel.h"

#include <span>

#include "base/relay.h"

namespace dxg::vmbus {

void SendFailures::Begin(const std::function<void(const Packet&)>* handle) {
  MutexLock lock(mutex_);
  handle_ = handle;
}

void SendFailures::Tell(uint64_t transaction, uint32_t error) {
  MutexLock lock(mutex_);
  if (handle_) (*handle_)({kSendFailed, 0, transaction, std::as_bytes(std::span(&error, 1))});
}

ShownRings::~ShownRings() {
  link::GpadlTeardown teardown;
  teardown.relid = relid;
  teardown.gpadl = gpadl;
  // Nobody waits for its answer: the memory is not used again.
  if (gpadl != 0) (void)socket->Tell(teardown);
  (void)socket->Tell(link::ForgetMemory{.address = address});
}

SimulatedChannel::~SimulatedChannel() {
  link::Close close;
  close.relid = relid_;
  (void)socket_->Tell(close);
}

Status SimulatedChannel::Run(const std::function<void(const Packet&)>& handle) {
  failures_->Begin(&handle);
  Status why = channel_->Run(handle);
  if (!Relay::Lost()) failures_->Begin(nullptr);
  return why;
}

}  // namespace dxg::vmbus
