#include "cuse-dxg/backend/vmbus/command_channel.h"

#include <spdlog/spdlog.h>

#include <cerrno>
#include <chrono>
#include <new>
#include <utility>

#include "base/patience.h"
#include "base/relay.h"
#include "base/status.h"
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
      unasked_(std::move(unasked)),
      port_(std::move(channel),
            {.handle = [this](const Packet& packet) { Handle(packet); },
             .over = [this](const Status& why) { Over(why); },
             .settled = [this](uint64_t transaction, const Completion& completion,
                               Channel::Sent how) { Settle(transaction, completion, how); }},
            // The guest's own calls, which each give up soon.
            {.try_again = try_again, .kept_bytes_max = SIZE_MAX}) {
  if (port_.started()) return;
  spdlog::warn("the {} channel is lost: no thread can be started for it", name_);
  FailAll();
}

CommandChannel::~CommandChannel() { End(); }

void CommandChannel::Close() {
  pending_.Close();
  port_.Close();
}

// What waits is failed before the thread is waited for, which may run a completion that waits for another.
void CommandChannel::End() {
  FailAll();
  port_.End();
}

bool CommandChannel::EndFor(std::chrono::milliseconds time_max) {
  Close();
  return port_.EndFor(time_max);
}

void CommandChannel::Over(const Status& why) {
  if (!why.ok() && !told_.exchange(true)) spdlog::warn("the {} channel is lost: {}", name_, why.why());
  FailAll();
}

// -- Sending --------------------------------------------------------------------------------------

void CommandChannel::Submit(const HostCall& call, const MessageAddress& address, Completion completion) {
  const std::vector<std::byte> message = EncodeRequest(*call.command, address, *call.request);
  if (message.size() > kMessageBytesMax)
    return completion.run(completion.context,
                          Status::Refuse(EINVAL, "{} makes a message of {} bytes; at most {} fit",
                                         call.command->name, message.size(), kMessageBytesMax));
  Channel::Sent sent = Channel::Sent::kLost;
  if (address.asynchronous) {
    sent = port_.Send({kInBand, 0, 0, message}, kAsynchronousTries, completion);
    if (sent == Channel::Sent::kYes) completion.run(completion.context, Status::Ok());
  } else {
    const uint64_t transaction = ++last_transaction_;
    if (pending_.Enter(transaction, {call, address.interface_version, completion})) {
      try {
        sent = port_.Send({kInBand, kCompletionRequested, transaction, message}, kTries);
      } catch (const std::bad_alloc&) {
        // The caller lets go of what the entry names.
        if (pending_.Take(transaction)) throw;
        return;
      }
      // Where the channel ended meanwhile somebody else may have said so already.
      if (sent == Channel::Sent::kLost && !pending_.Take(transaction)) return;
    }
  }
  if (sent == Channel::Sent::kLost) completion.run(completion.context, Lost(name_));
}

void CommandChannel::Settle(uint64_t transaction, const Completion& completion, Channel::Sent how) {
  Completion whose = completion;
  if (transaction != 0) {
    if (how == Channel::Sent::kYes) return;  // its answer comes
    const auto pending = pending_.Take(transaction);
    if (!pending) return;
    whose = pending->completion;
  }
  if (how == Channel::Sent::kYes) return whose.run(whose.context, Status::Ok());
  whose.run(whose.context, how == Channel::Sent::kLost
                               ? Lost(name_)
                               : Status::Refuse(EAGAIN, "the ring to the host stays full"));
}

Status CommandChannel::Ask(const HostCall& call, const MessageAddress& address,
                           std::chrono::milliseconds answer_max) {
  struct Answer {
    Mutex mutex;
    ConditionVariable came;
    // Ours: the answer may come when nobody waits any more.
    std::unique_ptr<google::protobuf::Message> request, reply;
    std::optional<Status> status DXG_GUARDED_BY(mutex);
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
         Answer& to = **mine;
         MutexLock lock(to.mutex);
         to.status = std::move(transport);
         to.came.NotifyAll();
       },
       held});
  RealPatience patience(answer_max);
  MutexLock lock(answer->mutex);
  while (!answer->status.has_value()) {
    if (patience.IsOver())
      return Status::Refuse(ETIMEDOUT, "the host has not answered {} for {} ms", call.command->name,
                            answer_max.count());
    answer->came.WaitUntil(answer->mutex, patience.next_look());
  }
  if (answer->status->ok()) call.reply->CopyFrom(*answer->reply);
  return *answer->status;
}

// -- Receiving ------------------------------------------------------------------------------------

void CommandChannel::Handle(const Packet& packet) {
  if (packet.type == kCompletion) return Complete(packet);
  if (packet.type == kSendFailed) return Fail(packet);
  if (packet.type == kInBand && unasked_) return unasked_(packet.payload);
  spdlog::error("{} channel: a packet of type {} with {} bytes, which no host sends here, is dropped", name_,
                packet.type, packet.payload.size());
}

void CommandChannel::Complete(const Packet& packet) {
  const auto pending = pending_.Take(packet.transaction);
  if (!pending) {
    spdlog::warn("{} channel: an answer to transaction {}, which nobody waits for, is dropped", name_,
                 packet.transaction);
    return;
  }
  const HostCall& call = pending->call;
  Status status = Status::Ok();
  if (call.asynchronous) {
    call.reply->Clear();  // the host answers all the same while asynchronous messages are off
  } else if (!call.command->decode_reply(packet.payload, *call.request, pending->interface_version,
                                         call.reply)) {
    status = Status::Refuse(EOVERFLOW, "the host answered {} with {} bytes; expected {}", call.command->name,
                            packet.payload.size(),
                            call.command->reply_size(*call.request, pending->interface_version));
  }
  pending->completion.run(pending->completion.context, std::move(status));
}

// On the bus's thread, which everybody needs.
void CommandChannel::Fail(const Packet& packet) {
  if (packet.payload.size() < sizeof(uint32_t) || pending_.closed()) return;
  const auto pending = pending_.Take(packet.transaction);
  if (!pending) return;
  const auto error = static_cast<int>(contract::wire::Get<4>(packet.payload.data()));
  Status status = Status::Refuse(error > 0 && error <= kErrnoMax ? error : EIO,
                                 "{} did not get through to the host", pending->call.command->name);
  port_.Later([completion = pending->completion, status = std::move(status)] {
    completion.run(completion.context, status);
  });
}

// One that is in its client's memory takes this thread along, not the others.
void CommandChannel::FailAll() {
  Close();
  while (!Relay::Lost()) {
    const auto next = pending_.TakeLeft();
    if (!next) return;
    next->completion.run(next->completion.context, Lost(name_));
  }
}

}  // namespace dxg::vmbus
