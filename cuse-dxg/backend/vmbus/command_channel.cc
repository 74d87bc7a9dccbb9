#include "cuse-dxg/backend/vmbus/command_channel.h"

#include <spdlog/spdlog.h>

#include <cerrno>
#include <chrono>
#include <utility>

#include "proto/contract/wire.h"

namespace dxg::vmbus {
namespace {

// How often a full ring is tried again, as by the driver.
constexpr int kTries = 50;
constexpr int kAsynchronousTries = 5000;

Status Lost(const std::string& name) {
  return Status::Refuse(ENODEV, "the {} channel to the host is lost", name);
}

}  // namespace

CommandChannel::CommandChannel(std::string name, std::unique_ptr<Channel> channel, Unasked unasked,
                               std::chrono::microseconds try_again)
    : name_(std::move(name)),
      channel_(std::move(channel)),
      unasked_(std::move(unasked)),
      try_again_(try_again),
      thread_([this] {
        const Status why = channel_->Run([this](const Packet& packet) { Handle(packet); });
        if (!why.ok()) spdlog::warn("the {} channel is lost: {}", name_, why.why());
        channel_->Close();
        FailAll();
      }) {}

CommandChannel::~CommandChannel() { End(); }

void CommandChannel::End() {
  std::call_once(end_, [this] {
    channel_->Close();
    FailAll();
    thread_.join();
    std::thread retrier;
    {
      std::lock_guard lock(sending_);
      retrier = std::move(retrier_);
    }
    if (retrier.joinable()) retrier.join();
  });
}

// -- Sending --------------------------------------------------------------------------------------

Channel::Sent CommandChannel::SendNow(std::span<const std::byte> message, uint64_t transaction) {
  return channel_->Send(
      {kInBand, transaction != 0 ? kCompletionRequested : uint16_t{0}, transaction, message});
}

void CommandChannel::Submit(const HostCall& call, const MessageAddress& address, Completion completion) {
  std::vector<std::byte> message = EncodeRequest(*call.command, address, *call.request);
  if (message.size() > kMessageBytesMax)
    return completion.run(completion.context,
                          Status::Refuse(EINVAL, "{} makes a message of {} bytes; at most {} fit",
                                         call.command->name, message.size(), kMessageBytesMax));
  Channel::Sent sent = Channel::Sent::kLost;
  {
    std::lock_guard lock(sending_);
    const uint64_t transaction = address.asynchronous ? 0 : ++last_transaction_;
    if (!ended_) {
      // The answer may be here before Send returns.
      if (transaction != 0) {
        std::lock_guard entering(mutex_);
        pending_[transaction] = {call, address.interface_version, completion};
      }
      sent = waiting_.empty() ? SendNow(message, transaction) : Channel::Sent::kFull;
      if (sent == Channel::Sent::kFull) {
        waiting_.push_back(
            {std::move(message), transaction, completion, transaction != 0 ? kTries : kAsynchronousTries});
        if (!retrier_.joinable()) retrier_ = std::thread([this] { KeepTrying(); });
        retry_.notify_one();
      }
      Pending dropped;
      // Where the line ended meanwhile somebody else may have said so already.
      if (sent == Channel::Sent::kLost && transaction != 0 && !Take(transaction, &dropped)) return;
    }
  }
  if (sent == Channel::Sent::kLost) return completion.run(completion.context, Lost(name_));
  if (sent == Channel::Sent::kYes && address.asynchronous) completion.run(completion.context, Status::Ok());
}

void CommandChannel::TryWaiting(std::vector<std::pair<Completion, Status>>* done) {
  const auto over = [&](const Waiting& each, Status status) {
    Pending pending;
    if (each.transaction == 0 || Take(each.transaction, &pending))
      done->emplace_back(each.completion, std::move(status));
  };
  while (!waiting_.empty()) {
    const Channel::Sent sent = SendNow(waiting_.front().message, waiting_.front().transaction);
    if (sent == Channel::Sent::kFull) break;
    if (sent == Channel::Sent::kLost) {
      over(waiting_.front(), Lost(name_));
    } else if (waiting_.front().transaction == 0) {
      done->emplace_back(waiting_.front().completion, Status::Ok());
    }
    waiting_.pop_front();
  }
  std::erase_if(waiting_, [&](Waiting& each) {
    if (--each.tries > 0) return false;
    over(each, Status::Refuse(EAGAIN, "the ring to the host stays full"));
    return true;
  });
}

void CommandChannel::KeepTrying() {
  std::unique_lock lock(sending_);
  while (!ended_) {
    retry_.wait(lock, [this] { return ended_ || !waiting_.empty(); });
    if (ended_) return;
    retry_.wait_for(lock, try_again_, [this] { return ended_; });
    std::vector<std::pair<Completion, Status>> done;
    TryWaiting(&done);
    lock.unlock();
    for (auto& [completion, status] : done) completion.run(completion.context, std::move(status));
    lock.lock();
  }
}

Status CommandChannel::Ask(const HostCall& call, const MessageAddress& address,
                           std::chrono::milliseconds answer_max) {
  struct Answer {
    std::mutex mutex;
    std::condition_variable came;
    std::unique_ptr<google::protobuf::Message> request,
        reply;  // ours: the answer may come when nobody waits any more
    std::optional<Status> status;
  };
  auto answer = std::make_shared<Answer>();
  answer->request.reset(call.request->New());
  answer->request->CopyFrom(*call.request);
  answer->reply.reset(call.reply->New());
  HostCall own = call;
  own.request = answer->request.get();
  own.reply = answer->reply.get();
  auto* held = new std::shared_ptr<Answer>(answer);
  Submit(
      own, address,
      {[](void* context, Status transport) {
         const std::unique_ptr<std::shared_ptr<Answer>> mine(static_cast<std::shared_ptr<Answer>*>(context));
         std::lock_guard lock((*mine)->mutex);
         (*mine)->status = std::move(transport);
         (*mine)->came.notify_all();
       },
       held});
  std::unique_lock lock(answer->mutex);
  if (!answer->came.wait_for(lock, answer_max, [&] { return answer->status.has_value(); }))
    return Status::Refuse(ETIMEDOUT, "the host has not answered {} for {} ms", call.command->name,
                          answer_max.count());
  if (answer->status->ok()) call.reply->CopyFrom(*answer->reply);
  return *answer->status;
}

// -- Receiving ------------------------------------------------------------------------------------

bool CommandChannel::Take(uint64_t transaction, Pending* pending) {
  std::lock_guard lock(mutex_);
  const auto found = pending_.find(transaction);
  if (found == pending_.end()) return false;
  *pending = found->second;
  pending_.erase(found);
  return true;
}

void CommandChannel::Handle(const Packet& packet) {
  if (packet.type == kCompletion) return Complete(packet);
  if (packet.type == kSendFailed) return Fail(packet);
  if (packet.type == kInBand && unasked_) return unasked_(packet.payload);
  spdlog::error("{} channel: a packet of type {} with {} bytes, which no host sends here, is dropped", name_,
                packet.type, packet.payload.size());
}

void CommandChannel::Complete(const Packet& packet) {
  Pending pending;
  if (!Take(packet.transaction, &pending)) {
    spdlog::warn("{} channel: an answer to transaction {}, which nobody waits for, is dropped", name_,
                 packet.transaction);
    return;
  }
  const HostCall& call = pending.call;
  Status status = Status::Ok();
  if (call.asynchronous) {
    call.reply->Clear();  // the host answers all the same while asynchronous messages are off
  } else if (!call.command->decode_reply(packet.payload, *call.request, pending.version, call.reply)) {
    status = Status::Refuse(EOVERFLOW, "the host answered {} with {} bytes; expected {}", call.command->name,
                            packet.payload.size(), call.command->reply_size(*call.request, pending.version));
  }
  pending.completion.run(pending.completion.context, std::move(status));
}

void CommandChannel::Fail(const Packet& packet) {
  Pending pending;
  if (packet.payload.size() < sizeof(uint32_t) || !Take(packet.transaction, &pending)) return;
  const auto error = static_cast<int>(contract::wire::Get<4>(packet.payload.data()));
  constexpr int kErrnoMax = 4095;
  pending.completion.run(pending.completion.context,
                         Status::Refuse(error > 0 && error <= kErrnoMax ? error : EIO,
                                        "{} did not get through to the host", pending.call.command->name));
}

void CommandChannel::FailAll() {
  std::vector<Completion> over;
  {
    std::lock_guard lock(sending_);
    ended_ = true;
    retry_.notify_all();
    for (const Waiting& each : waiting_) {
      if (each.transaction == 0) over.push_back(each.completion);
    }
    waiting_.clear();
    std::lock_guard leaving(mutex_);
    for (const auto& each : pending_) over.push_back(each.second.completion);
    pending_.clear();
  }
  for (const Completion& each : over) each.run(each.context, Lost(name_));
}

}  // namespace dxg::vmbus
