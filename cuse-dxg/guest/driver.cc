#include "cuse-dxg/guest/driver.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <array>
#include <utility>

#include "cuse-dxg/client/warnings.h"
#include "cuse-dxg/guest/handlers.h"
#include "cuse-dxg/guest/teardown.h"
#include "proto/abi/interface.h"
#include "proto/contract/text.h"
#include "proto/dxg/host.pb.h"

namespace dxg::guest {
namespace {

constexpr uint32_t kProcessIsLinux = 8;

// Which check refused a call: what users of the real device miss most.
void LogRefusal(const char* call, pid_t tid, const Status& status) {
  if (status.why().empty() || !spdlog::should_log(spdlog::level::debug)) return;
  spdlog::debug("{} by thread {}: {}: {}", call, tid, contract::ResultText(status.value()), status.why());
}

void WarnOfOpen(const Process& process, const Status& status) {
  try {
    client::Warn(process.identity,
                 fmt::format("open by process {}: {}", process.identity.tgid, status.why()));
  } catch (const std::bad_alloc&) {
    // The client hears it all the same.
  }
}

std::string WideName(const std::string& name) {
  std::string wide(kProcessNameBytes, '\0');
  for (size_t i = 0; i < name.size() && 2 * i + 2 < wide.size(); ++i) wide[2 * i] = name[i];
  return wide;
}

// What open("/dev/dxg") gives: the calls of a process.
class ProcessFile final : public OpenFile {
 public:
  ProcessFile(Driver& driver, std::shared_ptr<Process> process)
      : OpenFile(driver), process_(std::move(process)) {}
  void Ioctl(std::unique_ptr<attach::IoctlRequest>& request) override { driver.ServeCall(process_, request); }
  void Released() override { driver.CloseFileOf(process_); }
  uint64_t process() const override { return reinterpret_cast<uint64_t>(process_.get()); }
  pid_t pid() const override { return process_->identity.tgid; }

 private:
  const std::shared_ptr<Process> process_;
};

}  // namespace

// -- Dispatch -------------------------------------------------------------------------------------

// Runs a handler on its call and answers. One instance of Run for each served call.
class CallRunner {
 public:
  using Runner = void (*)(Driver&, const contract::CallRow&, std::shared_ptr<Process>,
                          std::unique_ptr<attach::IoctlRequest>&);

  template <class Traits, Task (*kHandler)(CallOf<Traits>&)>
  static void Run(Driver& driver, const contract::CallRow& row, std::shared_ptr<Process> process,
                  std::unique_ptr<attach::IoctlRequest>& ioctl) {
    // Memory comes before anything is moved: where there is none, the request is still its owner's.
    auto* call = new CallOf<Traits>(driver, row, std::move(process), std::move(ioctl), driver.access_);
    call->set_delivery(driver.delivery_);
    call->process->activity.Begins(row);
    // Only observers want to know how long a call took.
    const uint64_t start_ns = driver.observer_ != nullptr ? Census::NowNs() : 0;
    RunCaller(
        call, [](Call& args) { return args.CopyArgsIn(); },
        [](CallOf<Traits>& begun) {
          CallAnswerer* const answerer = begun.driver.answerer_;
          return answerer != nullptr ? answerer->Answer(begun) : kHandler(begun);
        },
        [start_ns](Call& ended, const Status& status) {
          Driver& driver = ended.driver;
          ended.process->activity.Ends(ended.row, !status.ok());
          if (driver.census_ != nullptr)
            driver.census_->Count(Of(ended, status), static_cast<CallOf<Traits>&>(ended).request);
          Finish(ended, start_ns, status);
        });
  }

 private:
  static Census::Answered Of(const Call& call, const Status& status) {
    const client::Identity& identity = call.process->identity;
    return {&call.row, call.row.code, identity.tgid, call.tid(), status, identity.name};
  }

  static void Finish(Call& call, uint64_t start_ns, const Status& status) {
    // Before the answer: a client that saw its call end finds it in the trace.
    try {
      Tell(call, start_ns, status);
    } catch (const std::bad_alloc&) {
      // It is answered all the same.
    }
    call.Answer(status);
  }

  static constexpr size_t kAddressesMax = 16;

  // As the struct has them when the call ends.
  static std::span<const uint64_t> AddressesOf(Call& call, std::array<uint64_t, kAddressesMax>* room) {
    if (!call.has_args()) return {};
    const std::span<const contract::Member> members = call.row.addresses;
    DXG_CHECK(members.size() <= room->size());
    for (size_t i = 0; i < members.size(); ++i)
      (*room)[i] = contract::Load<0, sizeof(uint64_t)>(call.args() + members[i].offset);
    return {room->data(), members.size()};
  }

  static void Tell(Call& call, uint64_t start_ns, const Status& status) {
    Driver& driver = call.driver;
    if (driver.observer_ != nullptr) {
      std::array<uint64_t, kAddressesMax> addresses;
      driver.observer_->OnCall({.row = &call.row,
                                .code = call.row.code,
                                .tid = call.tid(),
                                .request = &call.request_message(),
                                .reply = &call.reply_message(),
                                .status = &status,
                                .duration_ns = Census::NowNs() - start_ns,
                                .begin_ns = start_ns,
                                .pid = call.identity().tgid,
                                .addresses = AddressesOf(call, &addresses),
                                .memory = call.named_memory(),
                                .shared_object = call.named_shared()});
    }
    LogRefusal(call.row.name, call.tid(), status);
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
  host_.beside().Stop();
  teardown_.Stop();
  events_.EndAll();
  for (OpenFile* file : std::exchange(files_, {})) delete file;
  // Devices and their adapters hold each other.
  for (const auto& [key, entry] : processes_) {
    for (const auto& held : entry.process->CloseAllAdapters()) held->devices.clear();
  }
}

// The requests of clients: where there is no memory for one, it is refused.
void Driver::Ioctl(std::unique_ptr<attach::IoctlRequest> request) {
  try {
    ServeIoctl(request);
  } catch (const std::bad_alloc&) {
    if (request != nullptr) request->Answer(-ENOMEM, {});
  }
}

void Driver::ServeIoctl(std::unique_ptr<attach::IoctlRequest>& request) {
  if (delivery_ != nullptr && delivery_->IsIdentifyCall(request->caller().tid, request->code(),
                                                        request->argument(), request->file())) {
    return request->Answer(0, {});
  }
  OpenFile::Of(request->file()).Ioctl(request);
}

void Driver::ServeCall(const std::shared_ptr<Process>& process,
                       std::unique_ptr<attach::IoctlRequest>& request) {
  const contract::CallRow* row = contract::FindCall(request->code());
  if (row == nullptr) {
    return Refuse(
        *request, process.get(), nullptr,
        Status::Refuse(
            ENOTTY,
            "request code {:#010x} is no call of /dev/dxg (number, size, direction and type must all fit)",
            request->code()));
  }
  if (process == nullptr)
    return Refuse(*request, nullptr, row,
                  Status::Refuse(ENOTTY, "this descriptor is of a shared object, which has no calls"));
  if (!access_.InGroup(request->caller().tid, process->identity.tgid)) {
    return Refuse(*request, process.get(), row,
                  Status::Refuse(ENOTTY,
                                 "thread {} is not of process {}, which opened this descriptor; a child has "
                                 "to open the node itself",
                                 request->caller().tid, process->identity.tgid),
                  /*inherited=*/true);
  }
  const auto runner = Runners()[row->nr];
  if (runner == nullptr) {
    LogNotServed(*row);
    return Refuse(*request, process.get(), row, Status::Refuse(ENOTTY, "known, not served yet"));
  }
  const LongCalls::Who who{process->identity.tgid, request->caller().uid};
  long_calls_.ServeInTurn(who, std::move(request),
                          [this, runner, row, process](auto& next) { runner(*this, *row, process, next); });
}

void Driver::Refuse(attach::IoctlRequest& request, Process* process, const contract::CallRow* row,
                    const Status& status, bool inherited) {
  if (process != nullptr) process->activity.Refused(row);
  if (census_ != nullptr) {
    const bool known = process != nullptr && !inherited;
    census_->Count({row, request.code(), known ? process->identity.tgid : 0, request.caller().tid, status,
                    known ? std::string_view(process->identity.name) : std::string_view()});
  }
  if (observer_ != nullptr) {
    observer_->OnCall({.row = row,
                       .code = request.code(),
                       .tid = request.caller().tid,
                       .request = nullptr,
                       .reply = nullptr,
                       .status = &status,
                       .duration_ns = 0,
                       .begin_ns = Census::NowNs(),
                       .pid = process != nullptr ? process->identity.tgid : 0,
                       .inherited = inherited,
                       .argument = request.argument(),
                       .raw = request.in()});
  }
  LogRefusal(row != nullptr ? row->name : "unknown call", request.caller().tid, status);
  request.Answer(status.value(), {});
}

// Where there is no memory to tell of it, it happens all the same.
void Driver::ReportFile(FileReport report) {
  if (observer_ == nullptr) return;
  report.at_ns = Census::NowNs();
  try {
    observer_->OnFile(report);
  } catch (const std::bad_alloc&) {
  }
}

void Driver::ReportAdapter(AdapterReport report) {
  if (observer_ == nullptr) return;
  report.at_ns = Census::NowNs();
  try {
    observer_->OnAdapter(report);
  } catch (const std::bad_alloc&) {
  }
}

// -- Open and release -----------------------------------------------------------------------------

void Driver::Open(std::unique_ptr<attach::OpenRequest> request) {
  try {
    ServeOpen(request);
  } catch (const std::bad_alloc&) {
    if (request != nullptr) request->Refuse(ENOMEM);
  }
}

void Driver::ServeOpen(std::unique_ptr<attach::OpenRequest>& request) {
  if (delivery_ != nullptr) {
    if (const uint64_t token = delivery_->TokenOfOpener(request->caller().tid))
      return OpenObject(*request, token);
  }
  auto identity = access_.Identify(request->caller().tid);
  if (!identity) {
    client::Warn(
        {}, fmt::format("open by thread {}: refused, it is not visible from here (another pid namespace?)",
                        request->caller().tid));
    return request->Refuse(EBADF);
  }
  identity->BelongsTo(request->caller().uid);
  std::shared_ptr<Process> process;
  {
    MutexLock lock(mutex_);
    const auto found = processes_.find(KeyOf(*identity));
    if (found != processes_.end()) {
      Entry& entry = found->second;
      if (entry.state != Entry::State::kLive) {
        entry.waiting.push_back(std::move(request));
        return;
      }
      ++entry.files;
      process = entry.process;
    } else {
      const uid_t user = identity->user;
      process = std::make_shared<Process>(std::move(*identity), AccountOf(user), process_limits_);
      Entry entry;
      entry.process = process;
      entry.waiting.reserve(1);  // whatever needs memory comes before it is entered
      auto& entered = processes_.emplace(KeyOf(process->identity), std::move(entry)).first->second;
      entered.waiting.push_back(std::move(request));
      request = nullptr;
    }
  }
  if (request != nullptr) {
    return Accept(*std::exchange(request, nullptr), process);
  }
  StartProcess(process);
}

void Driver::StartProcess(const std::shared_ptr<Process>& process) {
  std::function<void(Status)> done;
  try {
    done = [this, process](Status status) { FinishOpen(process, status); };
  } catch (const std::bad_alloc&) {
    return FinishOpen(process, OutOfMemory());
  }
  CreateProcess(process).Start(std::move(done));
}

// A user's account lives as long as one of his processes does.
std::shared_ptr<Account> Driver::AccountOf(uid_t user) {
  auto& known = users_[user];
  auto account = known.lock();
  if (account == nullptr) {
    std::erase_if(users_, [&](const auto& each) { return each.first != user && each.second.expired(); });
    account = std::make_shared<Account>(user_limits_);
    users_[user] = account;
  }
  return account;
}

Task Driver::CreateProcess(std::shared_ptr<Process> process) {
  if (!process->memory_file)
    co_return Status::Refuse(ENOMEM, "its user has more processes or shared memory than he may have");
  host::CreateProcess::Request request;
  host::CreateProcess::Reply reply;
  request.set_cookie(reinterpret_cast<uint64_t>(process.get()));  // Safety: never followed, by nobody
  request.set_process_id(process->identity.own_pid);
  request.set_process_name(WideName(process->identity.name));
  request.set_process_bits(kProcessIsLinux);
  request.set_user(process->identity.user);
  DXG_CO_TRY(co_await host_.AskGlobal(0, request, &reply));
  if (reply.process() == 0) co_return Status::Refuse(EBADF, "the host refused to create the process");
  process->host_handle = reply.process();
  host_.beside().Enter(process->host_handle, process->identity.user);
  co_return Status::Ok();
}

void Driver::FinishOpen(const std::shared_ptr<Process>& process, const Status& status) {
  std::vector<std::unique_ptr<attach::OpenRequest>> waiting;
  {
    MutexLock lock(mutex_);
    const auto found = processes_.find(KeyOf(process->identity));
    DXG_CHECK(found != processes_.end() && found->second.process == process);
    Entry& entry = found->second;
    waiting = std::exchange(entry.waiting, {});
    entry.state = Entry::State::kLive;
    entry.files = waiting.size();
    if (!status.ok()) processes_.erase(found);
  }
  if (!status.ok()) WarnOfOpen(*process, status);
  for (auto& request : waiting) {
    if (status.ok()) {
      Accept(*request, process);
    } else {
      RefuseOpen(*request, *process, EBADF, status.why());  // whatever the reason
    }
  }
}

void Driver::Accept(attach::OpenRequest& request, const std::shared_ptr<Process>& process) {
  uint64_t file = 0;
  try {
    file = Enter(std::make_unique<ProcessFile>(*this, process));
  } catch (const std::bad_alloc&) {
    request.Refuse(ENOMEM);
    return CloseFileOf(process);
  }
  if (observer_ != nullptr) {
    ReportFile({.what = FileReport::What::kOpen,
                .file = OpenFile::Of(file).serial,
                .tid = request.caller().tid,
                .pid = process->identity.tgid,
                .name = process->identity.name});
  }
  request.Accept(file);
}

void Driver::RefuseOpen(attach::OpenRequest& request, const Process& process, int error,
                        std::string_view why) {
  if (observer_ != nullptr) {
    ReportFile({.what = FileReport::What::kOpen,
                .file = 0,
                .tid = request.caller().tid,
                .pid = process.identity.tgid,
                .name = process.identity.name,
                .error = error,
                .why = why});
  }
  request.Refuse(error);
}

void Driver::Release(uint64_t file) {
  std::unique_ptr<OpenFile> released(&OpenFile::Of(file));
  {
    MutexLock lock(mutex_);
    files_.erase(released.get());
  }
  ReportFile({.what = FileReport::What::kClose, .file = released->serial, .tid = 0, .pid = released->pid()});
  released->Released();
}

void Driver::CloseFileOf(const std::shared_ptr<Process>& process) {
  {
    MutexLock lock(mutex_);
    const auto found = processes_.find(KeyOf(process->identity));
    DXG_CHECK(found != processes_.end() && found->second.process == process);
    if (--found->second.files != 0) return;
    found->second.state = Entry::State::kEnding;
  }
  if (process->End()) EndProcess(process);
}

void Driver::EndProcess(const std::shared_ptr<Process>& process) {
  std::function<void(Status)> done;
  try {
    done = [this, process](Status status) {
      if (!status.ok()) spdlog::error("no memory is left to end process {}", process->identity.tgid);
      FinishEnd(process);
    };
  } catch (const std::bad_alloc&) {
    return FinishEnd(process);
  }
  guest::EndProcess(*this, process).Start(std::move(done));
}

void Driver::FinishEnd(const std::shared_ptr<Process>& process) {
  std::shared_ptr<Process> next;
  std::vector<std::unique_ptr<attach::OpenRequest>> refused;
  {
    MutexLock lock(mutex_);
    const auto found = processes_.find(KeyOf(process->identity));
    DXG_CHECK(found != processes_.end() && found->second.process == process);
    if (!found->second.waiting.empty()) next = NextOf(*process);
    if (next == nullptr) {
      refused.swap(found->second.waiting);
      processes_.erase(found);
    } else {
      found->second.process = next;
      found->second.state = Entry::State::kCreating;
    }
  }
  for (const auto& request : refused) RefuseOpen(*request, *process, ENOMEM, "no memory is left for it");
  if (next != nullptr) StartProcess(next);
}

// Null: no memory is left.
std::shared_ptr<Process> Driver::NextOf(const Process& ended) {
  try {
    return std::make_shared<Process>(ended.identity, AccountOf(ended.identity.user), process_limits_);
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
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
    const auto expected = expected_objects_.find(token);
    if (expected != expected_objects_.end()) object = expected->second;
  }
  if (object == nullptr) return request.Refuse(EBADF);
  auto file = object->Open(*this, object);
  {
    MutexLock lock(mutex_);
    if (!expected_objects_.contains(token)) return request.Refuse(EBADF);
    files_.insert(file.get());
    expected_objects_.erase(token);  // whoever expected it has it; before that, he takes back what it counts
  }
  ReportFile({.what = FileReport::What::kOpenShared, .file = file->serial, .tid = 0, .pid = 0});
  request.Accept(file.release()->number());
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
  for (const auto& [key, entry] : processes_) {
    if (entry.state == Entry::State::kLive) processes.push_back(entry.process);
  }
  return processes;
}

// -- Adapters -------------------------------------------------------------------------------------

void Driver::AdapterArrived(const HostAdapter& adapter) {
  ReportAdapter({.what = AdapterReport::What::kArrived,
                 .luid = adapter.luid,
                 .compute_only = adapter.compute_only,
                 .interface_version = adapter.interface_version});
  MutexLock lock(mutex_);
  adapters_.push_back(std::make_shared<Adapter>(adapter));
}

void Driver::AdapterStopped(uint64_t luid) {
  ReportAdapter({.what = AdapterReport::What::kStopped, .luid = luid});
  MutexLock lock(mutex_);
  for (const auto& adapter : adapters_) {
    if (adapter->info.luid == luid) adapter->active = false;
  }
}

void Driver::AdapterRemoved(uint64_t luid) {
  AdapterStopped(luid);
  ReportAdapter({.what = AdapterReport::What::kRemoved, .luid = luid});
  MutexLock lock(mutex_);
  std::erase_if(adapters_, [&](const auto& adapter) { return adapter->info.luid == luid; });
}

// As when a host removes its adapters, with nobody there who could tell us the details.
void Driver::HostLost() {
  for (const auto& adapter : Adapters()) AdapterRemoved(adapter->info.luid);
  ++state_changes_;
  for (const auto& process : Processes()) process->StoreFences(kFenceLost);
  events_.AllHappen();
  if (host_lost_) host_lost_();
}

std::vector<std::shared_ptr<Adapter>> Driver::Adapters() {
  MutexLock lock(mutex_);
  return adapters_;
}

}  // namespace dxg::guest
