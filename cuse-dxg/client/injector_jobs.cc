#include "cuse-dxg/client/injector_jobs.h"

#include <cstddef>
#include <utility>

#include "base/unix_socket.h"

namespace dxg::client {
namespace {

using injector::Ask;
using injector::Reply;
using injector::Request;
using injector::Tell;

class InjectorVisit final : public Visit {
 public:
  InjectorVisit(std::weak_ptr<VisitServer> server, uint64_t job) : server_(std::move(server)), job_(job) {}
  ~InjectorVisit() override { Leave(-EINTR); }

  void Do(std::vector<Step> steps, Done done) override {
    if (auto server = server_.lock()) return server->Do(job_, std::move(steps), std::move(done));
    done(InjectorEnded());
  }
  bool holds_thread() const override { return true; }
  void Leave(int32_t result) override {
    if (std::exchange(left_, true)) return;
    if (auto server = server_.lock()) server->Leave(job_, result);
  }

 private:
  std::weak_ptr<VisitServer> server_;
  uint64_t job_;
  bool left_ = false;
};

}  // namespace

std::span<const std::byte> BytesOf(const Request& request) {
  return std::as_bytes(std::span(&request, 1))
      .first(offsetof(Request, steps) + request.steps_count * sizeof(injector::WireStep));
}

Status InjectorEnded() {
  return Status::Refuse(EIO, "the injector process of cuse-dxg was killed; the next call starts it anew");
}

// -- Visits ---------------------------------------------------------------------------------------

VisitJob::VisitJob(std::weak_ptr<VisitServer> server, const WaitingThread& thread,
                   std::function<void()> answer, Delivery::Entered entered)
    : Job({.ask = Ask::kBegin, .thread = thread}),
      server_(std::move(server)),
      answer_(std::move(answer)),
      entered_(std::move(entered)) {}

Job::Next VisitJob::Handle(const Reply& reply, std::vector<UniqueFd>, Callbacks* callbacks) {
  if (reply.tell == Tell::kHeld && answer_) callbacks->push_back(std::exchange(answer_, nullptr));
  if (reply.tell == Tell::kStopped && entered_) {
    callbacks->push_back([entered = std::exchange(entered_, nullptr), server = server_, job = id()] {
      entered(std::unique_ptr<Visit>(std::make_unique<InjectorVisit>(server, job)));
    });
  }
  if (reply.tell == Tell::kDid && done_) return HandleDid(reply, callbacks);
  return Next::kWait;
}

Job::Next VisitJob::HandleDid(const Reply& reply, Callbacks* callbacks) {
  token_ = 0;
  if (reply.error) {
    Fail(Status::Refuse(reply.error, "{}", reply.why.data()), callbacks);
    return Next::kWait;
  }
  results_.insert(results_.end(), reply.results.begin(), reply.results.begin() + reply.results_count);
  if (sent_ < steps_.size()) return Next::kSendSteps;
  callbacks->push_back([done = std::exchange(done_, nullptr), results = std::move(results_)]() mutable {
    done(std::move(results));
  });
  return Next::kWait;
}

void VisitJob::Fail(const Status& reason, Callbacks* callbacks) {
  if (entered_)
    callbacks->push_back([entered = std::exchange(entered_, nullptr), reason] { entered(reason); });
  if (done_) callbacks->push_back([done = std::exchange(done_, nullptr), reason] { done(reason); });
}

void VisitJob::BeginDo(std::vector<Step> steps, Visit::Done done) {
  DXG_CHECK(!done_);
  steps_ = std::move(steps);
  sent_ = 0;
  results_.clear();
  done_ = std::move(done);
}

bool VisitJob::SendSteps(int socket) {
  Request request = {.ask = Ask::kDo};
  std::vector<int> files;
  token_ = 0;
  node_was_opened_ = false;
  for (; sent_ < steps_.size() && request.steps_count < request.steps.size(); ++sent_) {
    const Step& step = steps_[sent_];
    if (step.kind == Step::Kind::kGiveNode) {
      if (token_) break;
      token_ = step.token;
    }
    const bool has_file = step.kind == Step::Kind::kMap || step.kind == Step::Kind::kGiveFile;
    request.steps[request.steps_count++] = {.kind = step.kind,
                                            .writable = step.writable,
                                            .has_file = has_file,
                                            .replace = step.replace,
                                            .offset = step.offset,
                                            .size = step.size,
                                            .address = step.address};
    if (has_file) files.push_back(step.file);
  }
  return SendDatagram(socket, BytesOf(request), files).ok();
}

// -- Descriptors ----------------------------------------------------------------------------------

IdentifyJob::IdentifyJob(const WaitingThread& thread, int descriptor,
                         std::function<void(uint64_t)> identified)
    : Job({.ask = Ask::kIdentify, .thread = thread, .number = descriptor}),
      identified_(std::move(identified)) {}

Job::Next IdentifyJob::Handle(const Reply& reply, std::vector<UniqueFd>, Callbacks* callbacks) {
  if (reply.tell != Tell::kIdentified) return Next::kWait;
  callbacks->push_back(
      [identified = std::exchange(identified_, nullptr), file = file_] { identified(file); });
  return Next::kFinish;
}

void IdentifyJob::Fail(const Status&, Callbacks* callbacks) {
  if (identified_)
    callbacks->push_back([identified = std::exchange(identified_, nullptr)] { identified(0); });
}

TakeJob::TakeJob(const WaitingThread& thread, int descriptor,
                 std::function<void(Result<UniqueFd> copy)> taken)
    : Job({.ask = Ask::kTake, .thread = thread, .number = descriptor}), taken_(std::move(taken)) {}

Job::Next TakeJob::Handle(const Reply& reply, std::vector<UniqueFd> files, Callbacks* callbacks) {
  if (reply.tell != Tell::kTaken) return Next::kWait;
  Result<UniqueFd> copy =
      Status::Refuse(ENOMEM, "the daemon can hold no further descriptor; allow it more of them (ulimit -Hn)");
  if (reply.error != 0) copy = Status::Refuse(reply.error, "{}", reply.why.data());
  if (!files.empty()) copy = std::move(files.front());
  // A std::function can be copied, and so must be what it holds.
  callbacks->push_back(
      [taken = std::exchange(taken_, nullptr), copy = std::make_shared<Result<UniqueFd>>(std::move(copy))] {
        taken(std::move(*copy));
      });
  return Next::kFinish;
}

void TakeJob::Fail(const Status& reason, Callbacks* callbacks) {
  if (taken_) callbacks->push_back([taken = std::exchange(taken_, nullptr), reason] { taken(reason); });
}

}  // namespace dxg::client
