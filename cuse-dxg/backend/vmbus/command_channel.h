#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "link/backend.h"
#include "link/vmbus/channel.h"
#include "link/vmbus/message.h"

namespace dxg::vmbus {

// A channel with commands on it: what is sent, and which answer is whose.
class CommandChannel {
 public:
  // A message that the host sent unasked, without its padding's length known; on the line's thread.
  using Unasked = std::function<void(std::span<const std::byte> message)>;

  // As the driver, which tries a full ring again every 1 to 2 ms.
  static constexpr std::chrono::microseconds kTryAgain{1000};

  // `name` is for messages. Without `unasked` such messages are an error of the host's and dropped.
  CommandChannel(std::string name, std::unique_ptr<Channel> channel, Unasked unasked,
                 std::chrono::microseconds try_again = kTryAgain);
  ~CommandChannel();  // as End

  // As Backend::Submit. A ring that stays full for as long as the driver would try ends it with EAGAIN.
  void Submit(const HostCall& call, const MessageAddress& address, Completion completion);
  static constexpr std::chrono::seconds kAnswerMax{10};
  // The same from a thread that has nothing else to do: ETIMEDOUT where the host does not answer in that
  // time.
  Status Ask(const HostCall& call, const MessageAddress& address,
             std::chrono::milliseconds answer_max = kAnswerMax);

  // Ends all that is on its way, and all that comes, with ENODEV. Not from inside of a completion or of
  // Unasked.
  void End();

 private:
  struct Pending {
    HostCall call;
    uint32_t version;
    Completion completion;
  };
  struct Waiting {  // for room
    std::vector<std::byte> message;
    uint64_t transaction;   // 0: nobody answers it
    Completion completion;  // then
    int tries;
  };

  void Handle(const Packet& packet);
  void Complete(const Packet& packet);
  void Fail(const Packet& packet);
  void KeepTrying();
  // With sending_ held. Appends to `done` those that are over.
  void TryWaiting(std::vector<std::pair<Completion, Status>>* done);
  Channel::Sent SendNow(std::span<const std::byte> message, uint64_t transaction);
  // The completion of a transaction, if it is still waited for.
  bool Take(uint64_t transaction, Pending* pending);
  void FailAll();

  const std::string name_;
  const std::unique_ptr<Channel> channel_;
  const Unasked unasked_;
  const std::chrono::microseconds try_again_;

  std::mutex sending_;  // guards the six below; before mutex_
  uint64_t last_transaction_ = 0;
  std::deque<Waiting> waiting_;
  std::thread retrier_;
  std::condition_variable retry_;
  bool ended_ = false;
  std::once_flag end_;

  std::mutex mutex_;  // guards pending_
  std::unordered_map<uint64_t, Pending> pending_;
  std::thread thread_;  // runs the channel; the last member
};

}  // namespace dxg::vmbus
