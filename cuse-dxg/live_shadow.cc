#include "cuse-dxg/live_shadow.h"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <spdlog/spdlog.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <iterator>
#include <string_view>
#include <utility>

#include "base/monotonic.h"
#include "base/start_thread.h"
#include "cuse-dxg/replay/live_player.h"
#include "cuse-dxg/trace/recorder.h"
#include "link/trace/format.h"

namespace dxg {
namespace {

using replay::LiveSays;

constexpr uint64_t kSendMaxNs = 2'000'000'000;    // for what is not sent at the end
constexpr uint64_t kFinishMaxNs = 8'000'000'000;  // for that, and for what the player then says
constexpr size_t kTextMax = 1u << 20;             // of what it says

// What a user has in the environment for runs of his own would be in this one.
std::vector<std::string> OwnEnvironment() {
  std::vector<std::string> variables;
  for (char** each = environ; *each != nullptr; ++each) {
    if (!std::string_view(*each).starts_with("DXG_")) variables.emplace_back(*each);
  }
  return variables;
}

std::vector<char*> PointersTo(std::vector<std::string>& words) {
  std::vector<char*> pointers;
  pointers.reserve(words.size() + 1);
  for (std::string& word : words) pointers.push_back(word.data());
  pointers.push_back(nullptr);
  return pointers;
}

// With that socket as its standard input, and nothing to write to but the log. It has a process group of its
// own: a signal from the terminal is for the program, and what that did last is compared too.
Status Spawn(std::vector<std::string> words, int socket) {
  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_adddup2(&files, socket, STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&files, STDERR_FILENO, STDOUT_FILENO);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t none, all;
  sigemptyset(&none);
  sigfillset(&all);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &all);
  posix_spawnattr_setpgroup(&attributes, 0);
  posix_spawnattr_setflags(&attributes,
                           POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
  std::vector<std::string> variables = OwnEnvironment();
  pid_t pid = 0;
  const int error = posix_spawn(&pid, words[0].c_str(), &files, &attributes, PointersTo(words).data(),
                                PointersTo(variables).data());
  posix_spawn_file_actions_destroy(&files);
  posix_spawnattr_destroy(&attributes);
  if (error == 0) return Status::Ok();
  return Status::Refuse(error, "--shadow: {} cannot be run: {}", words[0], std::strerror(error));
}

}  // namespace

// The player's socket, as the file of a recording. Only the recording's thread waits for it.
class LiveShadow::Feed {
 public:
  explicit Feed(UniqueFd socket) : socket_(std::move(socket)), finishing_(eventfd(0, EFD_CLOEXEC)) {}
  int socket() const { return socket_.get(); }
  // From now on it takes a moment at most, whatever the player does.
  void Finish() {
    const uint64_t now_ns = MonotonicNs();
    send_by_ns_ = now_ns + kSendMaxNs;
    finish_by_ns_ = now_ns + kFinishMaxNs;
    eventfd_write(finishing_.get(), 1);
  }
  // Waits for something to hear; false: it has taken too long.
  bool WaitToHear() const {
    Wait(POLLIN, finish_by_ns_);
    return MonotonicNs() < finish_by_ns_;
  }
  void Close() { shutdown(socket_.get(), SHUT_WR); }

  Status Append(std::span<const std::byte> bytes) {
    while (!bytes.empty() && !broken_) {
      const ssize_t sent = send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
      if (sent > 0) {
        bytes = bytes.subspan(static_cast<size_t>(sent));
      } else if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
        Wait(POLLOUT, send_by_ns_);
        broken_ = MonotonicNs() >= send_by_ns_;
      } else if (errno != EINTR) {
        broken_ = true;
      }
    }
    if (!broken_) return Status::Ok();
    return Status::Refuse(EPIPE, "the shadow takes no more calls: what comes is not compared");
  }

 private:
  static constexpr uint64_t kNever = ~0ull;

  // Until the socket is ready, it is said that it finishes, or that is over.
  void Wait(short events, const std::atomic<uint64_t>& by) const {
    pollfd ready[] = {{socket_.get(), events, 0}, {finishing_.get(), POLLIN, 0}};
    const uint64_t by_ns = by, now_ns = MonotonicNs();
    if (by_ns == kNever) {
      poll(ready, std::size(ready), -1);
    } else if (now_ns < by_ns) {
      poll(ready, 1, static_cast<int>((by_ns - now_ns) / 1'000'000 + 1));
    }
  }

  const UniqueFd socket_, finishing_;
  bool broken_ = false;  // what is half there cannot be taken back
  std::atomic<uint64_t> send_by_ns_{kNever}, finish_by_ns_{kNever};
};

namespace {

template <class Feed>
class FeedSink final : public trace::Sink {
 public:
  explicit FeedSink(std::shared_ptr<Feed> feed) : feed_(std::move(feed)) {}
  // Whoever reads would check the index by the totals, which are written in place: neither is sent.
  Status Append(std::span<const std::byte> bytes) override {
    uint32_t magic = 0;
    if (bytes.size() >= sizeof(magic)) std::memcpy(&magic, bytes.data(), sizeof(magic));
    return magic == trace::kIndexMagic ? Status::Ok() : feed_->Append(bytes);
  }
  const char* name() const override { return "the shadow"; }
  Status Overwrite(uint64_t, std::span<const std::byte>) override { return Status::Ok(); }

 private:
  const std::shared_ptr<Feed> feed_;
};

}  // namespace

Result<UniqueFd> LiveShadow::StartPlayer(const std::vector<std::string>& words) {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
    return Status::Refuse(errno, "--shadow: no socket can be had: {}", std::strerror(errno));
  UniqueFd here(ends[0]);
  const UniqueFd there(ends[1]);
  const std::string self = std::filesystem::read_symlink("/proc/self/exe").string();
  std::vector<std::string> command{self, "run", "--no-wsl-libs"};
  command.insert(command.end(), words.begin(), words.end());
  command.insert(command.end(), {"--", self, std::string(replay::kShadowCommand), "/dev/dxg"});
  DXG_TRY(Spawn(std::move(command), there.get()));
  return here;
}

Result<std::unique_ptr<guest::CallObserver>> LiveShadow::Start(UniqueFd player) {
  std::unique_ptr<LiveShadow> shadow(new LiveShadow(std::move(player)));
  TraceHeader header;
  header.set_node("shadow");
  DXG_ASSIGN(auto recorder, trace::Recorder::Create(std::make_unique<FeedSink<Feed>>(shadow->feed_), header));
  {
    WriterLock lock(shadow->mutex_);
    shadow->recorder_ = std::move(recorder);
  }
  if (!StartThread(&shadow->listener_, [made = shadow.get()] { made->Hear(); }))
    return Status::Refuse(EAGAIN, "--shadow: no thread can be had to hear what differs");
  return std::unique_ptr<guest::CallObserver>(std::move(shadow));
}

LiveShadow::LiveShadow(UniqueFd socket) : feed_(std::make_shared<Feed>(std::move(socket))) {}

LiveShadow::~LiveShadow() { Finish(); }

void LiveShadow::OnCall(const guest::CallReport& report) {
  ReaderLock lock(mutex_);
  if (recorder_ != nullptr) recorder_->OnCall(report);
}

void LiveShadow::OnFile(const guest::FileReport& report) {
  ReaderLock lock(mutex_);
  if (recorder_ != nullptr) recorder_->OnFile(report);
}

void LiveShadow::Finish() {
  std::unique_ptr<trace::Recorder> finished;
  {
    WriterLock lock(mutex_);
    finished.swap(recorder_);
  }
  if (finished != nullptr) {
    feed_->Finish();
    finished.reset();  // writes what is there
    feed_->Close();
  }
  if (listener_.joinable()) listener_.join();
}

void LiveShadow::Hear() {
  std::string heard;
  for (;;) {
    const bool in_time = feed_->WaitToHear();
    char bytes[4096];
    const ssize_t got = recv(feed_->socket(), bytes, sizeof(bytes), MSG_DONTWAIT);
    if (got > 0) heard.append(bytes, static_cast<size_t>(got));
    SayWhatIs(&heard);
    if (counted_ || heard.size() > kTextMax) break;
    if (got == 0 || (got < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)) break;
    if (!in_time) break;
  }
  if (!counted_)
    spdlog::error(
        "shadow: the other host's side has ended, or does not end; what was compared is not known, and what "
        "comes is not compared");
}

void LiveShadow::SayWhatIs(std::string* heard) {
  uint32_t size = 0;
  while (heard->size() >= 1 + sizeof(size)) {
    std::memcpy(&size, heard->data() + 1, sizeof(size));
    if (heard->size() - 1 - sizeof(size) < size) return;
    const auto what = static_cast<LiveSays>(heard->front());
    std::string text = heard->substr(1 + sizeof(size), size);
    heard->erase(0, 1 + sizeof(size) + size);
    if (what == LiveSays::kFirst) {
      differs_ = true;
      spdlog::warn("shadow: the first answer that differs:\n{}", text);
    } else if (what == LiveSays::kLate) {
      spdlog::warn(
          "shadow: the other host does not answer, and the calls of the process that asked are not compared "
          "any "
          "further: {}",
          text);
    } else if (what == LiveSays::kWrong) {
      differs_ = true;
      spdlog::error("shadow: it ends here, and what comes is not compared: {}", text);
    } else {
      counted_ = true;
      if (!text.empty()) text.pop_back();
      spdlog::log(
          differs_ || text.find('\n') != std::string::npos ? spdlog::level::warn : spdlog::level::info,
          "shadow: {}", text);
    }
  }
}

}  // namespace dxg
