#include "tests/client/delivery_device.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "base/unique_fd.h"
#include "cuse-dxg/client/agents.h"
#include "cuse-dxg/client/event_file.h"
#include "cuse-dxg/client/process_vm.h"
#include "cuse-dxg/dxg_node.h"
#include "proto/dxg/control.pb.h"

namespace dxg {
namespace {

using attach::IoctlRequest;
using attach::OpenRequest;
using client::Step;
namespace delivery = client::delivery;

class DeliveryDevice final : public attach::Node {
 public:
  Status Start(const NodeOptions& options) {
    memory_ = UniqueFd(memfd_create("delivery", MFD_CLOEXEC));
    if (!memory_.valid() || ftruncate(memory_.get(), delivery::kMemoryBytes) != 0)
      return Status::Refuse(errno, "no memory file");
    bytes_ = static_cast<std::byte*>(
        mmap(nullptr, delivery::kMemoryBytes, PROT_READ | PROT_WRITE, MAP_SHARED, memory_.get(), 0));
    DXG_ASSIGN(delivery_, client::StartDelivery(UniqueFd(options.agents), options.injector));
    return Status::Ok();
  }

  void Open(std::unique_ptr<OpenRequest> request) override {
    const uint64_t token = delivery_->TokenOfOpener(request->caller().tid);
    uint64_t file;
    {
      std::lock_guard lock(mutex_);
      file = ++last_file_;
      tokens_[file] = token;
    }
    request->Accept(file);
  }

  void Release(uint64_t file) override {
    std::lock_guard lock(mutex_);
    tokens_.erase(file);
  }

  void Ioctl(std::unique_ptr<IoctlRequest> request) override {
    if (delivery_->IsIdentifyCall(request->caller().tid, request->code(), request->argument(),
                                  request->file()))
      return request->Answer(0, {});
    switch (request->code()) {
      case delivery::kVisit:
        return StartVisit(std::move(request));
      case delivery::kHeld:
        return request->Answer(HeldCount(), {});
      case delivery::kGoOn:
        return request->Answer(GoOn(static_cast<delivery::Hold>(request->argument())), {});
      case delivery::kEnded:
        return request->Answer(ended_.load(), {});
      case delivery::kIdentify:
        return Identify(std::move(request));
      case delivery::kTake:
        return Take(std::move(request));
      case delivery::kSignal:
        return request->Answer(SignalKept(std::max<uint64_t>(1, request->argument())), {});
      case delivery::kDrop:
        return request->Answer(DropKept(), {});
      case delivery::kPeek:
        return request->Answer(static_cast<int32_t>(bytes_[request->argument() % delivery::kMemoryBytes]),
                               {});
      case delivery::kNodesOpen:
        return request->Answer(NodesOpen(), {});
      case delivery::kServerPid:
        return request->Answer(getpid(), {});
      case delivery::kNothing:
        return request->Answer(0, {});
      case delivery::kServerFiles:
        return request->Answer(FilesOpen(), {});
      default:
        return request->Answer(-ENOTTY, {});
    }
  }

 private:
  // One visit, from the call to its end. Shared by the callbacks.
  struct Call {
    std::unique_ptr<IoctlRequest> request;
    pid_t tid = 0;
    uint64_t argument = 0;
    delivery::Visit wanted = {};
    std::unique_ptr<client::Visit> visit;
    uint32_t rounds_left = 0;
  };
  using CallPtr = std::shared_ptr<Call>;

  static client::Waiting WaitingOf(const IoctlRequest& request) {
    return {request.caller().tid, request.code(), request.argument()};
  }

  void StartVisit(std::unique_ptr<IoctlRequest> request) {
    auto call = std::make_shared<Call>();
    call->tid = request->caller().tid;
    call->argument = request->argument();
    const client::Waiting at = WaitingOf(*request);
    if (!clients_.Read(call->tid, call->argument, std::as_writable_bytes(std::span(&call->wanted, 1))))
      return request->Answer(-EFAULT, {});
    const auto identity = clients_.Identify(call->tid);
    if (!identity) return request->Answer(-ESRCH, {});
    call->request = std::move(request);
    call->rounds_left = std::max(1u, call->wanted.repeat);
    HoldAt(delivery::Hold::kBeforeEnter, *call, [this, call, at, identity] {
      delivery_->Enter(
          at, *identity, [this, call] { Answer(call); },
          [this, call](Result<std::unique_ptr<client::Visit>> visit) { Entered(call, std::move(visit)); });
    });
  }

  void Answer(const CallPtr& call) {
    HoldAt(delivery::Hold::kBeforeAnswer, *call, [this, call] { Reply(*call, -EIO); });
  }

  void Reply(Call& call, int32_t result) {
    std::unique_ptr<IoctlRequest> request;
    {
      std::lock_guard lock(mutex_);
      request = std::move(call.request);
    }
    if (request) request->Answer(result, {});
  }

  void Entered(const CallPtr& call, Result<std::unique_ptr<client::Visit>> visit) {
    if (!visit.ok()) {
      ++ended_;
      spdlog::warn("visit refused: {}", visit.status().why());
      return Reply(*call, visit.status().value());
    }
    call->visit = *std::move(visit);
    HoldAt(delivery::Hold::kBeforeSteps, *call, [this, call] { Do(call); });
  }

  void Do(const CallPtr& call) {
    std::vector<Step> steps;
    for (uint32_t i = 0; i < std::min<uint32_t>(call->wanted.steps_count, std::size(call->wanted.steps));
         ++i) {
      const delivery::WantedStep& wanted = call->wanted.steps[i];
      steps.push_back({.kind = static_cast<Step::Kind>(wanted.kind),
                       .file = memory_.get(),
                       .offset = wanted.offset,
                       .size = wanted.size,
                       .address = wanted.address,
                       .writable = wanted.writable != 0,
                       .token = 0});
      if (steps.back().kind == Step::Kind::kGiveNode) steps.back().token = wanted.address;
    }
    call->visit->Do(std::move(steps),
                    [this, call](Result<std::vector<uint64_t>> results) { Did(call, std::move(results)); });
  }

  void Did(const CallPtr& call, Result<std::vector<uint64_t>> results) {
    if (results.ok() && --call->rounds_left > 0) return Do(call);
    ++ended_;
    int32_t result = call->wanted.result;
    if (results.ok()) {
      for (size_t i = 0; i < results->size(); ++i) call->wanted.steps[i].result = (*results)[i];
    } else {
      spdlog::warn("steps failed: {}", results.status().why());
      result = results.status().value();
      call->wanted.done_error = -result;
    }
    (void)clients_.Write(call->tid, call->argument, std::as_bytes(std::span(&call->wanted, 1)));
    HoldAt(delivery::Hold::kBeforeLeave, *call, [this, call, result] {
      if (!call->visit->holds_thread()) Reply(*call, result);
      call->visit->Leave(result);
      call->visit.reset();
    });
  }

  void HoldAt(delivery::Hold place, const Call& call, std::function<void()> go_on) {
    if (call.wanted.hold != place) return go_on();
    std::lock_guard lock(mutex_);
    held_.emplace(place, std::move(go_on));
  }

  int32_t HeldCount() {
    std::lock_guard lock(mutex_);
    return static_cast<int32_t>(held_.size());
  }

  int32_t GoOn(delivery::Hold place) {
    std::multimap<delivery::Hold, std::function<void()>> going;
    {
      std::lock_guard lock(mutex_);
      if (place == delivery::Hold::kNowhere) {
        going.swap(held_);
      } else {
        const auto [begin, end] = held_.equal_range(place);
        going.insert(begin, end);
        held_.erase(begin, end);
      }
    }
    for (auto& [held_at, go_on] : going) go_on();
    return static_cast<int32_t>(going.size());
  }

  int32_t NodesOpen() {
    std::lock_guard lock(mutex_);
    return static_cast<int32_t>(
        std::count_if(tokens_.begin(), tokens_.end(), [](const auto& file) { return file.second != 0; }));
  }

  // The descriptor that it looks with is counted, and closed when it returns: left open until after the
  // answer, it would now and then be seen by the next who counts.
  static int32_t FilesOpen() {
    const std::filesystem::directory_iterator files("/proc/self/fd");
    return static_cast<int32_t>(std::distance(begin(files), end(files)));
  }

  void Identify(std::unique_ptr<IoctlRequest> request) {
    const auto identity = clients_.Identify(request->caller().tid);
    if (!identity) return request->Answer(-ESRCH, {});
    const int number = static_cast<int>(request->argument());
    const client::Waiting at = WaitingOf(*request);
    std::shared_ptr<IoctlRequest> shared = std::move(request);
    delivery_->Identify(at, *identity, number,
                        [this, shared](uint64_t file) { shared->Answer(MeaningOf(file), {}); });
  }

  void Take(std::unique_ptr<IoctlRequest> request) {
    const auto identity = clients_.Identify(request->caller().tid);
    if (!identity) return request->Answer(-ESRCH, {});
    const int number = static_cast<int>(request->argument());
    const client::Waiting at = WaitingOf(*request);
    std::shared_ptr<IoctlRequest> shared = std::move(request);
    delivery_->TakeEventFile(at, *identity, number, [this, shared](auto file) {
      // No share of it stays here: what the client drops next is closed.
      const int32_t place = file.ok() ? Keep(*std::move(file)) : 0;
      shared->Answer(place, {});
    });
  }

  int32_t Keep(std::shared_ptr<client::EventFile> file) {
    std::lock_guard lock(mutex_);
    const auto found = std::find(kept_.begin(), kept_.end(), file);
    if (found != kept_.end()) return static_cast<int32_t>(found - kept_.begin()) + 1;
    kept_.push_back(std::move(file));
    return static_cast<int32_t>(kept_.size());
  }

  int32_t SignalKept(uint64_t times) {
    std::lock_guard lock(mutex_);
    for (uint64_t i = 0; i < times; ++i) {
      for (const auto& file : kept_) file->Signal();
    }
    return static_cast<int32_t>(kept_.size());
  }

  int32_t DropKept() {
    std::lock_guard lock(mutex_);
    const size_t count = kept_.size();
    kept_.clear();
    return static_cast<int32_t>(count);
  }

  int32_t MeaningOf(uint64_t file) {
    std::lock_guard lock(mutex_);
    const auto found = tokens_.find(file);
    if (found == tokens_.end()) return 0;
    return found->second ? static_cast<int32_t>(found->second) : 1000;
  }

  client::ProcessVm clients_;
  UniqueFd memory_;
  std::byte* bytes_ = nullptr;
  std::mutex mutex_;  // guards everything below, and Call::request
  uint64_t last_file_ = 0;
  std::map<uint64_t, uint64_t> tokens_;  // by file
  std::multimap<delivery::Hold, std::function<void()>> held_;
  std::vector<std::shared_ptr<client::EventFile>> kept_;
  std::atomic<int32_t> ended_ = 0;
  std::unique_ptr<client::Delivery> delivery_;  // last: its callbacks use the rest
};

}  // namespace

Result<std::unique_ptr<attach::Node>> MakeNode(const NodeOptions& options) {
  auto device = std::make_unique<DeliveryDevice>();
  DXG_TRY(device->Start(options));
  return std::unique_ptr<attach::Node>(std::move(device));
}

Result<DriverStore> FindDriverStore(const NodeOptions&) { return DriverStore(); }

int PrintCalls(bool) { return 0; }
Status StartShadow(NodeOptions*) { return Status::Ok(); }
void FinishObservers(attach::Node&) {}
ControlReply ReportOf(attach::Node&) { return {}; }

int PrintVersion(bool) { return 0; }

}  // namespace dxg
