#include "cuse-dxg/attach/library/delivery.h"

#include <fmt/format.h>

#include <cerrno>
#include <utility>

namespace dxg::attach::library {
namespace {

// What this thread opens for a client at the moment.
thread_local uint64_t token_now = 0;

// The thread waits in its call anyway and does what it is asked; nobody holds it.
class LibraryVisit final : public client::Visit {
 public:
  explicit LibraryVisit(std::shared_ptr<Channel> channel) : channel_(std::move(channel)) {}
  void Do(std::vector<client::Step> steps, Done done) override {
    channel_->Ask({.steps = std::move(steps), .done = std::move(done), .took = nullptr});
  }
  bool holds_thread() const override { return false; }
  void Leave(int32_t) override {}

 private:
  const std::shared_ptr<Channel> channel_;
};

Status NoCaller(pid_t tid) { return Status::Refuse(EINTR, "thread {} is in no call", tid); }

}  // namespace

OpensFor::OpensFor(uint64_t token) { token_now = token; }
OpensFor::~OpensFor() { token_now = 0; }

void LibraryDelivery::Enter(const client::Waiting& at, const client::Identity&, std::function<void()>,
                            Entered entered) {
  auto channel = session_.FindCaller(at);
  if (channel == nullptr || stopped_) return entered(NoCaller(at.tid));
  entered(std::unique_ptr<client::Visit>(std::make_unique<LibraryVisit>(std::move(channel))));
}

uint64_t LibraryDelivery::TokenOfOpener(pid_t) { return token_now; }

void LibraryDelivery::Identify(const client::Waiting& at, const client::Identity&, int descriptor,
                               std::function<void(uint64_t)> done) {
  const auto channel = session_.FindCaller(at);
  if (channel == nullptr || stopped_) return done(0);
  channel->Ask({.steps = {},
                .done = nullptr,
                .take = descriptor,
                .took = [this, channel, done](Result<UniqueFd> file) {
                  const auto found = file.ok() ? session_.FindByCookie(file->get()) : nullptr;
                  if (file.ok() && found == nullptr)
                    channel->closer().Close(channel->whose(), *std::move(file));
                  done(found != nullptr ? found->file : 0);
                }});
}

void LibraryDelivery::TakeEventFile(const client::Waiting& at, const client::Identity& process,
                                    int descriptor, TookEventFile done) {
  if (auto known = event_files_->Find(process, at.tid, descriptor)) return done(std::move(known));
  const auto channel = session_.FindCaller(at);
  if (channel == nullptr || stopped_) return done(NoCaller(at.tid));
  channel->Ask({.steps = {},
                .done = nullptr,
                .take = descriptor,
                .took = [files = event_files_, channel, process, descriptor, done](Result<UniqueFd> file) {
                  if (!file.ok() && file.status().value() != -EBADF) return done(std::move(file).status());
                  const bool is_other =
                      file.ok() && client::KindOf(fmt::format("/proc/self/fd/{}", file->get())) !=
                                       client::FileKind::kEventFile;
                  if (is_other) {
                    channel->closer().Close(channel->whose(), *std::move(file));
                    file = Status::Refuse(EBADF, "it is no eventfd");
                  }
                  done(files->Add(process, descriptor, file.ok() ? *std::move(file) : UniqueFd()));
                }});
}

}  // namespace dxg::attach::library
