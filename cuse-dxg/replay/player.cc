#include "cuse-dxg/replay/player.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <numeric>
#include <thread>
#include <unordered_map>

#include "base/monotonic.h"
#include "base/mutex.h"
#include "base/printable.h"
#include "base/start_thread.h"
#include "base/unique_fd.h"
#include "cuse-dxg/replay/client.h"
#include "cuse-dxg/replay/order.h"
#include "cuse-dxg/replay/telling.h"
#include "proto/contract/text.h"

namespace dxg::replay {
namespace {

// Beyond what the recording says, for a call that does not end; and for the next ones, when one has not.
constexpr int kPatienceMs = 30'000, kNextPatienceMs = 3'000;
constexpr int kLetGo = SIGUSR1;  // ends a wait
constexpr int kCannotOpen = 3;   // the exit status of a player, which has said why

void SleepUntil(uint64_t ns) {
  const timespec at{.tv_sec = static_cast<time_t>(ns / 1'000'000'000),
                    .tv_nsec = static_cast<long>(ns % 1'000'000'000)};
  while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, nullptr) == EINTR) {
  }
}

class RecordedOthers final : public Others {
 public:
  RecordedOthers(const Recording& recording, Order& order) : recording_(recording), order_(order) {}
  Order::Place* PlaceOf(uint32_t object) override {
    return object == 0 || object > recording_.objects() ? nullptr : &order_.PlaceOf(object);
  }
  // One number may have been that of several, one after another: the last one that was begun is meant.
  int PidOf(uint32_t recorded) override {
    for (uint32_t i = static_cast<uint32_t>(recording_.processes().size()); i > 0; --i) {
      const int live = order_.PidOf(i - 1);
      if (recording_.processes()[i - 1].pid == recorded && live != 0) return live;
    }
    return 0;
  }
  std::atomic<int32_t>* PlayerOf(const RecordedCall& call) override {
    return &order_.PlayerOf(static_cast<size_t>(&call - recording_.calls().data()));
  }

 private:
  const Recording& recording_;
  Order& order_;
};

// Processes of the recording with one number, which one process plays.
struct Chain {
  std::vector<uint32_t> processes;
  uint64_t lends_until_ns = 0;  // the last call of another one with a descriptor of theirs begins before that
};

std::vector<Chain> ChainsOf(const Recording& recording) {
  std::vector<Chain> chains;
  std::unordered_map<uint32_t, uint32_t> of_pid, maker;
  for (uint32_t i = 0; i < recording.processes().size(); ++i) {
    const auto [known, is_new] =
        of_pid.try_emplace(recording.processes()[i].pid, static_cast<uint32_t>(chains.size()));
    if (is_new) chains.emplace_back();
    chains[known->second].processes.push_back(i);
  }
  for (const RecordedCall& call : recording.calls()) {
    const uint32_t own = of_pid[recording.processes()[call.process].pid];
    const auto made_by = maker.find(call.borrowed);
    if (call.borrowed != 0 && made_by != maker.end() && made_by->second != own) {
      Chain& lender = chains[made_by->second];
      lender.lends_until_ns = std::max({lender.lends_until_ns, call.begin_ns + 1, call.end_ns + 1});
    }
    for (const Made& made : call.descriptors) maker[made.object] = own;
  }
  return chains;
}

// Of the processes that had one number, one after another: from the first open to the last close of one.
int PlayProcess(const Recording& recording, Order& order, uint32_t number, const PlayOptions& options,
                uint64_t begin_ns, int tell) {
  const RecordedProcess& process = recording.processes()[number];
  Mutex telling;
  RecordedOthers others(recording, order);
  if (!order.WaitFor(order.OpenOf(number))) return 0;
  auto client = Client::Open(process, others, options.device);
  if (!client.ok()) {
    fmt::print(stderr, "cuse-dxg replay: {}\n", client.status().why());
    return kCannotOpen;
  }
  order.PidOf(number) = getpid();
  order.Done(order.OpenOf(number));
  TellOfOther(tell, telling);
  std::vector<std::vector<size_t>> calls(process.threads.size());
  for (const size_t each : process.calls) calls[recording.calls()[each].thread].push_back(each);
  const uint64_t recorded_begin_ns = recording.header().begin_ns();
  const auto play = [&](size_t thread) {
    for (const size_t each : calls[thread]) {
      const RecordedCall& call = recording.calls()[each];
      if (!order.WaitFor(each)) return;
      if (options.recorded_times && call.begin_ns > recorded_begin_ns)
        SleepUntil(begin_ns + (call.begin_ns - recorded_begin_ns));
      (void)order.WaitForWaits(each);  // or it shows what comes of that
      const Outcome outcome = (*client)->Make(call);
      order.Done(each);
      Tell(tell, telling, each, outcome);  // whoever hears it looks whose time has come
    }
  };
  std::vector<std::thread> threads(calls.size());
  for (size_t i = 1; i < calls.size(); ++i) {
    // The first is this one.
    if (!StartThread(&threads[i], [&play, i] { play(i); }))
      fmt::print(stderr, "cuse-dxg replay: no thread can be had\n");
  }
  if (!calls.empty()) play(0);
  for (std::thread& thread : threads) {
    if (thread.joinable()) thread.join();
  }
  if (!order.WaitFor(order.CloseOf(number))) return 0;
  order.PidOf(number) = 0;
  client->reset();
  order.Done(order.CloseOf(number));
  TellOfOther(tell, telling);
  return 0;
}

// Those that had one number, by one process. Its descriptors are there until others have used them.
int PlayChain(const Recording& recording, Order& order, const Chain& chain, const PlayOptions& options,
              uint64_t begin_ns, int tell) {
  prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY);  // so that the others may take descriptors
  struct sigaction nothing {};
  nothing.sa_handler = [](int) {};
  sigaction(kLetGo, &nothing, nullptr);  // the call that it meets ends with EINTR
  for (const uint32_t number : chain.processes) {
    if (const int status = PlayProcess(recording, order, number, options, begin_ns, tell); status != 0)
      return status;
  }
  order.WaitForTime(chain.lends_until_ns);
  return 0;
}

// The parent of the players, which hears them.
class Playing {
 public:
  Playing(const Recording& recording, const PlayOptions& options, Order& order)
      : recording_(recording), options_(options), order_(order), told_(recording.calls().size()) {}

  Status Run();
  Played Compare();

 private:
  // The chains whose time has come.
  Status StartDue();
  bool Hear();           // false: nobody is left who could say something
  void Reap(int flags);  // of waitpid(2)
  void EndAll();
  // Calls that are under way and have not ended: the one that ended first in the recording; else null.
  const RecordedCall* Silent() const;
  std::string WhySilent() const;
  // Ends that one's wait, so that the others go on. False: there is none, or it does not help.
  bool LetGo();
  bool IsDue(uint32_t chain) const { return order_.IsTimeFor(order_.OpenOf(chains_[chain].processes[0])); }

  const Recording& recording_;
  const PlayOptions& options_;
  Order& order_;
  UniqueFd hear_, tell_;
  std::vector<std::unique_ptr<TraceRecord>> told_;  // by call
  std::vector<Chain> chains_;
  std::vector<uint32_t> todo_;  // chains by their beginning, the next one at the end
  std::vector<pid_t> players_;
  Hearing heard_;
  std::string why_;
  std::unordered_map<size_t, int> let_go_;  // calls, and how often
  uint64_t begin_ns_ = 0;
  bool cannot_open_ = false;
};

Status Playing::StartDue() {
  while (!todo_.empty() && IsDue(todo_.back())) {
    const uint32_t number = todo_.back();
    todo_.pop_back();
    const pid_t player = fork();
    if (player < 0) {
      const int error = errno;
      return Status::Refuse(error, "no process can be had to play one of the recording: {}",
                            std::strerror(error));
    }
    if (player == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      hear_.reset();
      _exit(PlayChain(recording_, order_, chains_[number], options_, begin_ns_, tell_.get()));
    }
    players_.push_back(player);
  }
  return Status::Ok();
}

void Playing::Reap(int flags) {
  std::erase_if(players_, [this, flags](pid_t player) {
    int status = 0;
    if (waitpid(player, &status, flags) != player) return false;
    if (WIFEXITED(status) && WEXITSTATUS(status) == kCannotOpen) cannot_open_ = true;
    if (WIFSIGNALED(status) && why_.empty())
      why_ = fmt::format("a process that played ended by signal {}", WTERMSIG(status));
    return true;
  });
}

bool Playing::Hear() {
  return heard_.Read(hear_.get(), [this](std::unique_ptr<TraceRecord> record) {
    const uint64_t call = record->begin_ns();
    const bool ended_by_us = record->result() == -EINTR && let_go_.contains(call);
    if (call < told_.size() && !ended_by_us) told_[call] = std::move(record);
  });
}

const RecordedCall* Playing::Silent() const {
  const RecordedCall* first = nullptr;
  for (size_t i = 0; i < told_.size(); ++i) {
    const RecordedCall& call = recording_.calls()[i];
    if (told_[i] != nullptr || !order_.IsUnderWay(i)) continue;
    if (first == nullptr || call.end_ns < first->end_ns) first = &call;
  }
  return first;
}

std::string Playing::WhySilent() const {
  const RecordedCall* const call = Silent();
  if (call == nullptr) return "nothing happens any more";
  const bool memory_known = recording_.header().memory() == TraceHeader::FULL;
  return fmt::format("it has not ended, {} s after the last one did: {}{}", kPatienceMs / 1000, LineOf(*call),
                     call->row->call_class != WAIT ? ""
                     : memory_known ? "\n(what the program wrote into memory without a call is not recorded)"
                                    : "\n(the GPU's commands are in memory: record with --memory full)");
}

bool Playing::LetGo() {
  constexpr int kTimesMax = 3;
  const RecordedCall* const call = Silent();
  if (call == nullptr) return false;
  const auto number = static_cast<size_t>(call - recording_.calls().data());
  const int player = order_.PlayerOf(number);
  if (player == 0 || ++let_go_[number] > kTimesMax) return false;
  return syscall(SYS_tgkill, order_.PidOf(call->process).load(), player, kLetGo) == 0;
}

void Playing::EndAll() {
  order_.Stop();
  for (const pid_t player : players_) {
    kill(player, SIGKILL);
    waitpid(player, nullptr, 0);
  }
  players_.clear();
}

Status Playing::Run() {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0)
    return Status::Refuse(errno, "no pipe can be had: {}", std::strerror(errno));
  hear_ = UniqueFd(ends[0]);
  tell_ = UniqueFd(ends[1]);
  chains_ = ChainsOf(recording_);
  todo_.resize(chains_.size());
  std::iota(todo_.begin(), todo_.end(), 0);
  std::ranges::stable_sort(todo_, std::greater<>(), [this](uint32_t each) {
    return order_.NeedsOf(order_.OpenOf(chains_[each].processes[0]));
  });
  begin_ns_ = MonotonicNs();
  uint64_t longest_ns = 0, last_ns = recording_.header().begin_ns();
  for (const RecordedCall& call : recording_.calls()) {
    longest_ns =
        std::max({longest_ns, call.duration_ns(), call.begin_ns > last_ns ? call.begin_ns - last_ns : 0});
    last_ns = std::max(last_ns, call.end_ns);
  }
  constexpr int kLookMs = 20;  // for those that end, and say nothing
  const auto longest_ms = static_cast<int64_t>(longest_ns / 1'000'000);
  int64_t patience_ms = kPatienceMs + longest_ms;
  int64_t quiet_ms = 0;
  for (;;) {
    if (Status started = StartDue(); !started.ok()) {
      EndAll();
      return started;
    }
    if (todo_.empty()) tell_.reset();
    pollfd events{hear_.get(), POLLIN, 0};
    const int ready = poll(&events, 1, kLookMs);
    Reap(WNOHANG);
    if (ready > 0) {
      quiet_ms = 0;
      if (!Hear()) break;
      continue;
    }
    quiet_ms += kLookMs;
    const bool stuck = players_.empty() && !todo_.empty() && !IsDue(todo_.back());
    if (quiet_ms < patience_ms && !stuck && !cannot_open_) continue;
    if (why_.empty() && !cannot_open_) why_ = WhySilent();
    if (stuck || cannot_open_ || !LetGo()) break;
    patience_ms = kNextPatienceMs + longest_ms;
    quiet_ms = 0;
  }
  // Who has told all is about to end.
  if (why_.empty() && !cannot_open_) Reap(0);
  EndAll();
  if (cannot_open_) return Status::Refuse(ENODEV, "{} cannot be played on", options_.device);
  return Status::Ok();
}

// "dxg-info, process 1234, thread 1234".
std::string WhoOf(const Recording& recording, const RecordedCall& call) {
  const RecordedProcess& process = recording.processes()[call.process];
  return fmt::format("{}, process {}, thread {}", Printable(process.name.empty() ? "?" : process.name),
                     process.pid, process.threads[call.thread]);
}

Played Playing::Compare() {
  Played played;
  Comparison comparison;
  for (size_t i = 0; i < told_.size(); ++i) {
    const RecordedCall& call = recording_.calls()[i];
    if (told_[i] == nullptr) {
      if (++played.missing == 1) played.why_missing = why_.empty() ? "not made: " + LineOf(call) : why_;
      continue;
    }
    const std::unique_ptr<Message> request(call.row->request->New()), reply(call.row->reply->New());
    (void)request->ParseFromString(told_[i]->call().request());
    (void)reply->ParseFromString(told_[i]->call().reply());
    const Verdict verdict = comparison.Compare(call.process + 1, call, *request, told_[i]->result(), *reply);
    played.counts.Add(call, told_[i]->result(), verdict);
    if (verdict.same || !played.first.empty()) continue;
    played.first = fmt::format(
        "record {} ({}): {}({})\n{}  other:    {}\n", call.record, WhoOf(recording_, call), call.row->name,
        Brief(*request), DifferenceText(call, told_[i]->result(), *reply), fmt::join(verdict.fields, ", "));
    const auto history = HistoryOf(recording_, call, kHistoryMax);
    if (!history.empty()) played.first += "  what it names was made by\n";
    for (const RecordedCall* each : history) played.first += fmt::format("    {}\n", LineOf(*each));
  }
  return played;
}

}  // namespace

Result<Played> Play(const Recording& recording, const PlayOptions& options) {
  DXG_ASSIGN(const auto order, Order::Create(recording));
  Playing playing(recording, options, *order);
  DXG_TRY(playing.Run());
  return playing.Compare();
}

}  // namespace dxg::replay
