#include "cuse-dxg/top/conversation.h"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <span>

#include "base/printable.h"
#include "base/unix_socket.h"
#include "cuse-dxg/control/address.h"
#include "cuse-dxg/control/server.h"

namespace dxg::top {

Status Conversation::Connect() {
  DXG_TRY(UnixAddress(path_, control::kOption).status());
  Result<UniqueFd> socket = ConnectUnix(path_, control::kOption, SOCK_SEQPACKET | SOCK_NONBLOCK);
  if (!socket.ok()) {
    const int error = -socket.status().value();
    if (error == EAGAIN)
      return Status::Refuse(EAGAIN, "the daemon at {} does not take calls: too many wait already; try again",
                            path_);
    return Status::Refuse(error,
                          "cannot reach a daemon at {}: {}; it listens there if started with --control {}",
                          path_, std::strerror(error), path_);
  }
  socket_ = *std::move(socket);
  return Status::Ok();
}

Status Conversation::Begin(uint64_t calls_of, Clock::time_point now) {
  if (!socket_.valid()) DXG_TRY(Connect());
  request_.Clear();
  request_.mutable_live()->set_calls_of(calls_of);
  live_.Clear();
  bytes_ = 0;
  end_ = now + kPictureMax;
  asking_ = true;
  return Ask(now);
}

Status Conversation::Ask(Clock::time_point now) {
  deadline_ = std::min(now + kAnswerMax, end_);
  const std::string bytes = request_.SerializeAsString();
  iovec piece = PieceOf(std::as_bytes(std::span(bytes)));
  const ssize_t sent = SendPieces(socket_.get(), std::span(&piece, 1), {}, false);
  // A daemon that has let us go may have said why.
  if (sent >= 0 || sent == -ECONNRESET || sent == -EPIPE) return Status::Ok();
  return Status::Refuse(static_cast<int>(-sent), "cannot ask the daemon at {}: {}", path_,
                        std::strerror(static_cast<int>(-sent)));
}

Result<bool> Conversation::GoOn(Clock::time_point now) {
  packet_.resize(control::kReplyBytesMax);
  const ReceivedPiece got = ReceivePiece(socket_.get(), packet_, 0, false);
  if (got.bytes == -EAGAIN) {
    if (now < deadline_) return false;
    if (now >= end_) return TooLong();
    return Status::Refuse(
        ETIMEDOUT, "the daemon at {} has not answered for {} s; it may be stopped (ps shows T) or hang",
        path_, kAnswerMax.count());
  }
  if (got.bytes == 0 || got.bytes == -ECONNRESET)
    return Status::Refuse(ECONNRESET, "the daemon at {} ended", path_);
  if (got.bytes < 0)
    return Status::Refuse(static_cast<int>(-got.bytes), "no answer from the daemon at {}: {}", path_,
                          std::strerror(static_cast<int>(-got.bytes)));
  ControlReply reply;
  if (got.cut || !reply.ParseFromArray(packet_.data(), static_cast<int>(got.bytes)))
    return Status::Refuse(
        EPROTO, "the answer of the daemon at {} cannot be read; use the cuse-dxg that it was built with",
        path_);
  bytes_ += reply.SpaceUsedLong();
  DXG_TRY(Take(reply));
  ControlRequest::Live* wanted = request_.mutable_live();
  const uint64_t guest = reply.live().guest_next(), host = reply.live().host_next();
  if (guest == 0 && host == 0) {
    asking_ = false;
    return true;
  }
  if (now >= end_) return TooLong();
  // Of the half that is through, nothing is wanted any more.
  wanted->set_guest_after(guest != 0 ? guest : UINT64_MAX);
  wanted->set_host_after(host != 0 ? host : UINT64_MAX);
  DXG_TRY(Ask(now));
  return false;
}

Status Conversation::TooLong() const {
  return Status::Refuse(ETIMEDOUT, "the daemon at {} has not listed its processes within {} s; try again",
                        path_, kPictureMax.count());
}

Status Conversation::Take(ControlReply& reply) {
  if (!reply.error().empty())
    return Status::Refuse(EPROTO, "the daemon at {} refuses: {}", path_, Printable(reply.error()));
  if (!reply.has_live())
    return Status::Refuse(
        EPROTO, "the daemon at {} answers something else; use the cuse-dxg that it was built with", path_);
  ControlReply::Live& page = *reply.mutable_live();
  const ControlRequest::Live& wanted = request_.live();
  const bool goes_on = (page.guest_next() == 0 || page.guest_next() > wanted.guest_after()) &&
                       (page.host_next() == 0 || page.host_next() > wanted.host_after());
  if (!goes_on || bytes_ > kBytesMax || live_.guest_processes_size() > kProcessesMax ||
      live_.host_processes_size() > kProcessesMax)
    return Status::Refuse(EPROTO, "the daemon at {} lists processes without end; that is no cuse-dxg", path_);
  if (page.guest_next() + page.host_next() != 0 && page.guest_processes().empty() &&
      page.host_processes().empty())
    return Status::Refuse(EPROTO, "the daemon at {} sends empty pages; that is no cuse-dxg", path_);
  // What is of no process comes with the first page alone.
  const bool first = wanted.guest_after() == 0 && wanted.host_after() == 0;
  if (!first) {
    page.clear_adapters();
    page.clear_refusals();
  }
  live_.MergeFrom(page);
  return Status::Ok();
}

}  // namespace dxg::top
