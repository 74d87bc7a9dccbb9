#include "cuse-dxg/attach/library/channel.h"

#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "base/unix_socket.h"

namespace dxg::attach::library {
namespace {

using preload::node::Said;
using preload::node::Told;
namespace tell = preload::node::tell;

// A client may open and close files for as long as it likes.
constexpr size_t kFilesRememberedMax = 4096;

uint32_t KindOf(client::Step::Kind kind) {
  switch (kind) {
    case client::Step::Kind::kMap:
      return tell::kMap;
    case client::Step::Kind::kUnmap:
      return tell::kUnmap;
    case client::Step::Kind::kGiveFile:
      return tell::kGiveFile;
    case client::Step::Kind::kGiveNode:
      return tell::kGiveNode;
    case client::Step::Kind::kCloseFile:
      return tell::kCloseFile;
  }
  DXG_CHECK(false);
  return 0;
}

Status WhyGone() {
  return Status::Refuse(EINTR, "the client's thread has left the call, or its process ended");
}

}  // namespace

bool Channel::Has(uint64_t file) {
  MutexLock lock(mutex_);
  return files_.contains(file);
}

// What is forgotten is shown again.
void Channel::Admit(uint64_t file) {
  MutexLock lock(mutex_);
  if (files_.size() >= kFilesRememberedMax) files_.clear();
  files_.insert(file);
}

std::shared_ptr<Pending> Channel::Begin(uint32_t number, uint32_t code, uint64_t argument, bool by_ring) {
  MutexLock lock(mutex_);
  if (current_ != nullptr || ended_) return nullptr;
  current_ = std::make_shared<Pending>();
  current_->number = number;
  current_->code = code;
  current_->argument = argument;
  current_->by_ring = by_ring;
  return current_;
}

std::shared_ptr<Pending> Channel::current() {
  MutexLock lock(mutex_);
  return current_;
}

bool Channel::WaitsIn(uint32_t code, uint64_t argument) {
  MutexLock lock(mutex_);
  return !ended_ && current_ != nullptr && !current_->answered && current_->code == code &&
         current_->argument == argument;
}

bool Channel::Answer(Pending& call, const Told& told, std::span<const std::byte> out, int file) {
  std::function<void()> interrupted;  // destroyed without the lock: they may own anything
  std::function<bool()> killed;
  std::shared_ptr<Pending> ended;
  MutexLock lock(mutex_);
  if (std::exchange(call.answered, true)) return false;
  interrupted.swap(call.interrupted);
  killed.swap(call.killed);
  if (current_.get() == &call) ended = std::move(current_);
  const bool answered = call.by_ring && file < 0 && kept_ring_->Answer(told, out);
  if (!answered && !ended_ && !Send(told, out, file)) HangUp();
  lock.Unlock();
  return true;
}

void Channel::Interrupt(uint32_t number) {
  std::function<void()> interrupted;
  {
    MutexLock lock(mutex_);
    if (current_ == nullptr || current_->number != number || current_->answered) return;
    current_->was_interrupted = true;
    interrupted.swap(current_->interrupted);
  }
  if (interrupted) interrupted();
}

bool Channel::Kill(Pending& call) {
  std::function<void()> interrupted;
  std::function<bool()> killed;
  {
    MutexLock lock(mutex_);
    call.was_interrupted = true;
    interrupted.swap(call.interrupted);
  }
  if (interrupted) interrupted();
  {
    MutexLock lock(mutex_);
    if (call.answered) return true;
    killed = call.killed;
  }
  return killed && killed();
}

bool Channel::OnInterrupt(Pending& call, std::function<void()> interrupted) {
  MutexLock lock(mutex_);
  if (call.answered) return false;
  call.interrupted = std::move(interrupted);
  return call.was_interrupted;
}

void Channel::OnKilled(Pending& call, std::function<bool()> killed) {
  MutexLock lock(mutex_);
  if (!call.answered) call.killed = std::move(killed);
}

// The socket closes later, by its reader.
void Channel::HangUp() {
  shutdown(socket_.get(), SHUT_RDWR);
  if (Ring* const ring = ring_; ring != nullptr) ring->Divert();
}

void Channel::GiveRing(std::unique_ptr<Ring> ring, int error) {
  Told told = {};
  told.kind = tell::kRing;
  told.result = ring != nullptr ? 0 : -error;
  MutexLock lock(mutex_);
  const auto files = ring != nullptr ? ring->files() : std::array<int, 2>();
  if (!SendFiles(told, {}, std::span(files).first(ring != nullptr ? files.size() : 0))) HangUp();
  if (ring == nullptr) return;
  ring->CloseMemory();
  kept_ring_ = std::move(ring);
  ring_ = kept_ring_.get();
}

bool Channel::Send(const Told& told, std::span<const std::byte> out, int file) {
  return SendFiles(told, out, std::span(&file, file >= 0 ? 1 : 0));
}

bool Channel::SendFiles(const Told& told, std::span<const std::byte> out, std::span<const int> files) {
  waits_ = told.kind != tell::kAnswer && told.kind != tell::kOpened && told.kind != tell::kRing;
  iovec pieces[] = {PieceOf(std::as_bytes(std::span(&told, 1))), PieceOf(out)};
  // Before: once it has the message, its next call may be on the ring.
  if (kept_ring_ != nullptr) kept_ring_->Divert();
  return SendPieces(socket_.get(), std::span(pieces, out.empty() ? 1 : 2), files, false) >= 0;
}

void Channel::Ask(Errand errand) {
  Jobs jobs;
  {
    MutexLock lock(mutex_);
    errands_.push_back(std::move(errand));
    if (ended_ || current_ == nullptr || current_->answered) {
      Fail(WhyGone(), &jobs);
    } else if (errands_.size() == 1 && !SendStep(&jobs)) {
      HangUp();
      Fail(WhyGone(), &jobs);
    }
  }
  for (const auto& job : jobs) job();
}

// The next step of the first errand. False: the client does not read.
bool Channel::SendStep(Jobs* jobs) {
  Errand& errand = errands_.front();
  if (errand.copied) return SendCopy(errand);
  Told told = {};
  told.number = ++asked_;
  if (errand.took) {
    told.kind = errand.show ? tell::kShowFile : tell::kTakeFile;
    told.address = static_cast<uint64_t>(static_cast<uint32_t>(errand.take));
    return Send(told, {}, -1);
  }
  if (errand.results.size() == errand.steps.size()) {
    jobs->push_back([done = std::move(errand.done), results = std::move(errand.results)] { done(results); });
    errands_.pop_front();
    return errands_.empty() || SendStep(jobs);
  }
  const client::Step step = errand.steps[errand.results.size()];  // the errand may go while there is no lock
  told.kind = KindOf(step.kind);
  told.writable = step.writable;
  told.replace = step.replace;
  told.offset = step.offset;
  told.size = step.size;
  told.address = step.address;
  if (step.kind != client::Step::Kind::kGiveNode) {
    const bool has_file = step.kind == client::Step::Kind::kMap || step.kind == client::Step::Kind::kGiveFile;
    return Send(told, {}, has_file ? step.file : -1);
  }
  mutex_.Unlock();  // the node is asked for a new open file
  auto made = make_node_(step);
  mutex_.Lock();
  if (errands_.empty() || ended_ || asked_ != told.number) return true;  // it ended meanwhile
  if (!made.ok()) {
    FinishStep(std::move(made).status(), jobs);
    return true;
  }
  told.file = made->second;
  files_.insert(made->second);
  return Send(told, {}, made->first.get());
}

bool Channel::SendCopy(const Errand& errand) {
  Told told = {};
  told.number = ++asked_;
  told.kind = errand.stored.empty() ? tell::kLoad : tell::kStore;
  told.address = errand.address;
  told.size = errand.bytes;
  if (!Send(told, {}, -1)) return false;
  iovec piece = PieceOf(errand.stored);
  return errand.stored.empty() || SendPieces(socket_.get(), std::span(&piece, 1), {}, false) >= 0;
}

void Channel::FinishStep(Result<uint64_t> result, Jobs* jobs) {
  Errand& errand = errands_.front();
  again_ = false;
  if (result.ok()) {
    errand.results.push_back(*result);
  } else {
    jobs->push_back([done = std::move(errand.done), why = std::move(result).status()] { done(why); });
    errands_.pop_front();
  }
  if (!errands_.empty() && !SendStep(jobs)) {
    HangUp();
    Fail(WhyGone(), jobs);
  }
}

bool Channel::Done(const Said& said, std::span<const std::byte> extra, ClientFiles& files, Jobs* jobs) {
  MutexLock lock(mutex_);
  if (errands_.empty() || !std::exchange(waits_, false) || said.number != asked_ || files.size() > 1 ||
      said.error < 0 || said.error > kErrnoMax)
    return false;
  Errand& errand = errands_.front();
  if (errand.copied) {
    const size_t expected = said.error == 0 && errand.stored.empty() ? errand.bytes : 0;
    if (!files.empty() || extra.size() != expected) return false;
    jobs->push_back([copied = std::move(errand.copied), error = said.error,
                     bytes = std::vector<std::byte>(extra.begin(), extra.end())] {
      if (error == 0) return copied(bytes);
      copied(Status::Refuse(error, "the client's memory is not there"));
    });
    errands_.pop_front();
    return errands_.empty() || SendStep(jobs);
  }
  if (!extra.empty()) return false;
  if (errand.took) {
    auto file = std::make_shared<UniqueFd>(files.empty() ? UniqueFd() : files.TakeFront());
    jobs->push_back([took = std::move(errand.took), file, error = said.error] {
      if (file->valid()) return took(std::move(*file));
      took(Status::Refuse(error != 0 ? error : EBADF, "the client has no such descriptor"));
    });
    errands_.pop_front();
    return errands_.empty() || SendStep(jobs);
  }
  if (!files.empty()) return false;
  if ((said.flags & preload::node::flag::kAgain) != 0) {
    if (std::exchange(again_, true)) return false;
    return SendStep(jobs);
  }
  if (said.error != 0) {
    FinishStep(Status::Refuse(said.error, "the client's own call was refused: {}", std::strerror(said.error)),
               jobs);
  } else {
    FinishStep(said.argument, jobs);
  }
  return true;
}

void Channel::Fail(const Status& why, Jobs* jobs) {
  for (Errand& errand : errands_) {
    if (errand.copied) {
      jobs->push_back([copied = std::move(errand.copied), why] { copied(why); });
    } else if (errand.took) {
      jobs->push_back([took = std::move(errand.took), why] { took(why); });
    } else {
      jobs->push_back([done = std::move(errand.done), why] { done(why); });
    }
  }
  errands_.clear();
}

void Channel::End(const Status& why, Jobs* jobs) {
  MutexLock lock(mutex_);
  ended_ = true;
  Fail(why, jobs);
}

}  // namespace dxg::attach::library
