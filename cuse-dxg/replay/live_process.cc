#include "cuse-dxg/replay/live_process.h"

#include <fmt/format.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <thread>
#include <utility>

#include "base/mutex.h"
#include "base/start_thread.h"
#include "cuse-dxg/replay/live_calls.h"

namespace dxg::replay {
namespace {

class LiveThread {
 public:
  explicit LiveThread(std::function<void(uint64_t, const RecordedCall&)> play) : play_(std::move(play)) {}
  bool Start() {
    return StartThread(&thread_, [this] { Run(); });
  }
  void Add(uint64_t number, RecordedCall call) DXG_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    calls_.emplace_back(number, std::move(call));
    changed_.NotifyAll();
  }

 private:
  // Until the process ends.
  void Run() DXG_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    for (;;) {
      while (calls_.empty()) changed_.Wait(mutex_);
      const auto [number, call] = std::move(calls_.front());
      calls_.pop_front();
      lock.Unlock();
      play_(number, call);
      lock.Lock();
    }
  }

  const std::function<void(uint64_t, const RecordedCall&)> play_;
  Mutex mutex_;
  ConditionVariable changed_;
  std::deque<std::pair<uint64_t, RecordedCall>> calls_ DXG_GUARDED_BY(mutex_);
  std::thread thread_;
};

}  // namespace

void PlayProcess(int socket, const RecordedProcess& process, Others& others, const std::string& node) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY);  // so that the others may take descriptors
  auto client = Client::Open(process, others, node);
  if (!client.ok()) {
    fmt::print(stderr, "cuse-dxg: shadow: {}\n", client.status().why());
    _exit(1);
  }
  Mutex telling;
  const auto play = [&](uint64_t number, const RecordedCall& call) {
    const std::string said = Framed(OutcomeMessage(number, (*client)->Make(call)));
    MutexLock lock(telling);
    SendAll(socket, said);
  };
  std::map<uint32_t, std::unique_ptr<LiveThread>> threads;
  std::string heard;
  for (;;) {
    char bytes[64 << 10];
    const ssize_t got = read(socket, bytes, sizeof(bytes));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) _exit(0);
    heard.append(bytes, static_cast<size_t>(got));
    while (const auto message = TakeFramed(&heard)) {
      uint64_t number = 0;
      std::optional<RecordedCall> call = CallOf(*message, &number);
      if (!call) _exit(1);
      auto& thread = threads[call->thread];
      if (thread == nullptr) {
        thread = std::make_unique<LiveThread>(play);
        if (!thread->Start()) _exit(1);
      }
      thread->Add(number, *std::move(call));
    }
  }
}

}  // namespace dxg::replay
