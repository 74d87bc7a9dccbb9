#include "cuse-dxg/backend/vmbus/simulated_channel.h"

#include <span>

namespace dxg::vmbus {

void SendFailures::Begin(const std::function<void(const Packet&)>* handle) {
  MutexLock lock(mutex_);
  handle_ = handle;
}

void SendFailures::Tell(uint64_t transaction, uint32_t error) {
  MutexLock lock(mutex_);
  if (handle_) (*handle_)({kSendFailed, 0, transaction, std::as_bytes(std::span(&error, 1))});
}

void FailureTeller::Start() {
  thread_ = std::thread([this] { Run(); });
}

void FailureTeller::Stop() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
    changed_.NotifyAll();
  }
  if (thread_.joinable()) thread_.join();
}

bool FailureTeller::Put(std::shared_ptr<SendFailures> channel, uint64_t transaction, uint32_t error) {
  MutexLock lock(mutex_);
  if (failed_.size() >= kFailuresMax) return false;
  failed_.push_back({std::move(channel), transaction, error});
  changed_.NotifyAll();
  return true;
}

void FailureTeller::Run() {
  MutexLock lock(mutex_);
  for (;;) {
    while (!stopping_ && failed_.empty()) changed_.Wait(mutex_);
    if (stopping_) return;
    const Failure failure = std::move(failed_.front());
    failed_.pop_front();
    lock.Unlock();
    failure.channel->Tell(failure.transaction, failure.error);
    lock.Lock();
  }
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
  failures_->Begin(nullptr);
  return why;
}

}  // namespace dxg::vmbus
