#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <string_view>
#include <unordered_set>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "cuse-dxg/attach/node.h"
#include "cuse-dxg/client/access.h"
#include "cuse-dxg/client/delivery.h"
#include "cuse-dxg/guest/answerer.h"
#include "cuse-dxg/guest/call.h"
#include "cuse-dxg/guest/census.h"
#include "cuse-dxg/guest/event_table.h"
#include "cuse-dxg/guest/host.h"
#include "cuse-dxg/guest/long_calls.h"
#include "cuse-dxg/guest/observer.h"
#include "cuse-dxg/guest/open_file.h"
#include "cuse-dxg/guest/process.h"
#include "cuse-dxg/guest/teardown_thread.h"
#include "link/backend.h"
#include "proto/dxg/control.pb.h"

namespace dxg::guest {

// Names the VM-wide count of state changes to the host: the same for every device, as in the driver.
inline constexpr uint64_t kStateCookie = 1;

// The guest driver: what the kernel module does between a client and the host. Processes come and go with
// open and release, adapters with the back-end's events; every call is looked up, checked in the driver's
// order by its handler (one file per family of calls beside this one), and answered.
class Driver final : public attach::Node, public BackendEvents {
 public:
  Driver(Backend& backend, client::Access& access) : host_(backend), access_(access) {}
  // Calls that are parked end; by now the back-end takes no more.
  ~Driver() override;

  void set_observer(CallObserver* observer) { observer_ = observer; }
  bool wants_memory() const { return observer_ != nullptr && observer_->wants_memory(); }
  // Answers instead of the handlers; null: they do. Outlives the driver's calls.
  void set_answerer(CallAnswerer* answerer) { answerer_ = answerer; }
  // The way into clients, for calls that bring memory or descriptors there. Outlives the driver.
  void set_delivery(client::Delivery* delivery) { delivery_ = delivery; }
  // Counts the calls. Outlives the driver; null: nobody does.
  void set_census(Census* census) { census_ = census; }
  // Runs after HostLost.
  void set_host_lost(std::function<void()> host_lost) { host_lost_ = std::move(host_lost); }

  // What each process, and each user with all his processes, may make us have. Before the first open.
  void set_limits(const Limits& process, const Limits& user) {
    process_limits_ = process;
    user_limits_ = user;
  }

  // The driver that an open file is of.
  static Driver& Of(uint64_t file) { return OpenFile::Of(file).driver; }

  // attach::Node
  void Open(std::unique_ptr<attach::OpenRequest> request) override;
  void Ioctl(std::unique_ptr<attach::IoctlRequest> request) override;
  void Release(uint64_t file) override;
  uint32_t Poll(uint64_t file, std::unique_ptr<attach::PollWaiter> waiter) override;
  uint64_t ProcessOf(uint64_t file) override { return OpenFile::Of(file).process(); }
  void LookAtLongRequests() override { long_calls_.LookAtAll(); }

  // BackendEvents
  void AdapterArrived(const HostAdapter& adapter) override;
  void AdapterStopped(uint64_t luid) override;
  void AdapterRemoved(uint64_t luid) override;
  void DeviceStateChanged(uint64_t cookie) override {
    if (cookie == kStateCookie) ++state_changes_;
  }
  void GuestEvent(uint64_t event) override { events_.Happened(event); }
  void HostLost() override;

  // -- For handlers --
  Host& host() { return host_; }
  client::Access& access() { return access_; }
  Backend& backend() { return host_.backend(); }
  client::Delivery* delivery() { return delivery_; }  // null: there is none
  EventTable& events() { return events_; }
  CallObserver* observer() { return observer_; }  // null: there is none
  LongCalls& long_calls() { return long_calls_; }
  // An open of the node that is going to be made for a client (Step::kGiveNode, with the token returned)
  // leads to that shared object; Forget where it does not come.
  uint64_t ExpectObjectFile(std::shared_ptr<SharedObject> object);
  // True: it was not opened, and will not be.
  bool ForgetObjectFile(uint64_t token);
  // The shared object behind a descriptor of the caller's; null: the number means something else, or nothing.
  std::shared_ptr<SharedObject> ObjectOf(uint64_t file);
  // Ends a process whose last descriptor is closed, with its events. What is much is ended on a thread of its
  // own; the process's next open waits for it.
  void EndProcess(const std::shared_ptr<Process>& process);
  TeardownThread& teardown() { return teardown_; }
  std::vector<std::shared_ptr<Adapter>> Adapters();  // all known, in order of arrival
  uint64_t state_changes() const { return state_changes_; }
  std::vector<std::shared_ptr<Process>> Processes();

  // -- For open files --
  // A call of that process's file; null: of a file that has no calls, and refuses them all.
  void ServeCall(const std::shared_ptr<Process>& process, std::unique_ptr<attach::IoctlRequest>& request);
  // One of the files of a process is closed.
  void CloseFileOf(const std::shared_ptr<Process>& process);

  // The page of processes that is wanted.
  void AddTo(const ControlRequest::Live& wanted, ControlReply::Live* live);

  // -- For tests --
  size_t process_count() { return Processes().size(); }

 private:
  friend class CallRunner;

  // A process and the opens that it is shared by. `waiting` are opens that arrived while the host was still
  // being told of the process, or while the one before it of the same thread group was still being ended.
  struct Entry {
    enum class State : uint8_t { kCreating, kLive, kEnding };
    std::shared_ptr<Process> process;
    size_t files = 0;
    State state = State::kCreating;
    std::vector<std::unique_ptr<attach::OpenRequest>> waiting = {};
  };
  using Key = std::pair<pid_t, uint64_t>;  // a thread group, and when its leader started
  static Key KeyOf(const client::Identity& identity) { return {identity.tgid, identity.start_time}; }

  // They take the request when nothing stands in its way any more.
  void ServeOpen(std::unique_ptr<attach::OpenRequest>& request);
  void ServeIoctl(std::unique_ptr<attach::IoctlRequest>& request);
  // An open that the process counts already.
  void Accept(attach::OpenRequest& request, const std::shared_ptr<Process>& process);
  void RefuseOpen(attach::OpenRequest& request, const Process& process, int error, std::string_view why);
  void StartProcess(const std::shared_ptr<Process>& process);
  Task CreateProcess(std::shared_ptr<Process> process);
  void FinishEnd(const std::shared_ptr<Process>& process);
  std::shared_ptr<Process> NextOf(const Process& ended) DXG_REQUIRES(mutex_);
  std::shared_ptr<Account> AccountOf(uid_t user) DXG_REQUIRES(mutex_);
  void OpenObject(attach::OpenRequest& request, uint64_t token);
  // What requests on the file name it by, until Release.
  uint64_t Enter(std::unique_ptr<OpenFile> file);
  void FinishOpen(const std::shared_ptr<Process>& process, const Status& status);
  // The ioctl on a descriptor of that process, or of none, which no handler sees.
  void Refuse(attach::IoctlRequest& request, Process* process, const contract::CallRow* row,
              const Status& status, bool inherited = false);
  void ReportFile(FileReport report);
  void ReportAdapter(AdapterReport report);

  Host host_;
  EventTable events_;
  client::Access& access_;
  CallObserver* observer_ = nullptr;
  CallAnswerer* answerer_ = nullptr;
  Census* census_ = nullptr;
  client::Delivery* delivery_ = nullptr;
  std::function<void()> host_lost_;
  LongCalls long_calls_;
  std::atomic<uint64_t> state_changes_{0};  // VM-wide, as in the driver
  Limits process_limits_ = kProcessLimits, user_limits_ = kUserLimits;

  Mutex mutex_;
  std::map<Key, Entry> processes_ DXG_GUARDED_BY(mutex_);
  std::map<uid_t, std::weak_ptr<Account>> users_ DXG_GUARDED_BY(mutex_);
  std::unordered_set<OpenFile*> files_ DXG_GUARDED_BY(mutex_);
  std::map<uint64_t, std::shared_ptr<SharedObject>> expected_objects_ DXG_GUARDED_BY(mutex_);  // by token
  std::vector<std::shared_ptr<Adapter>> adapters_ DXG_GUARDED_BY(mutex_);

  TeardownThread teardown_;  // the last member: it uses the others
};

}  // namespace dxg::guest
