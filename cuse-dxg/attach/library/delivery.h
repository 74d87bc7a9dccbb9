#pragma once

#include <atomic>
#include <memory>

#include "cuse-dxg/attach/library/session.h"
#include "cuse-dxg/client/event_file.h"

namespace dxg::attach::library {

// While it exists, an open of the node on this thread is one of those that Step::kGiveNode gives.
class OpensFor {
 public:
  explicit OpensFor(uint64_t token);
  ~OpensFor();
  OpensFor(const OpensFor&) = delete;
  OpensFor& operator=(const OpensFor&) = delete;
};

class LibraryDelivery final : public client::Delivery {
 public:
  explicit LibraryDelivery(LibrarySession& session) : session_(session) {}
  void Stop() override { stopped_ = true; }
  void Enter(const client::Waiting& at, const client::Identity& process, std::function<void()> answer,
             Entered entered) override;
  uint64_t TokenOfOpener(pid_t tid) override;
  void Identify(const client::Waiting& at, const client::Identity& process, int descriptor,
                std::function<void(uint64_t)> done) override;
  // Nobody asks files by an ioctl here.
  bool IsIdentifyCall(pid_t, uint32_t, uint64_t, uint64_t) override { return false; }
  void TakeEventFile(const client::Waiting& at, const client::Identity& process, int descriptor,
                     TookEventFile done) override;

 private:
  LibrarySession& session_;
  std::atomic<bool> stopped_ = false;
  const std::shared_ptr<client::EventFiles> event_files_ = std::make_shared<client::EventFiles>();
};

}  // namespace dxg::attach::library
