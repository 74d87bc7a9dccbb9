#include "cuse-dxg/replay/live_player.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <deque>
#include <list>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "base/monotonic.h"
#include "cuse-dxg/replay/comparison.h"
#include "cuse-dxg/replay/live_calls.h"
#include "cuse-dxg/replay/live_process.h"
#include "link/trace/trace_reader.h"

namespace dxg::replay {
namespace {

constexpr size_t kWaitingMax = 8192;     // calls that wait for others; what comes after those is not read
constexpr size_t kLookedAtMax = 1024;    // of them, for one whose time has come
constexpr size_t kMakersMax = 1u << 16;  // calls that are kept because they made an object
constexpr size_t kHistoryMax = 12;
constexpr uint64_t kPatienceNs =
    30'000'000'000;  // beyond what it took the other host, for a call that does not end
constexpr uint64_t kEndPatienceNs = 5'000'000'000;  // for all that is left at the end
constexpr int kLookMs = 20;

class LivePlayer {
 public:
  LivePlayer(UniqueFd feed, std::string node) : feed_(std::move(feed)), node_(std::move(node)) {}
  Status Run();

 private:
  // What waits for its time, or is under way: a call, or the end of a process.
  struct Item {
    uint32_t process = 0;
    uint64_t begin_ns = 0, end_ns = 0;
    std::shared_ptr<const RecordedCall> call;  // null: its last descriptor was closed
    uint64_t since_ns = 0;                     // under way since then
  };
  struct Player {
    pid_t pid = 0;
    UniqueFd socket;
    std::string heard;
    std::vector<uint64_t> under_way;
    bool closed = false;  // its end waits, or is over
  };

  static ssize_t ReadFeed(void* self, char* to, size_t bytes);
  Status Begin();
  Status Take();
  Status TakeRecord(const TraceRecord& record, uint64_t number);
  Status StartPlayers();
  void Dispatch();
  void Send(Item item);
  void Wait();
  void Hear(Player& player);
  void Compare(const Item& item, const std::string& message);
  void Lose(Player& player);
  void Keep(const std::shared_ptr<const RecordedCall>& call);
  Status CheckPatience();
  void Say(LiveSays what, const std::string& text) {
    SendAll(feed_.get(), std::string(1, static_cast<char>(what)) + Framed(text));
  }
  void EndAll();

  const UniqueFd feed_;
  const std::string node_;
  bool feed_waits_ = true;  // for the header
  bool feed_ended_ = false;
  std::FILE* file_ = nullptr;  // the reader's
  std::unique_ptr<trace::TraceReader> reader_;
  std::unique_ptr<Recording> recording_;
  std::unique_ptr<LiveOthers> others_;
  std::list<Item> waiting_;
  std::map<uint64_t, Item> under_way_;
  uint64_t next_ = 0;
  std::vector<Player> players_;
  std::deque<std::shared_ptr<const RecordedCall>> kept_;
  std::map<uint32_t, std::shared_ptr<const RecordedCall>> makers_;
  Comparison comparison_;
  Counts counts_;
  bool differs_ = false;
  uint64_t not_sent_ = 0;    // records that the recorder had no room for
  uint64_t not_played_ = 0;  // calls that had no answer
  uint64_t heard_ns_ = 0;
};

// Nothing there is an end for the reader, which it takes back.
ssize_t LivePlayer::ReadFeed(void* self, char* to, size_t bytes) {
  auto& player = *static_cast<LivePlayer*>(self);
  for (;;) {
    const ssize_t got = recv(player.feed_.get(), to, bytes, player.feed_waits_ ? 0 : MSG_DONTWAIT);
    if (got < 0 && errno == EINTR) continue;
    if (got == 0 || (got < 0 && errno != EAGAIN && errno != EWOULDBLOCK)) player.feed_ended_ = true;
    player.feed_waits_ = false;
    return std::max<ssize_t>(got, 0);
  }
}

Status LivePlayer::Begin() {
  file_ = fopencookie(this, "r", {.read = ReadFeed, .write = nullptr, .seek = nullptr, .close = nullptr});
  if (file_ == nullptr) return Status::Refuse(ENOMEM, "no memory to read with");
  DXG_ASSIGN(reader_, trace::TraceReader::Read(file_, "what clients say"));
  reader_->Follow([this] {
    std::clearerr(file_);
    return false;  // others are to be heard meanwhile
  });
  recording_ = Recording::Live(reader_->header(), "the other host");
  DXG_ASSIGN(others_, LiveOthers::Create());
  return Status::Ok();
}

// What has come, as far as there is room for it.
Status LivePlayer::Take() {
  while (waiting_.size() < kWaitingMax) {
    const bool had_ended = feed_ended_;  // else there may be more that came with its end
    DXG_ASSIGN(const auto what, reader_->Next());
    if (what == trace::TraceReader::What::kEnd && (had_ended || !feed_ended_)) return Status::Ok();
    if (what == trace::TraceReader::What::kLost) not_sent_ += reader_->lost_here();
    if (what == trace::TraceReader::What::kRecord) DXG_TRY(TakeRecord(reader_->record(), reader_->records()));
  }
  return Status::Ok();
}

Status LivePlayer::TakeRecord(const TraceRecord& record, uint64_t number) {
  DXG_TRY(recording_->Add(record, number));
  std::optional<RecordedCall> call = recording_->TakeCall();
  DXG_TRY(StartPlayers());
  if (call) {
    waiting_.push_back({.process = call->process,
                        .begin_ns = call->begin_ns,
                        .end_ns = call->end_ns,
                        .call = std::make_shared<const RecordedCall>(*std::move(call))});
  }
  if (!record.has_close()) return Status::Ok();
  for (uint32_t i = 0; i < players_.size(); ++i) {
    const RecordedProcess& process = recording_->processes()[i];
    if (players_[i].closed || process.pid != record.pid() || process.closed_ns != record.begin_ns()) continue;
    players_[i].closed = true;
    waiting_.push_back(
        {.process = i, .begin_ns = record.begin_ns(), .end_ns = record.begin_ns(), .call = {}});
  }
  return Status::Ok();
}

// A process for each of the recording that has none.
Status LivePlayer::StartPlayers() {
  while (players_.size() < recording_->processes().size()) {
    const auto number = static_cast<uint32_t>(players_.size());
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
      return Status::Refuse(errno, "no socket can be had: {}", std::strerror(errno));
    UniqueFd here(ends[0]);
    const UniqueFd there(ends[1]);
    const pid_t pid = fork();
    if (pid < 0) return Status::Refuse(errno, "no process can be had: {}", std::strerror(errno));
    if (pid == 0) {
      // Whoever has these keeps others from seeing their ends.
      for (Player& each : players_) each.socket.reset();
      here.reset();
      close(feed_.get());
      others_->Begin(number, recording_->processes()[number].pid, getpid());
      PlayProcess(there.get(), recording_->processes()[number], *others_, node_);
    }
    others_->Begin(number, recording_->processes()[number].pid, pid);
    players_.push_back({.pid = pid, .socket = std::move(here), .heard = {}, .under_way = {}});
  }
  return Status::Ok();
}

// What has nothing before it any more, in the order in which it was answered.
void LivePlayer::Dispatch() {
  uint64_t first_end = ~0ull;
  std::vector<std::pair<uint32_t, uint32_t>> busy;  // threads
  const auto note = [&](const Item& item) {
    first_end = std::min(first_end, item.end_ns);
    if (item.call != nullptr) busy.emplace_back(item.process, item.call->thread);
  };
  for (const auto& [number, item] : under_way_) note(item);
  size_t looked = 0;
  for (auto at = waiting_.begin(); at != waiting_.end() && looked < kLookedAtMax; ++looked) {
    const bool of_busy = std::ranges::any_of(busy, [&](const auto& thread) {
      return thread.first == at->process && (at->call == nullptr || thread.second == at->call->thread);
    });
    if (first_end < at->begin_ns || of_busy) {
      note(*at);
      ++at;
      continue;
    }
    Item item = std::move(*at);
    at = waiting_.erase(at);
    note(item);
    Send(std::move(item));
  }
}

void LivePlayer::Send(Item item) {
  Player& player = players_[item.process];
  item.since_ns = MonotonicNs();
  const bool there = player.socket.valid();
  const bool sent =
      there && (item.call == nullptr ? shutdown(player.socket.get(), SHUT_WR) == 0
                                     : SendAll(player.socket.get(), Framed(CallMessage(next_, *item.call))));
  if (!sent) {
    not_played_ += item.call != nullptr;
    return;
  }
  player.under_way.push_back(next_);
  under_way_.emplace(next_++, std::move(item));
}

// Until somebody says something.
void LivePlayer::Wait() {
  std::vector<pollfd> events;
  std::vector<Player*> of;
  for (Player& player : players_) {
    if (!player.socket.valid()) continue;
    events.push_back({player.socket.get(), POLLIN, 0});
    of.push_back(&player);
  }
  if (!feed_ended_ && waiting_.size() < kWaitingMax) events.push_back({feed_.get(), POLLIN, 0});
  if (poll(events.data(), events.size(), kLookMs) <= 0) return;
  for (size_t i = 0; i < of.size(); ++i) {
    if (events[i].revents != 0) Hear(*of[i]);
  }
}

void LivePlayer::Hear(Player& player) {
  char bytes[64 << 10];
  const ssize_t got = recv(player.socket.get(), bytes, sizeof(bytes), MSG_DONTWAIT);
  if (got < 0 && (errno == EINTR || errno == EAGAIN)) return;
  if (got <= 0) return Lose(player);
  heard_ns_ = MonotonicNs();
  player.heard.append(bytes, static_cast<size_t>(got));
  while (const auto message = TakeFramed(&player.heard)) {
    const uint64_t number = NumberOf(*message);
    const auto found = under_way_.find(number);
    if (found == under_way_.end()) continue;
    std::erase(player.under_way, number);
    const Item item = std::move(found->second);
    under_way_.erase(found);
    Compare(item, *message);
  }
}

// It has ended, as it was to, or not.
void LivePlayer::Lose(Player& player) {
  heard_ns_ = MonotonicNs();
  for (const uint64_t number : player.under_way) {
    not_played_ += under_way_[number].call != nullptr;
    under_way_.erase(number);
  }
  player.under_way.clear();
  player.socket.reset();
  waitpid(player.pid, nullptr, 0);
}

void LivePlayer::Compare(const Item& item, const std::string& message) {
  const RecordedCall& call = *item.call;
  const std::optional<Outcome> outcome = OutcomeOf(message, *call.row);
  if (!outcome) {
    ++not_played_;
    return;
  }
  const Verdict verdict =
      comparison_.Compare(call.process + 1, call, *outcome->request, outcome->result, *outcome->reply);
  counts_.Add(call, outcome->result, verdict);
  Keep(item.call);
  if (verdict.same || std::exchange(differs_, true)) return;
  std::string text = fmt::format(
      "record {}: {}({})\n{}  other:    {}\n", call.record, call.row->name, Brief(*outcome->request),
      DifferenceText(call, outcome->result, *outcome->reply), fmt::join(verdict.fields, ", "));
  const auto maker = [this](uint32_t object) -> const RecordedCall* {
    const auto found = makers_.find(object);
    return found == makers_.end() ? nullptr : found->second.get();
  };
  for (const RecordedCall* each : HistoryOf(maker, call, kHistoryMax))
    text += fmt::format("    {}\n", LineOf(*each));
  Say(LiveSays::kFirst, text);
}

void LivePlayer::Keep(const std::shared_ptr<const RecordedCall>& call) {
  if (differs_ || (call->handles.empty() && call->descriptors.empty())) return;
  kept_.push_back(call);
  for (const auto* made : {&call->handles, &call->descriptors}) {
    for (const Made& each : *made) makers_[each.object] = call;
  }
  if (kept_.size() <= kMakersMax) return;
  for (const auto* made : {&kept_.front()->handles, &kept_.front()->descriptors}) {
    for (const Made& each : *made) makers_.erase(each.object);
  }
  kept_.pop_front();
}

Status LivePlayer::CheckPatience() {
  for (const auto& [number, item] : under_way_) {
    const uint64_t patience_ns =
        feed_ended_ ? kEndPatienceNs : kPatienceNs + (item.end_ns - std::min(item.begin_ns, item.end_ns));
    if (MonotonicNs() - std::max(heard_ns_, item.since_ns) < patience_ns) continue;
    return Status::Refuse(ETIMEDOUT, "it does not answer any more: {}",
                          item.call == nullptr ? std::string("the node is not closed") : LineOf(*item.call));
  }
  return Status::Ok();
}

void LivePlayer::EndAll() {
  for (const Player& player : players_) {
    if (!player.socket.valid()) continue;
    kill(player.pid, SIGKILL);
    waitpid(player.pid, nullptr, 0);
  }
}

Status LivePlayer::Run() {
  Status status = Begin();
  while (status.ok()) {
    status = Take();
    Dispatch();
    if (feed_ended_ && waiting_.empty() && under_way_.empty()) break;
    Wait();
    if (status.ok()) status = CheckPatience();
  }
  for (const auto& [number, item] : under_way_) not_played_ += item.call != nullptr;
  for (const Item& item : waiting_) not_played_ += item.call != nullptr;
  EndAll();
  if (!status.ok()) Say(LiveSays::kWrong, status.why());
  std::string text = counts_.Text();
  if (not_played_ != 0) text += fmt::format("{:>8}  calls have no answer of the other host\n", not_played_);
  if (not_sent_ != 0)
    text += fmt::format(
        "{:>8}  calls were not compared: more came than could be; others may differ because of them\n",
        not_sent_);
  Say(LiveSays::kCounts, text);
  return status;
}

}  // namespace

int PlayLive(UniqueFd feed, const std::string& node) {
  signal(SIGPIPE, SIG_IGN);
  LivePlayer player(std::move(feed), node);
  return player.Run().ok() ? 0 : 1;
}

int PlayLive(const std::string& node) { return PlayLive(UniqueFd(STDIN_FILENO), node); }

}  // namespace dxg::replay
