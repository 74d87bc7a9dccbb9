#pragma once

#include <functional>
#include <map>

#include "cuse-dxg/client/delivery.h"

namespace dxg::golden {

// Brings nothing anywhere, and says that it did: addresses differ from run to run in the records too, and a
// descriptor gets the number that it had there.
class FakeDelivery final : public client::Delivery {
 public:
  // Opens the node for a client, as a thread of ours; returns the file, 0: refused.
  using OpenNode = std::function<uint64_t()>;
  explicit FakeDelivery(OpenNode open) : open_(std::move(open)) {}

  void set_next_descriptor(int number) { next_descriptor_ = number; }
  // The one number that means an eventfd, and how often that was signalled.
  void set_eventfd(int number) { eventfd_ = number; }
  uint64_t signals() const { return signals_; }
  void set_process(pid_t tgid) { tgid_ = tgid; }
  // The descriptors of shared objects, by process and number.
  std::map<std::pair<pid_t, int>, uint64_t>& objects() { return objects_; }
  // One that another process of the recorded machine has.
  uint64_t Object(pid_t tgid, int number) const;
  void Close(pid_t tgid, int number) { closed_.push_back({tgid, number}); }
  std::vector<std::pair<pid_t, int>> TakeClosed() { return std::exchange(closed_, {}); }

  void Enter(const client::Waiting&, const client::Identity& process, std::function<void()> answer,
             Entered entered) override;
  uint64_t TokenOfOpener(pid_t) override { return token_; }
  void Identify(const client::Waiting&, const client::Identity& process, int descriptor,
                std::function<void(uint64_t)> done) override;
  bool IsIdentifyCall(pid_t, uint32_t, uint64_t, uint64_t) override { return false; }
  void TakeEventFile(const client::Waiting&, const client::Identity&, int descriptor,
                     TookEventFile done) override;

  Result<uint64_t> Do(const client::Step& step);

 private:
  OpenNode open_;
  uint64_t token_ = 0, next_address_ = 0x7f0000000000;
  int next_descriptor_ = 3;
  int eventfd_ = -1;
  uint64_t signals_ = 0;
  pid_t tgid_ = 0;
  std::map<std::pair<pid_t, int>, uint64_t> objects_;
  std::vector<std::pair<pid_t, int>> closed_;
};

}  // namespace dxg::golden
