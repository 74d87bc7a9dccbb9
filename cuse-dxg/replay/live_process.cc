#include "cuse-dxg/replay/live_process.h"

#include <fmt/format.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <deque>
#include <functional>
#include <thread>
#include <utility>

#include "base/mutex.h"
#include "base/start_thread.h"
#include "cuse-dxg/replay/live_calls.h"

namespace dxg::replay {
namespace {

// Threads that make calls: as many as there were calls at once.
class LiveThreads {
 public:
  using Play = std::function<void(uint64_t, const RecordedCall&)>;
  explicit LiveThreads(Play play) : play_(std::move(play)) {}

  // False: no thread can be had.
  bool Run(uint64_t number, RecordedCall call) DXG_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    calls_.emplace_back(number, std::move(call));
    if (idle_ >= calls_.size()) {
      changed_.NotifyOne();
      return true;
    }
    return StartThread(&threads_.emplace_back(), [this] { Work(); });
  }

 private:
  // Until the process ends.
  void Work() DXG_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    for (;;) {
      ++idle_;
      while (calls_.empty()) changed_.Wait(mutex_);
      --idle_;
      const auto [number, call] = std::move(calls_.front());
      calls_.pop_front();
      lock.Unlock();
      play_(number, call);
      lock.Lock();
    }
  }

  const Play play_;
  Mutex mutex_;
  ConditionVariable changed_;
  std::deque<std::pair<uint64_t, RecordedCall>> calls_ DXG_GUARDED_BY(mutex_);
  size_t idle_ DXG_GUARDED_BY(mutex_) = 0;
  std::deque<std::thread> threads_ DXG_GUARDED_BY(mutex_);
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
  const auto tell = [&](const std::string& message) {
    MutexLock lock(telling);
    SendAll(socket, Framed(message));
  };
  LiveThreads threads([&](uint64_t number, const RecordedCall& call) {
    tell(OutcomeMessage(number, (*client)->Make(call)));
  });
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
      if (call && *client != nullptr) {
        if (!threads.Run(number, *std::move(call))) _exit(1);
        continue;
      }
      // None of its calls is under way. The descriptors that it was given stay for others.
      client->reset();
      tell(CloseMessage(number));
    }
  }
}

}  // namespace dxg::replay
