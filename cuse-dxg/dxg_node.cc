// Puts the device together: guest driver, back-end, access to clients, trace.
#include "cuse-dxg/dxg_node.h"

#include <spdlog/spdlog.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <list>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "base/patience.h"
#include "base/start_thread.h"
#include "cuse-dxg/client/agents.h"
#include "cuse-dxg/client/process_vm.h"
#include "cuse-dxg/control/report.h"
#include "cuse-dxg/control/server.h"
#include "cuse-dxg/guest/census.h"
#include "cuse-dxg/guest/driver.h"
#include "cuse-dxg/outside_hosts.h"
#include "cuse-dxg/trace/event_observer.h"
#include "cuse-dxg/trace/finishing.h"
#include "cuse-dxg/trace/observers.h"
#include "hostsim/backend/in_process.h"
#include "link/host_control.h"

namespace dxg {
namespace {

// Shows who records what the engines of a host in this process do.
class EngineReporter final : public hostsim::WorkObserver {
 public:
  explicit EngineReporter(trace::EventObserver& trace) : trace_(trace) {}
  void OnWork(const hostsim::WorkEvent& event) override { trace_.OnEvent(hostsim::RecordOf(event)); }

 private:
  trace::EventObserver& trace_;
};

// A host in this process tells `work` what its engines do; null: nobody wants to know.
using ConnectHost = std::function<Result<std::unique_ptr<Backend>>(hostsim::WorkObserver* work)>;

// A host and the guest that was begun with it. Nothing of one host means anything to another.
struct Generation {
  Generation(std::unique_ptr<Backend> with, client::Access& clients)
      : backend(std::move(with)), driver(*backend, clients) {}
  std::unique_ptr<Backend> backend;
  guest::Driver driver;
};

// The node. Where its host is lost (one in another process) it looks for a new one: what is open stays with
// the lost host, and what is opened from then on is the new one's.
class DxgNode final : public attach::Node, private HostControl {
 public:
  DxgNode(std::unique_ptr<client::Access> clients, std::unique_ptr<client::Delivery> delivery,
          std::unique_ptr<guest::CallObserver> trace, std::unique_ptr<EngineReporter> engines,
          ConnectHost connect)
      : clients_(std::move(clients)),
        delivery_(std::move(delivery)),
        trace_(std::move(trace)),
        engines_(std::move(engines)),
        connect_(std::move(connect)) {}

  // Calls still wait for the one or the other. Each ends them, and they go on in their driver, which is the
  // last to go.
  ~DxgNode() override {
    control_.reset();
    {
      MutexLock lock(mutex_);
      stopping_ = true;
      changed_.NotifyAll();
    }
    if (searcher_.joinable()) searcher_.join();
    for (std::thread& stopper : stoppers_) stopper.join();
    // Who waits for a client or a host is told, and may ask both again until its driver is gone.
    delivery_->Stop();
    for (const auto& each : generations_) each->backend->Stop();
  }

  Status Start(const std::string& control, UniqueFd listener) {
    DXG_TRY(Begin());
    if (control.empty() && !listener.valid()) return Status::Ok();
    if (!current_.load()->backend->control())
      return Status::Refuse(ENOTSUP, "--control: this back-end's host takes no orders");
    if (listener.valid()) {
      DXG_ASSIGN(control_, control::Server::Start(std::move(listener), *this));
    } else {
      DXG_ASSIGN(control_, control::Server::Start(control, *this));
    }
    return Status::Ok();
  }

  void FinishObservers() {
    if (auto* const finishing = dynamic_cast<trace::Finishing*>(trace_.get())) finishing->Finish();
  }

  // The guest's half, and that of the host that is there now.
  void Report(ControlReply* report) {
    census_.AddTo(report);
    ControlReply of_host;
    ControlRequest request;
    request.mutable_report();
    if (HostControl* host = current_.load()->backend->control()) host->Serve(request, &of_host);
    control::AddHostsReport(of_host, report);
  }

  void Open(std::unique_ptr<attach::OpenRequest> request) override {
    current_.load()->driver.Open(std::move(request));
  }
  void Ioctl(std::unique_ptr<attach::IoctlRequest> request) override {
    const uint64_t file = request->file();
    guest::Driver::Of(file).Ioctl(std::move(request));
  }
  void Release(uint64_t file) override { guest::Driver::Of(file).Release(file); }
  uint64_t ProcessOf(uint64_t file) override { return guest::Driver::Of(file).ProcessOf(file); }
  uint32_t Poll(uint64_t file, std::unique_ptr<attach::PollWaiter> waiter) override {
    return guest::Driver::Of(file).Poll(file, std::move(waiter));
  }
  // On the thread that reads now: few and quick.
  void LookAtLongRequests() override {
    std::vector<guest::Driver*> drivers;
    {
      MutexLock lock(mutex_);
      for (const auto& each : generations_) drivers.push_back(&each->driver);
    }
    for (guest::Driver* driver : drivers) driver->LookAtLongRequests();
  }

 private:
  Status Begin() DXG_EXCLUDES(beginning_, mutex_) {
    MutexLock one_by_one(beginning_);  // a host may be lost before the one who found it has said so
    DXG_ASSIGN(auto backend, connect_(engines_.get()));
    auto made = std::make_unique<Generation>(std::move(backend), *clients_);
    made->driver.set_observer(trace_.get());
    // Only a recording's back-end is one; others answer host commands.
    made->driver.set_answerer(dynamic_cast<guest::CallAnswerer*>(made->backend.get()));
    made->driver.set_census(&census_);
    made->driver.set_delivery(delivery_.get());
    made->driver.set_host_lost([this] { Search(); });
    DXG_TRY(made->backend->Start(&made->driver));
    MutexLock lock(mutex_);
    current_ = made.get();
    generations_.push_back(std::move(made));
    return Status::Ok();
  }

  // A moment without memory or threads is no reason to give up.
  Status TryToBegin() {
    try {
      return Begin();
    } catch (const std::exception& error) {
      spdlog::warn("a host could not be begun: {}", error.what());
      return Status(-EAGAIN);
    }
  }

  // In its own thread: this one is the lost host's.
  void Search() DXG_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    if (stopping_) return;
    lost_ = true;
    if (!searcher_.joinable() && !StartThread(&searcher_, [this] { KeepSearching(); }))
      spdlog::error("the host is lost, and no thread can be had to look for a new one; restart cuse-dxg");
    changed_.NotifyAll();
  }

  void KeepSearching() DXG_EXCLUDES(mutex_) {
    constexpr std::chrono::milliseconds kPause{100};
    const Generation* stopped = nullptr;
    MutexLock lock(mutex_);
    for (;;) {
      while (!stopping_ && !lost_) changed_.Wait(mutex_);
      const auto next_try = std::chrono::steady_clock::now() + kPause;
      while (!stopping_ && changed_.WaitUntil(mutex_, next_try)) {
      }
      if (stopping_) return;
      lost_ = false;
      Generation* const lost = current_;
      lock.Unlock();
      if (lost != nullptr && std::exchange(stopped, lost) != lost) StopBeside(*lost);
      const Status found = TryToBegin();
      lock.Lock();
      if (found.ok()) {
        spdlog::warn("a host is there again; what is opened from now on is served by it");
      } else {
        lost_ = true;
      }
    }
  }

  // What is lost has nothing left to do, but a thread of it may be in the memory of a client that does not
  // answer. Nobody waits for that before the end.
  void StopBeside(Generation& lost) DXG_EXCLUDES(mutex_) {
    constexpr std::chrono::milliseconds kStopMax{1000};
    const auto stopped = std::make_shared<bool>(false);  // guarded by mutex_
    std::thread stopper;
    if (!StartThread(&stopper, [this, &lost, stopped] {
          lost.backend->Stop();
          MutexLock lock(mutex_);
          *stopped = true;
          changed_.NotifyAll();
        })) {
      return;  // it is stopped at the end
    }
    stoppers_.push_back(std::move(stopper));
    RealPatience patience(kStopMax);
    MutexLock lock(mutex_);
    while (!*stopped && !stopping_ && !patience.IsOver()) changed_.WaitUntil(mutex_, patience.next_look());
  }

  // HostControl
  void Serve(const ControlRequest& request, ControlReply* reply) override {
    if (request.has_report()) return Report(reply);
    Generation& now = *current_.load();
    now.backend->control()->Serve(request, reply);
    if (!reply->error().empty()) return;
    if (request.has_live()) {
      const ControlRequest::Live& wanted = request.live();
      if (wanted.guest_after() == 0 && wanted.host_after() == 0) census_.AddTo(reply->mutable_live());
      now.driver.AddTo(wanted, reply->mutable_live());
    } else if (request.has_status()) {
      census_.AddTotalsTo(reply);
    }
  }

  guest::Census census_;  // before the generations: their drivers know it
  const std::unique_ptr<client::Access> clients_;
  std::unique_ptr<client::Delivery> delivery_;     // before the generations: their drivers know it
  std::unique_ptr<guest::CallObserver> trace_;     // the same
  const std::unique_ptr<EngineReporter> engines_;  // tells trace_; null: nobody wants to know
  const ConnectHost connect_;
  std::atomic<Generation*> current_{nullptr};

  // Held while a host is begun, which takes the locks of its driver and its back-end.
  Mutex beginning_ DXG_ACQUIRED_BEFORE(mutex_);
  Mutex mutex_;
  ConditionVariable changed_;  // lost_ or stopping_
  bool lost_ DXG_GUARDED_BY(mutex_) = false;
  bool stopping_ DXG_GUARDED_BY(mutex_) = false;
  // The lost ones stay until the end: files may be open.
  std::vector<std::unique_ptr<Generation>> generations_ DXG_GUARDED_BY(mutex_);
  std::thread searcher_;             // started under mutex_, once
  std::list<std::thread> stoppers_;  // of lost hosts; the searcher's

  std::unique_ptr<control::Server> control_;
};

// What --backend names.
Result<ConnectHost> FindHost(const NodeOptions& options) {
  if (options.recorded_times && !options.backend.starts_with("replay:"))
    return Status::Refuse(
        EINVAL, "--timing recorded: only a recording has times; give --backend replay:FILE, or leave it out");
  if (options.backend == "sim")
    return ConnectHost([profiles = options.profiles, scenario = options.scenario](auto* work) {
      return hostsim::CreateInProcessBackend(profiles, scenario, work);
    });
  DXG_ASSIGN(auto connect, FindOutsideHost(options));
  return ConnectHost([connect = std::move(connect)](hostsim::WorkObserver*) { return connect(); });
}

}  // namespace

Result<DriverStore> FindDriverStore(const NodeOptions& options) {
  DriverStore store;
  if (options.profiles.empty() && options.backend != "sim") return store;  // the adapters of another process
  DXG_ASSIGN(const auto drivers, hostsim::DriversOf(options.profiles));
  for (const hostsim::DriverFolder& driver : drivers) {
    store.folders.push_back(driver.folder);
    store.is_vendors |= driver.is_vendors;
  }
  return store;
}

namespace {

// What a recording copies is read by system calls, also where a client's own thread carries the rest.
Status CheckRecordsMemory(const NodeOptions& options) {
  if (options.record.file.empty() || options.record.memory == "none") return Status::Ok();
  Status reached = client::CheckProcessVm();
  if (reached.ok()) return reached;
  return Status::Refuse(-reached.value(),
                        "--memory: nothing of it would be recorded: {}; leave the option out", reached.why());
}

}  // namespace

Result<std::unique_ptr<attach::Node>> MakeNode(const NodeOptions& options) {
  UniqueFd agents(options.agents), control_listener(options.control_listener);
  if (!options.make_access) DXG_TRY(client::CheckProcessVm());
  DXG_TRY(CheckRecordsMemory(options));
  // Before the recording's file is made, which a wrong option should leave as it was.
  DXG_ASSIGN(ConnectHost connect, FindHost(options));
  DXG_ASSIGN(auto shadow, FindShadow(options));
  TraceHeader header;
  header.set_product("cuse-dxg " DXG_VERSION);
  header.set_node(options.node);
  header.set_backend(options.backend);
  DXG_ASSIGN(
      auto trace,
      trace::MakeObserver(
          {.trace_text = options.trace_text, .trace_json = options.trace_json, .record = options.record},
          header, [](pid_t tid, uint64_t address, std::span<std::byte> to) {
            return client::ProcessVm().Read(tid, address, to);
          }));
  std::unique_ptr<EngineReporter> engines;  // only where somebody wants to know
  if (auto* const observer = dynamic_cast<trace::EventObserver*>(trace.get()))
    engines = std::make_unique<EngineReporter>(*observer);
  trace = trace::Together(std::move(trace), std::move(shadow));
  std::unique_ptr<client::Access> clients =
      options.make_access ? options.make_access() : std::make_unique<client::ProcessVm>();
  std::unique_ptr<client::Delivery> delivery;
  if (options.make_delivery) {
    delivery = options.make_delivery();
  } else {
    DXG_ASSIGN(delivery, client::StartDelivery(std::move(agents), options.injector));
  }
  auto device = std::make_unique<DxgNode>(std::move(clients), std::move(delivery), std::move(trace),
                                          std::move(engines), std::move(connect));
  DXG_TRY(device->Start(options.control, std::move(control_listener)));
  return std::unique_ptr<attach::Node>(std::move(device));
}

Status StartShadow(NodeOptions* options) {
  DXG_ASSIGN(UniqueFd player, StartShadowPlayer(*options));
  options->shadow_player = player.release();
  return Status::Ok();
}

void FinishObservers(attach::Node& node) { static_cast<DxgNode&>(node).FinishObservers(); }

ControlReply ReportOf(attach::Node& node) {
  ControlReply report;
  static_cast<DxgNode&>(node).Report(&report);
  return report;
}

}  // namespace dxg
