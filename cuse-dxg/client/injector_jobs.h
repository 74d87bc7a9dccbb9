#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "base/status.h"
#include "base/unique_fd.h"
#include "cuse-dxg/client/delivery.h"
#include "cuse-dxg/client/injector_protocol.h"

// What a worker of the injector process is asked to do. A job begins with one request and lives until its
// worker has said the last word on it, or until the process ends. The injector's lock guards jobs; the
// callbacks that they collect are run without it.

namespace dxg::client {

using Callbacks = std::vector<std::function<void()>>;

class VisitJob;

class Job {
 public:
  // What a job wants after an answer of its worker.
  enum class Next { kWait, kSendSteps, kFinish };

  explicit Job(const injector::Request& begin) : begin(begin) {}
  virtual ~Job() = default;
  Job(const Job&) = delete;
  Job& operator=(const Job&) = delete;

  virtual Next Handle(const injector::Reply& reply, std::vector<UniqueFd> files, Callbacks* callbacks) = 0;
  // Whoever waits for the job, and has not been answered yet, is answered with that reason.
  virtual void Fail(const Status& reason, Callbacks* callbacks) = 0;
  // The worker's identify call has reached the node, on that file.
  virtual void IdentifyCallCame(uint64_t /*file*/) {}
  virtual VisitJob* AsVisit() { return nullptr; }

  uint64_t id() const { return begin.job; }

  injector::Request begin;
};

// Whom a Visit asks: by the number of its job, because it may outlive that.
class VisitServer {
 public:
  virtual ~VisitServer() = default;
  virtual void Do(uint64_t job, std::vector<Step> steps, Visit::Done done) = 0;
  virtual void Leave(uint64_t job, int32_t result) = 0;
};

// Delivery::Enter, and all steps of the Visit that it gives.
class VisitJob final : public Job {
 public:
  VisitJob(std::weak_ptr<VisitServer> server, const WaitingThread& thread, std::function<void()> answer,
           Delivery::Entered entered);

  Next Handle(const injector::Reply& reply, std::vector<UniqueFd> files, Callbacks* callbacks) override;
  void Fail(const Status& reason, Callbacks* callbacks) override;
  VisitJob* AsVisit() override { return this; }

  // One Do at a time.
  void BeginDo(std::vector<Step> steps, Visit::Done done);
  // A Do that could not be sent: its `done` goes back to whoever asked.
  Visit::Done TakeBack() { return std::exchange(done_, nullptr); }
  // Sends as many steps as one message takes; no steps are sent too, because the answer says that the client
  // is still there. False: the injector process has ended.
  bool SendSteps(int socket);
  // The worker opens a node now, and it is ours. The token of the kGiveNode that was sent last; 0: none is
  // under way.
  uint64_t TokenOfOpen() {
    node_was_opened_ = token_ != 0;
    return token_;
  }
  // Since the steps were sent that are under way.
  bool node_was_opened() const { return node_was_opened_; }

 private:
  Next HandleDid(const injector::Reply& reply, Callbacks* callbacks);

  const std::weak_ptr<VisitServer> server_;
  std::function<void()> answer_;  // these two are null once they have run
  Delivery::Entered entered_;

  // The Do under way. It is sent in parts: a message has limits, and with one kGiveNode in each it is clear
  // whose open comes.
  std::vector<Step> steps_;
  size_t sent_ = 0;
  std::vector<uint64_t> results_;
  Visit::Done done_;
  uint64_t token_ = 0;
  bool node_was_opened_ = false;
};

// Delivery::Identify.
class IdentifyJob final : public Job {
 public:
  IdentifyJob(const WaitingThread& thread, int descriptor, std::function<void(uint64_t)> identified);

  Next Handle(const injector::Reply& reply, std::vector<UniqueFd> files, Callbacks* callbacks) override;
  void Fail(const Status& reason, Callbacks* callbacks) override;
  void IdentifyCallCame(uint64_t file) override { file_ = file; }

 private:
  std::function<void(uint64_t)> identified_;
  uint64_t file_ = 0;
};

// Delivery::TakeEventFile, as far as the copy of the descriptor.
class TakeJob final : public Job {
 public:
  TakeJob(const WaitingThread& thread, int descriptor, std::function<void(Result<UniqueFd> copy)> taken);

  Next Handle(const injector::Reply& reply, std::vector<UniqueFd> files, Callbacks* callbacks) override;
  void Fail(const Status& reason, Callbacks* callbacks) override;

 private:
  std::function<void(Result<UniqueFd> copy)> taken_;
};

// The bytes of a request that are sent.
std::span<const std::byte> BytesOf(const injector::Request& request);

// Why jobs end with the injector process.
Status InjectorEnded();

}  // namespace dxg::client
