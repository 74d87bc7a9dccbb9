#include "cuse-dxg/guest/driver.h"

#include <spdlog/spdlog.h>
#include <time.h>

#include <algorithm>
#include <array>
#include <utility>

#include "cuse-dxg/guest/handlers.h"
#include "cuse-dxg/guest/teardown.h"
#include "proto/contract/text.h"
#include "proto/dxg/host.pb.h"

namespace dxg::guest {
namespace {

// Only observers want to know how long a call took.
uint64_t NowNs() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + now.tv_nsec;
}

// Task names as the host gets them: UTF-16, byte by byte, zeros after the end.
constexpr size_t kProcessNameBytes = 522;
constexpr uint32_t kProcessIsLinux = 8;

// Which check refused a call: what users of the real device miss most.
void LogRefusal(const char* call, pid_t tid, const Status& status) {
  if (status.why().empty() || !spdlog::should_log(spdlog::level::debug)) return;
  spdlog::debug("{} by thread {}: {}: {}", call, tid, contract::ResultText(status.value()), status.why());
}

std::string WideName(const std::string& name) {
  std::string wide(kProcessNameBytes, '\0');
  for (size_t i = 0; i < name.size() && 2 * i + 2 < wide.size(); ++i) wide[2 * i] = name[i];
  return wide;
}

}  // namespace

// -- Dispatch -------------------------------------------------------------------------------------

// Runs a handler on its call and answers. One instance of Run for each served call.
class CallRunner {
 public:
  using Runner = void (*)(Driver&, const contract::CallRow&, std::shared_ptr<Process>,
                          std::unique_ptr<attach::IoctlRequest>);

  template <class Traits, Task (*kHandler)(CallOf<Traits>&)>
  static void Run(Driver& driver, const contract::CallRow& row, std::shared_ptr<Process> process,
                  std::unique_ptr<attach::IoctlRequest> ioctl) {
    auto* call = new CallOf<Traits>(driver, row, std::move(process), std::move(ioctl), driver.access_);
    call->set_delivery(driver.delivery_);
    const uint64_t start_ns = driver.observer_ != nullptr ? NowNs() : 0;
    if (Status status = call->CopyArgsIn(); !status.ok())
      return Finish(std::unique_ptr<Call>(call), start_ns, status);

    const Caller* const outer = std::exchange(Caller::at_once, call);
    kHandler(*call).Start([call, start_ns](Status status) {
      const bool at_once = Caller::at_once == call;
      if (at_once) Caller::at_once = nullptr;  // tells Run, which must not look at the call any more
      Finish(std::unique_ptr<Call, Release>(call, Release{at_once}), start_ns, status);
    });
    const bool finished = std::exchange(Caller::at_once, outer) != call;
    if (!finished) WatchItsThread(call);
  }

 private:
  // Nearly every call finishes at once, and has one owner; only one that waits is shared, between whoever
  // finishes it and whoever hears of its thread's death.
  struct Release {
    bool sole_owner;
    void operator()(Call* call) const {
      if (sole_owner || call->ReleaseShare()) delete call;
    }
  };

  static void WatchItsThread(Call* call) {
    std::unique_ptr<Call, Release> share(call, Release{false});
    if (call->ends_by_signal()) return;  // a death ends it as any signal does
    call->WhenKilled([shared = std::shared_ptr<Call>(std::move(share))] { shared->Abandon(); });
  }

  template <class Owner>
  static void Finish(Owner call, uint64_t start_ns, const Status& status) {
    Driver& driver = call->driver;
    // Before the answer: a client that saw its call end finds it in the trace.
    if (driver.observer_ != nullptr) {
      driver.Report({&call->row, call->row.code, call->tid(), &call->request_message(),
                     &call->reply_message(), &status, NowNs() - start_ns});
    }
    LogRefusal(call->row.name, call->tid(), status);
    call->Answer(status);
  }
};

namespace {

using RunnerTable = std::array<CallRunner::Runner, 256>;

const RunnerTable& Runners() {
  static const RunnerTable table = [] {
    RunnerTable runners{};
#define DXG_RUNNER(Name) runners[calls::Name::Row().nr] = &CallRunner::Run<calls::Name, &handlers::Name>;
    DXG_FOR_EACH_SERVED_CALL(DXG_RUNNER)
#undef DXG_RUNNER
    return runners;
  }();
  return table;
}

// A call that no handler serves yet is logged the first time, so that its user learns what is missing.
void LogNotServed(const contract::CallRow& row) {
  static std::array<std::atomic_flag, 256> logged;
  if (!logged[row.nr].test_and_set())
    spdlog::warn("{} ({}): known, not served yet; it answers ENOTTY", row.ioctl, row.summary);
}

}  // namespace

// Whoever serves the node may end with files open; nobody uses them any more.
Driver::~Driver() {
  events_.EndAll();
  for (OpenFile* file : std::exchange(files_, {})) delete file;
  // Devices and their adapters hold each other.
  for (const Entry& entry : processes_) {
    for (const auto& held : entry.process->CloseAllAdapters()) held->devices.clear();
  }
}

void Driver::Ioctl(std::unique_ptr<attach::IoctlRequest> request) {
  if (delivery_ != nullptr && delivery_->IsIdentifyCall(request->caller().tid, request->code(),
                                                        request->argument(), request->file())) {
    return request->Answer(0, {});
  }
  OpenFile& file = OpenFile::Of(request->file());
  file.Ioctl(std::move(request));
}

void Driver::ServeCall(const std::shared_ptr<Process>& process,
                       std::unique_ptr<attach::IoctlRequest> request) {
  const contract::CallRow* row = contract::FindCall(request->code());
  if (row == nullptr) {
    return Refuse(
        *request, nullptr,
        Status::Refuse(
            ENOTTY,
            "request code {:#010x} is no call of /dev/dxg (number, size, direction and type must all fit)",
            request->code()));
  }
  if (process == nullptr)
    return Refuse(*request, row,
                  Status::Refuse(ENOTTY, "this descriptor is of a shared object, which has no calls"));
  if (!access_.InGroup(request->caller().tid, process->identity.tgid)) {
    return Refuse(*request, row,
                  Status::Refuse(ENOTTY,
                                 "thread {} is not of process {}, which opened this descriptor; a child has "
                                 "to open the node itself",
                                 request->caller().tid, process->identity.tgid));
  }
  const auto runner = Runners()[row->nr];
  if (runner == nullptr) {
    LogNotServed(*row);
    return Refuse(*request, row, Status::Refuse(ENOTTY, "known, not served yet"));
  }
  runner(*this, *row, process, std::move(request));
}

void Driver::Refuse(attach::IoctlRequest& request, const contract::CallRow* row, const Status& status) {
  if (observer_ != nullptr) Report({row, request.code(), request.caller().tid, nullptr, nullptr, &status, 0});
  LogRefusal(row != nullptr ? row->name : "unknown call", request.caller().tid, status);
  request.Answer(status.value(), {});
}

void Driver::Report(const CallReport& report) { observer_->OnCall(report); }

// -- Open and release -----------------------------------------------------------------------------

void Driver::Open(std::unique_ptr<attach::OpenRequest> request) {
  if (delivery_ != nullptr) {
    if (const uint64_t token = delivery_->TokenOfOpener(request->caller().tid))
      return OpenObject(*request, token);
  }
  auto identity = access_.Identify(request->caller().tid);
  if (!identity) {
    spdlog::warn("open by thread {}: refused, it is not visible from here (another pid namespace?)",
                 request->caller().tid);
    return request->Refuse(EBADF);
  }
  std::shared_ptr<Process> process;
  {
    MutexLock lock(mutex_);
    auto entry = std::find_if(processes_.begin(), processes_.end(), [&](const Entry& each) {
      return each.process->identity.SameProcess(*identity);
    });
    if (entry != processes_.end()) {
      if (!entry->created) {
        entry->waiting.push_back(std::move(request));
        return;
      }
      ++entry->files;
      process = entry->process;
    } else {
      processes_.push_back({std::make_shared<Process>(std::move(*identity)), 0, false, {}});
      processes_.back().waiting.push_back(std::exchange(request, nullptr));
      process = processes_.back().process;
    }
  }
  if (request != nullptr) return request->Accept(Enter(std::make_unique<ProcessFile>(*this, process)));
  CreateProcess(process).Start([this, process](Status status) { FinishOpen(process, status); });
}

Task Driver::CreateProcess(std::shared_ptr<Process> process) {
  host::CreateProcess::Request request;
  host::CreateProcess::Reply reply;
  request.set_cookie(reinterpret_cast<uint64_t>(process.get()));  // Safety: never followed, by nobody
  request.set_process_id(process->identity.own_pid);
  request.set_process_name(WideName(process->identity.name));
  request.set_process_bits(kProcessIsLinux);
  DXG_CO_TRY(co_await host_.AskGlobal(0, request, &reply));
  if (reply.process() == 0) co_return Status::Refuse(EBADF, "the host refused to create the process");
  process->host_handle = reply.process();
  co_return Status::Ok();
}

void Driver::FinishOpen(const std::shared_ptr<Process>& process, const Status& status) {
  std::vector<std::unique_ptr<attach::OpenRequest>> waiting;
  {
    MutexLock lock(mutex_);
    auto entry = std::find_if(processes_.begin(), processes_.end(),
                              [&](const Entry& each) { return each.process == process; });
    DXG_CHECK(entry != processes_.end());
    waiting = std::move(entry->waiting);
    entry->waiting.clear();
    entry->created = true;
    entry->files = waiting.size();
    if (!status.ok()) processes_.erase(entry);
  }
  if (!status.ok()) spdlog::warn("open by process {}: {}", process->identity.tgid, status.why());
  for (auto& request : waiting) {
    if (status.ok()) {
      request->Accept(Enter(std::make_unique<ProcessFile>(*this, process)));
    } else {
      request->Refuse(EBADF);  // whatever the reason
    }
  }
}

void Driver::Release(uint64_t file) {
  std::unique_ptr<OpenFile> released(&OpenFile::Of(file));
  {
    MutexLock lock(mutex_);
    files_.erase(released.get());
  }
  released->Released();
}

void Driver::CloseFileOf(const std::shared_ptr<Process>& process) {
  {
    MutexLock lock(mutex_);
    auto entry = std::find_if(processes_.begin(), processes_.end(),
                              [&](const Entry& each) { return each.process == process; });
    DXG_CHECK(entry != processes_.end());
    if (--entry->files != 0 || !entry->waiting.empty()) return;
    processes_.erase(entry);
  }
  if (process->End()) EndProcess(process);
}

void Driver::EndProcess(const std::shared_ptr<Process>& process) {
  guest::EndProcess(host_, process).Start([this, process](Status) { events_.RemoveAll(*process); });
}

uint32_t Driver::Poll(uint64_t file, std::unique_ptr<attach::PollWaiter> waiter) {
  return OpenFile::Of(file).Poll(std::move(waiter));
}

// -- Descriptors of shared objects ----------------------------------------------------------------

uint64_t Driver::ExpectObjectFile(std::shared_ptr<SharedObject> object) {
  static std::atomic<uint64_t> last_token{
      0};  // of all drivers: a token of one must not mean something to another
  const uint64_t token = ++last_token;
  MutexLock lock(mutex_);
  expected_objects_.emplace(token, std::move(object));
  return token;
}

bool Driver::ForgetObjectFile(uint64_t token) {
  MutexLock lock(mutex_);
  return expected_objects_.erase(token) != 0;
}

void Driver::OpenObject(attach::OpenRequest& request, uint64_t token) {
  std::shared_ptr<SharedObject> object;
  {
    MutexLock lock(mutex_);
    auto expected = expected_objects_.extract(token);
    if (!expected.empty()) object = std::move(expected.mapped());
  }
  if (object == nullptr) return request.Refuse(EBADF);
  request.Accept(Enter(object->Open(*this, object)));
}

uint64_t Driver::Enter(std::unique_ptr<OpenFile> file) {
  MutexLock lock(mutex_);
  files_.insert(file.get());
  return file.release()->number();  // Release owns it again
}

std::shared_ptr<SharedObject> Driver::ObjectOf(uint64_t file) {
  MutexLock lock(mutex_);
  const auto found = files_.find(reinterpret_cast<OpenFile*>(file));  // Safety: only compared
  return found == files_.end() ? nullptr : (*found)->object();
}

std::vector<std::shared_ptr<Process>> Driver::Processes() {
  MutexLock lock(mutex_);
  std::vector<std::shared_ptr<Process>> processes;
  for (const Entry& entry : processes_) {
    if (entry.created) processes.push_back(entry.process);
  }
  return processes;
}

// -- Adapters -------------------------------------------------------------------------------------

void Driver::AdapterArrived(const HostAdapter& adapter) {
  MutexLock lock(mutex_);
  adapters_.push_back(std::make_shared<Adapter>(adapter));
}

void Driver::AdapterStopped(uint64_t luid) {
  MutexLock lock(mutex_);
  for (const auto& adapter : adapters_) {
    if (adapter->info.luid == luid) adapter->active = false;
  }
}

void Driver::AdapterRemoved(uint64_t luid) {
  AdapterStopped(luid);
  MutexLock lock(mutex_);
  std::erase_if(adapters_, [&](const auto& adapter) { return adapter->info.luid == luid; });
}

// As when a host removes its adapters, with nobody there who could tell us the details.
void Driver::HostLost() {
  constexpr uint64_t kLost = ~0ull;  // what a fence is raised to when nobody can raise it any more
  for (const auto& adapter : Adapters()) AdapterRemoved(adapter->info.luid);
  ++state_changes_;
  for (const auto& process : Processes()) process->StoreFences(kLost);
  events_.AllHappen();
  if (host_lost_) host_lost_();
}

std::vector<std::shared_ptr<Adapter>> Driver::Adapters() {
  MutexLock lock(mutex_);
  return adapters_;
}

}  // namespace dxg::guest
