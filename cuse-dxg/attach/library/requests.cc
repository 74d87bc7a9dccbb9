#include "cuse-dxg/attach/library/requests.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "cuse-dxg/client/warnings.h"

namespace dxg::attach::library {

using preload::node::Told;
namespace tell = preload::node::tell;

LibraryOpen::~LibraryOpen() {
  if (call_ == nullptr) return;
  spdlog::error(
      "bug: an open was dropped without an answer; refused with EIO so that the client does not hang");
  Refuse(EIO);
}

void LibraryOpen::Accept(uint64_t file) {
  DXG_CHECK(call_ != nullptr);
  const auto call = std::exchange(call_, nullptr);
  auto made = session_.AddFile(file, *channel_);
  Told told = {};
  told.kind = tell::kOpened;
  told.number = call->number;
  if (!made.ok()) {
    client::Identity opener;
    opener.tgid = channel_->peer()->process();
    opener.start_time = channel_->peer()->start_time();
    client::Warn(opener, fmt::format("open by thread {}: refused, {}", caller_.tid, made.status().why()));
    told.result = -EBADF;  // as the driver refuses every open that it cannot serve
    channel_->Answer(*call, told, {}, -1);
    return;
  }
  told.file = made->second;
  channel_->Admit(made->second);
  // Where the client is gone, its end is closed here, and the file released as after any close.
  channel_->Answer(*call, told, {}, made->first.get());
}

void LibraryOpen::Refuse(int error) {
  DXG_CHECK(call_ != nullptr);
  const auto call = std::exchange(call_, nullptr);
  Told told = {};
  told.kind = tell::kOpened;
  told.number = call->number;
  told.result = -error;
  channel_->Answer(*call, told, {}, -1);
}

LibraryCall::LibraryCall(LibrarySession& session, std::shared_ptr<Channel> channel,
                         LibrarySession::FilePtr file, std::shared_ptr<Pending> call, bool carries_struct,
                         std::span<const std::byte> in)
    : session_(session),
      channel_(std::move(channel)),
      file_(std::move(file)),
      call_(std::move(call)),
      caller_(channel_->caller()),
      carries_struct_(carries_struct),
      in_bytes_(static_cast<uint32_t>(in.size())) {
  session_.BeginCallBy(*channel_);
  if (in.empty()) return;
  if (in.size() > small_in_.size()) large_in_ = std::make_unique<std::byte[]>(in.size());
  std::memcpy(large_in_ ? large_in_.get() : small_in_.data(), in.data(), in.size());
}

LibraryCall::~LibraryCall() {
  session_.EndCallBy(*channel_);
  if (answered_) return;
  spdlog::error(
      "bug: ioctl {:#010x} of thread {} was dropped without an answer; it gets EIO, else it would hang",
      call_->code, caller_.tid);
  Answer(-EIO, {});
}

void LibraryCall::Answer(int32_t result, std::span<const std::byte> out) {
  DXG_CHECK(!answered_);
  DXG_CHECK(carries_struct_ || out.empty());
  answered_ = true;
  // As the kernel does of a restricted ioctl: no more than the code promises to give back.
  const size_t most = (_IOC_DIR(call_->code) & _IOC_READ) != 0 ? _IOC_SIZE(call_->code) : 0;
  Told told = {};
  told.kind = tell::kAnswer;
  told.number = call_->number;
  told.result = result == kRestart ? -EINTR : result;
  session_.EndCallOf(file_);  // before the client can close the file, and open another
  channel_->Answer(*call_, told, out.first(std::min(out.size(), most)), -1);
}

void LibraryCall::OnInterrupt(std::function<void()> interrupted) {
  if (!channel_->OnInterrupt(*call_, std::move(interrupted))) return;
  session_.Post([channel = channel_, number = call_->number] { channel->Interrupt(number); });
}

void LibraryCall::OnKilled(std::function<bool()> killed) { channel_->OnKilled(*call_, std::move(killed)); }

void FileWaiter::Wake() {
  session_.Post([&session = session_, number = number_] { session.LookAtReadiness(number); });
}

}  // namespace dxg::attach::library
