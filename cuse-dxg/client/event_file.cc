#include "cuse-dxg/client/event_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/aio_abi.h>
#include <linux/kcmp.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <vector>

#include "cuse-dxg/client/warnings.h"

namespace dxg::client {
namespace {

constexpr long kAioEvents = 1024;         // completions that may be unreaped
constexpr uint32_t kReapEvery = 32;       // submissions
constexpr size_t kNumbersPerFileMax = 4;  // of one eventfd; more are not remembered, and cost a copy each
constexpr std::string_view kEventFileLink = "anon_inode:[eventfd]";

}  // namespace

std::optional<uint64_t> EventFileId(const std::string& fdinfo_path) {
  UniqueFd info(open(fdinfo_path.c_str(), O_RDONLY | O_CLOEXEC));
  char text[512];
  const ssize_t bytes = info.valid() ? read(info.get(), text, sizeof(text) - 1) : -1;
  if (bytes <= 0) return std::nullopt;
  text[bytes] = '\0';
  constexpr std::string_view kKey = "eventfd-id:";
  const char* found = std::strstr(text, kKey.data());
  if (found == nullptr) return std::nullopt;
  return std::strtoull(found + kKey.size(), nullptr, 10);
}

FileKind KindOf(const std::string& path) {
  char link[64];
  const ssize_t bytes = readlink(path.c_str(), link, sizeof(link));
  if (bytes <= 0) return FileKind::kUnknown;
  return std::string_view(link, static_cast<size_t>(bytes)) == kEventFileLink ? FileKind::kEventFile
                                                                              : FileKind::kOther;
}

// -- Signaller ------------------------------------------------------------------------------------

Signaller::Signaller() : nothing_(open("/dev/null", O_RDONLY | O_CLOEXEC)) {
  aio_context_t context = 0;
  if (nothing_.valid() && syscall(SYS_io_setup, kAioEvents, &context) == 0) aio_ = context;
}

Signaller::~Signaller() {
  if (aio_ != 0) syscall(SYS_io_destroy, aio_context_t{aio_});
}

void Signaller::Signal(int eventfd) {
  if (SignalByAio(eventfd)) return;
  pollfd room = {eventfd, POLLOUT, 0};
  const uint64_t one = 1;
  if (poll(&room, 1, 0) == 1 && (room.revents & POLLOUT)) (void)!write(eventfd, &one, sizeof(one));
}

bool Signaller::SignalByAio(int eventfd) {
  if (aio_ == 0) return false;
  iocb read = {};
  read.aio_lio_opcode = IOCB_CMD_PREAD;
  read.aio_fildes = static_cast<uint32_t>(nothing_.get());
  read.aio_flags = IOCB_FLAG_RESFD;
  read.aio_resfd = static_cast<uint32_t>(eventfd);
  iocb* list[] = {&read};
  // It completes before the system call returns: there is nothing to read.
  long submitted = syscall(SYS_io_submit, aio_context_t{aio_}, 1L, list);
  if (submitted != 1) {
    Reap();
    submitted = syscall(SYS_io_submit, aio_context_t{aio_}, 1L, list);
  }
  if (submitted == 1 && submitted_.fetch_add(1, std::memory_order_relaxed) % kReapEvery == kReapEvery - 1)
    Reap();
  return submitted == 1;
}

// Takes the completions out of the kernel's ring, which would fill up.
void Signaller::Reap() {
  MutexLock lock(reaping_);
  io_event events[4 * kReapEvery];
  timespec at_once = {};
  (void)syscall(SYS_io_getevents, aio_context_t{aio_}, 0L, long{std::size(events)}, events, &at_once);
}

// -- EventFiles -----------------------------------------------------------------------------------

// Half of what we may have open: the other half is for everything else.
EventFiles::EventFiles() {
  rlimit files = {.rlim_cur = 1024, .rlim_max = 1024};
  getrlimit(RLIMIT_NOFILE, &files);
  held_max_ = files.rlim_cur / 2;
}

class EventFiles::Held final : public EventFile {
 public:
  Held(std::shared_ptr<EventFiles> owner, UniqueFd copy, const Identity& first_taker)
      : owner(std::move(owner)),
        copy(std::move(copy)),
        payer(first_taker.tgid, first_taker.start_time),
        user(first_taker.user) {}
  ~Held() override { owner->Forget(*this); }
  void Signal() override { owner->signaller_.Signal(copy.get()); }

  const std::shared_ptr<EventFiles> owner;
  const UniqueFd copy;
  const std::pair<pid_t, uint64_t> payer;  // the process whose limit it counts towards
  const uid_t user;                        // likewise
  std::optional<uint64_t> id;
  std::vector<Number> numbers;  // guarded by the owner's mutex, which clang cannot tell to be this one
};

std::shared_ptr<EventFile> EventFiles::Find(const Identity& process, pid_t tid, int descriptor) {
  std::shared_ptr<Held> known;
  {
    MutexLock lock(mutex_);
    const auto found = by_number_.find({process.tgid, process.start_time, descriptor});
    if (found != by_number_.end()) known = found->second.lock();
  }
  if (known == nullptr) return nullptr;
  const long order = syscall(SYS_kcmp, getpid(), tid, KCMP_FILE, known->copy.get(), descriptor);
  return order == 0 ? known : nullptr;
}

std::shared_ptr<EventFiles::Held> EventFiles::FindById(uint64_t id) {
  const auto found = by_id_.find(id);
  return found == by_id_.end() ? nullptr : found->second.lock();
}

// Who is refused leaves no account behind.
Status EventFiles::CheckRoom(const Identity& process) {
  const auto held_by = [](const auto& accounts, const auto& whose) -> size_t {
    const auto account = accounts.find(whose);
    return account == accounts.end() ? 0 : account->second;
  };
  const size_t of_process = held_by(held_by_process_, std::pair(process.tgid, process.start_time));
  const size_t of_user = held_by(held_by_user_, process.user);
  // However many users there are, there is something left for the next one.
  const size_t user_max = (held_max_ - (held_ - of_user) + 1) / 2;
  if (of_process < kPerProcessMax && of_user < user_max && held_ < held_max_) return Status::Ok();
  return Status::Refuse(ENOMEM,
                        "process {} waits with one eventfd too many: there are {} of it (at most {}), {} of "
                        "its user (at most {}) and {} of all (at most {}, half of what ulimit -Hn allows the "
                        "daemon; of these a user may have half of what the others leave)",
                        process.tgid, of_process, kPerProcessMax, of_user, user_max, held_, held_max_);
}

Result<std::shared_ptr<EventFile>> EventFiles::Add(const Identity& process, int descriptor, UniqueFd copy) {
  if (!copy.valid() || KindOf(fmt::format("/proc/self/fd/{}", copy.get())) != FileKind::kEventFile)
    return NoEventFile(descriptor);
  const auto id = EventFileId(fmt::format("/proc/self/fdinfo/{}", copy.get()));
  const Number number = {process.tgid, process.start_time, descriptor};
  std::shared_ptr<Held> file;
  MutexLock lock(mutex_);
  if (id) file = FindById(*id);
  if (file == nullptr) {
    if (Status room = CheckRoom(process); !room.ok()) {
      Warn(process, fmt::format("refused: {}", room.why()));
      return room;
    }
    ++held_by_process_[{process.tgid, process.start_time}];
    ++held_by_user_[process.user];
    ++held_;
    file = std::make_shared<Held>(shared_from_this(), std::move(copy), process);
    file->id = id;
    if (id) by_id_[*id] = file;
  }
  Remember(number, file);
  return std::shared_ptr<EventFile>(std::move(file));
}

void EventFiles::Remember(const Number& number, const std::shared_ptr<Held>& file) {
  auto& known = by_number_[number];
  if (!known.owner_before(file) && !file.owner_before(known))
    return;  // without a share of it, which may be the last
  if (file->numbers.size() >= kNumbersPerFileMax) {
    by_number_.erase(number);
    return;
  }
  known = file;
  file->numbers.push_back(number);
}

// The last holder of a file has let it go. A newer one may have its places by now.
void EventFiles::Forget(const Held& file) {
  MutexLock lock(mutex_);
  if (const auto found = by_id_.find(file.id.value_or(0));
      file.id && found != by_id_.end() && found->second.expired()) {
    by_id_.erase(found);
  }
  for (const Number& number : file.numbers) {
    if (const auto found = by_number_.find(number); found != by_number_.end() && found->second.expired())
      by_number_.erase(found);
  }
  --held_;
  const auto let_go = [](auto& accounts, const auto& whose) {
    const auto held = accounts.find(whose);
    if (--held->second == 0) accounts.erase(held);
  };
  let_go(held_by_process_, file.payer);
  let_go(held_by_user_, file.user);
}

}  // namespace dxg::client
