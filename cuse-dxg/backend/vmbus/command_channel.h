#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "link/backend.h"
#include "link/pending_calls.h"
#include "link/vmbus/channel.h"
#include "link/vmbus/message.h"
#include "link/vmbus/port.h"

namespace dxg::vmbus {

// A channel with commands on it: what is sent, and which answer is whose.
class CommandChannel {
 public:
  // A message that the host sent unasked, perhaps with padding at its end; on the channel's thread. It is
  // gone once a Relay::Pause has begun.
  using Unasked = std::function<void(std::span<const std::byte> message)>;

  // `name` is for messages. Without `unasked` such messages are an error of the host's and dropped.
  CommandChannel(std::string name, std::unique_ptr<Channel> channel, Unasked unasked,
                 std::chrono::microseconds try_again = Port::kTryAgain);
  ~CommandChannel();  // as End

  // As Backend::Submit. A ring that stays full for as long as the driver would try ends it with EAGAIN.
  void Submit(const HostCall& call, const MessageAddress& address, Completion completion);
  static constexpr std::chrono::seconds kAnswerMax{10};
  // The same from a thread that has nothing else to do: ETIMEDOUT where the host does not answer in that
  // time.
  Status Ask(const HostCall& call, const MessageAddress& address,
             std::chrono::milliseconds answer_max = kAnswerMax);

  // All that is on its way, and all that comes, ends with ENODEV, on the channel's threads. Waits for
  // nothing.
  void Close();
  // Closes, and waits until nothing of it runs. Not from inside of a completion or of Unasked.
  void End();
  // The same, for so long at most. False: a completion is in memory that does not answer.
  bool EndFor(std::chrono::milliseconds time_max);

 private:
  void Handle(const Packet& packet);
  void Complete(const Packet& packet);
  void Fail(const Packet& packet);
  // What became of a message that waited for room.
  void Settle(uint64_t transaction, const Completion& completion, Channel::Sent how);
  void FailAll();
  void Over(const Status& why);

  const std::string name_;
  const Unasked unasked_;
  std::atomic<uint64_t> last_transaction_{0};
  PendingCalls pending_;           // by transaction
  std::atomic<bool> told_{false};  // of its loss
  Port port_;                      // the last member: its thread uses the others
};

}  // namespace dxg::vmbus
