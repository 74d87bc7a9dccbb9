#include "cuse-dxg/replay/live_player.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <deque>
#include <list>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "base/monotonic.h"
#include "cuse-dxg/replay/live_calls.h"
#include "cuse-dxg/replay/live_differences.h"
#include "cuse-dxg/replay/live_process.h"
#include "link/trace/trace_reader.h"

namespace dxg::replay {
namespace {

constexpr size_t kWaitingMax = 8192;   // calls that wait for others; what comes after those is not read
constexpr size_t kLookedAtMax = 1024;  // of them, for one whose time has come
constexpr uint64_t kPatienceNs = 10'000'000'000;    // beyond what it took the other host, for a call
constexpr uint64_t kEndPatienceNs = 5'000'000'000;  // for all that is left at the end
constexpr size_t kLendersMax = 256;  // processes that closed the node, and whose descriptors others may use

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
    UniqueFd socket, pidfd;
    uint32_t place = 0;  // in others_
    std::string heard, to_send;
    std::vector<uint64_t> under_way;
    bool lends = false;    // it was given descriptors, which others may have from it
    bool closing = false;  // nothing more is for it
  };

  static ssize_t ReadFeed(void* self, char* to, size_t bytes);
  Status Begin();
  Status Take();
  Status TakeRecord(const TraceRecord& record, uint64_t number);
  void EndsSoon() {
    if (end_by_ns_ == kNever) end_by_ns_ = MonotonicNs() + kEndPatienceNs;
  }
  Status StartPlayers();
  Status StartPlayer(uint32_t process);
  void Dispatch();
  bool Send(Item item);
  static void Flush(Player& player);
  void Wait();
  void Hear(uint32_t process);
  void Compare(const Item& item, const std::string& message);
  void Closed(uint32_t process);
  void Lose(uint32_t process);
  uint64_t PatienceEndsNs(const Item& item) const;
  int PatienceMs() const;
  void GiveUpLate();
  void Say(LiveSays what, const std::string& text) {
    SendAll(feed_.get(), std::string(1, static_cast<char>(what)) + Framed(text));
  }

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
  std::map<uint32_t, Player> players_;  // by process
  uint32_t begun_ = 0;                  // so many processes have, or had, one
  std::deque<uint32_t> lenders_;
  LiveDifferences differences_;
  bool was_late_ = false;
  uint64_t not_sent_ = 0;    // records that the recorder had no room for
  uint64_t not_played_ = 0;  // calls that had no answer
  static constexpr uint64_t kNever = ~0ull;
  uint64_t end_by_ns_ = kNever;
};

// Nothing there is an end for the reader, which it takes back.
ssize_t LivePlayer::ReadFeed(void* self, char* to, size_t bytes) {
  auto& player = *static_cast<LivePlayer*>(self);
  for (;;) {
    const ssize_t got = recv(player.feed_.get(), to, bytes, player.feed_waits_ ? 0 : MSG_DONTWAIT);
    if (got < 0 && errno == EINTR) continue;
    const bool ended = got == 0 || (got < 0 && errno != EAGAIN && errno != EWOULDBLOCK);
    if (ended) player.EndsSoon();
    player.feed_ended_ = player.feed_ended_ || ended;
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
  if (const auto closed = recording_->closed(); closed && players_.contains(*closed))
    waiting_.push_back(
        {.process = *closed, .begin_ns = record.begin_ns(), .end_ns = record.begin_ns(), .call = {}});
  return Status::Ok();
}

// A process for each of the recording that had none.
Status LivePlayer::StartPlayers() {
  for (; begun_ < recording_->processes().size(); ++begun_) DXG_TRY(StartPlayer(begun_));
  return Status::Ok();
}

Status LivePlayer::StartPlayer(uint32_t process) {
  const RecordedProcess& recorded = recording_->processes()[process];
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
    return Status::Refuse(errno, "no socket can be had: {}", std::strerror(errno));
  UniqueFd here(ends[0]);
  const UniqueFd there(ends[1]);
  DXG_ASSIGN(const uint32_t place, others_->Begin(recorded.pid));
  const pid_t pid = fork();
  if (pid < 0) {
    const int error = errno;
    return Status::Refuse(error, "no process can be had: {}", std::strerror(error));
  }
  if (pid == 0) {
    // Whoever has these keeps others from seeing their ends.
    players_.clear();
    here.reset();
    close(feed_.get());
    others_->SetPid(place, getpid());
    PlayProcess(there.get(), recorded, *others_, node_);
  }
  others_->SetPid(place, pid);
  Player& player = players_[process];
  player.socket = std::move(here);
  player.pidfd = UniqueFd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
  player.place = place;
  return Status::Ok();
}

// What has nothing before it any more, in the order in which it was answered.
void LivePlayer::Dispatch() {
  uint64_t first_end = ~0ull;
  std::set<std::pair<uint32_t, uint32_t>> busy;  // threads
  const auto note = [&](const Item& item) {
    first_end = std::min(first_end, item.end_ns);
    if (item.call != nullptr) busy.emplace(item.process, item.call->thread);
  };
  const auto is_busy = [&](const Item& item) {
    if (item.call != nullptr) return busy.contains({item.process, item.call->thread});
    const auto first = busy.lower_bound({item.process, 0});
    return first != busy.end() && first->first == item.process;
  };
  for (const auto& [number, item] : under_way_) note(item);
  size_t looked = 0;
  for (auto at = waiting_.begin(); at != waiting_.end() && looked < kLookedAtMax; ++looked) {
    if (first_end < at->begin_ns || is_busy(*at)) {
      note(*at);
      ++at;
      continue;
    }
    const Item item = std::move(*at);
    at = waiting_.erase(at);
    if (Send(item)) note(item);
  }
}

// False: nobody is there to play it.
bool LivePlayer::Send(Item item) {
  const auto found = players_.find(item.process);
  if (found == players_.end() || found->second.closing) {
    not_played_ += item.call != nullptr;
    return false;
  }
  Player& player = found->second;
  if (item.call == nullptr) {
    player.closing = true;
    others_->End(player.place);
  } else {
    player.lends = player.lends || !item.call->descriptors.empty();
  }
  item.since_ns = MonotonicNs();
  player.to_send += Framed(item.call == nullptr ? CloseMessage(next_) : CallMessage(next_, *item.call));
  player.under_way.push_back(next_);
  under_way_.emplace(next_++, std::move(item));
  Flush(player);
  return true;
}

// As far as there is room: it may be held up, by an open of the node that does not end.
void LivePlayer::Flush(Player& player) {
  while (!player.to_send.empty()) {
    const ssize_t sent =
        send(player.socket.get(), player.to_send.data(), player.to_send.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return;
    if (sent < 0) return player.to_send.clear();  // its end is heard
    player.to_send.erase(0, static_cast<size_t>(sent));
  }
}

// Until somebody says something, or it has taken too long.
void LivePlayer::Wait() {
  std::vector<pollfd> events;
  std::vector<uint32_t> of;
  for (const auto& [process, player] : players_) {
    const bool more = !player.to_send.empty();
    events.push_back({player.socket.get(), static_cast<short>(more ? POLLIN | POLLOUT : POLLIN), 0});
    of.push_back(process);
  }
  // Where there is no room, only its end is looked for.
  const bool has_room = waiting_.size() < kWaitingMax;
  if (!feed_ended_ && (has_room || end_by_ns_ == kNever))
    events.push_back({feed_.get(), static_cast<short>(has_room ? POLLIN | POLLRDHUP : POLLRDHUP), 0});
  if (poll(events.data(), events.size(), PatienceMs()) <= 0) return;
  if (events.size() > of.size() && (events.back().revents & (POLLRDHUP | POLLHUP)) != 0) EndsSoon();
  for (size_t i = 0; i < of.size(); ++i) {
    if ((events[i].revents & POLLOUT) != 0) Flush(players_[of[i]]);
    if ((events[i].revents & ~POLLOUT) != 0) Hear(of[i]);
  }
}

void LivePlayer::Hear(uint32_t process) {
  Player& player = players_[process];
  char bytes[64 << 10];
  const ssize_t got = recv(player.socket.get(), bytes, sizeof(bytes), MSG_DONTWAIT);
  if (got < 0 && (errno == EINTR || errno == EAGAIN)) return;
  if (got <= 0) return Lose(process);
  player.heard.append(bytes, static_cast<size_t>(got));
  while (const auto message = TakeFramed(&player.heard)) {
    const uint64_t number = NumberOf(*message);
    const auto found = under_way_.find(number);
    if (found == under_way_.end()) continue;
    std::erase(player.under_way, number);
    const Item item = std::move(found->second);
    under_way_.erase(found);
    if (item.call == nullptr) {
      Closed(process);
    } else {
      Compare(item, *message);
    }
  }
}

// It has closed the node. What it was given it keeps for others, as the one that it plays may have passed it
// on.
void LivePlayer::Closed(uint32_t process) {
  recording_->Forget(process);
  if (players_[process].lends) lenders_.push_back(process);
  if (players_[process].lends && lenders_.size() <= kLendersMax) return;
  const uint32_t last = players_[process].lends ? lenders_.front() : process;
  if (last != process) lenders_.pop_front();
  // Its end is heard.
  if (const auto found = players_.find(last); found != players_.end())
    shutdown(found->second.socket.get(), SHUT_WR);
}

// It has ended, as it was to, or not.
void LivePlayer::Lose(uint32_t process) {
  Player& player = players_[process];
  for (const uint64_t number : player.under_way) {
    not_played_ += under_way_[number].call != nullptr;
    under_way_.erase(number);
  }
  if (!player.closing) others_->End(player.place);
  players_.erase(process);
}

void LivePlayer::Compare(const Item& item, const std::string& message) {
  const RecordedCall& call = *item.call;
  const std::optional<Outcome> outcome = OutcomeOf(message, *call.row);
  if (!outcome) {
    ++not_played_;
    return;
  }
  const std::string first = differences_.Compare(item.call, *outcome);
  if (!first.empty()) Say(LiveSays::kFirst, first);
}

uint64_t LivePlayer::PatienceEndsNs(const Item& item) const {
  return item.since_ns + kPatienceNs + (item.end_ns - std::min(item.begin_ns, item.end_ns));
}

// For poll(2): -1 where nothing is waited for.
int LivePlayer::PatienceMs() const {
  if (under_way_.empty()) return waiting_.empty() ? -1 : 0;
  uint64_t ends_ns = end_by_ns_;
  for (const auto& [number, item] : under_way_) ends_ns = std::min(ends_ns, PatienceEndsNs(item));
  const uint64_t now_ns = MonotonicNs();
  constexpr uint64_t kMsMax = 3'600'000;
  return ends_ns <= now_ns ? 0 : static_cast<int>(std::min((ends_ns - now_ns) / 1'000'000 + 1, kMsMax));
}

// A fence that the other host does not signal, say: what is written into memory is not played. Others go on.
void LivePlayer::GiveUpLate() {
  for (;;) {
    const uint64_t now_ns = MonotonicNs();
    const auto late = std::ranges::find_if(
        under_way_, [&](const auto& each) { return now_ns >= PatienceEndsNs(each.second); });
    if (late == under_way_.end()) return;
    const uint32_t process = late->second.process;
    if (late->second.call != nullptr && !std::exchange(was_late_, true))
      Say(LiveSays::kLate, LineOf(*late->second.call));
    syscall(SYS_pidfd_send_signal, players_[process].pidfd.get(), SIGKILL, nullptr, 0);
    Lose(process);
  }
}

Status LivePlayer::Run() {
  Status status = Begin();
  while (status.ok()) {
    status = Take();
    if (!status.ok()) break;
    Dispatch();
    if (MonotonicNs() >= end_by_ns_ || (feed_ended_ && waiting_.empty() && under_way_.empty())) break;
    Wait();
    GiveUpLate();
  }
  for (const auto& [number, item] : under_way_) not_played_ += item.call != nullptr;
  for (const Item& item : waiting_) not_played_ += item.call != nullptr;
  if (!status.ok()) Say(LiveSays::kWrong, status.why());
  std::string text = differences_.CountsText();
  if (not_played_ != 0) text += fmt::format("{:>8}  calls have no answer of the other host\n", not_played_);
  for (const auto& [number, item] : under_way_) {
    if (!status.ok() || item.call == nullptr) continue;
    text += fmt::format("          the first that had none at the end: {}\n", LineOf(*item.call));
    break;
  }
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
  signal(SIGCHLD, SIG_IGN);  // nobody waits for those who play: one may be held up in a node until that ends
  LivePlayer player(std::move(feed), node);
  return player.Run().ok() ? 0 : 1;
}

int PlayLive(const std::string& node) { return PlayLive(UniqueFd(STDIN_FILENO), node); }

}  // namespace dxg::replay
