#include "cuse-dxg/replay/telling.h"

#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>
#include <utility>

namespace dxg::replay {
namespace {

// All players write to one pipe, and only so much of it stays together: the pieces of one have its number.
struct Piece {
  static constexpr size_t kBytesMax = PIPE_BUF;
  int32_t player;
  uint32_t bytes;  // that follow
};

}  // namespace

void Tell(int to, Mutex& mutex, size_t call, const Outcome& outcome) {
  TraceRecord record;
  record.set_begin_ns(call);
  record.set_result(outcome.result);
  outcome.request->SerializeToString(record.mutable_call()->mutable_request());
  outcome.reply->SerializeToString(record.mutable_call()->mutable_reply());
  std::string bytes = record.SerializeAsString();
  const auto size = static_cast<uint32_t>(bytes.size());
  bytes.insert(0, reinterpret_cast<const char*>(&size), sizeof(size));  // Safety: bytes
  MutexLock lock(mutex);
  for (size_t at = 0; at < bytes.size();) {
    const size_t count = std::min(bytes.size() - at, Piece::kBytesMax - sizeof(Piece));
    Piece piece{getpid(), static_cast<uint32_t>(count)};
    const iovec parts[] = {{&piece, sizeof(piece)}, {bytes.data() + at, count}};
    const ssize_t written = writev(to, parts, 2);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return;  // nobody listens any more
    at += count;
  }
}

void TellOfOther(int to, Mutex& mutex) {
  const Outcome none{
      .result = 0, .request = std::make_unique<TraceCall>(), .reply = std::make_unique<TraceCall>()};
  Tell(to, mutex, ~size_t{0}, none);
}

bool Hearing::Read(int from, const std::function<void(std::unique_ptr<TraceRecord>)>& of_call) {
  char bytes[64 << 10];
  const ssize_t got = read(from, bytes, sizeof(bytes));
  if (got < 0 && errno == EINTR) return true;
  if (got <= 0) return false;
  pieces_.append(bytes, static_cast<size_t>(got));
  size_t at = 0;
  for (Piece piece{}; pieces_.size() - at >= sizeof(piece); at += sizeof(piece) + piece.bytes) {
    std::memcpy(&piece, pieces_.data() + at, sizeof(piece));
    if (pieces_.size() - at - sizeof(piece) < piece.bytes) break;
    std::string& told = told_[piece.player];
    told.append(pieces_, at + sizeof(piece), piece.bytes);
    size_t end = 0;
    for (uint32_t size = 0; told.size() - end >= sizeof(size); end += sizeof(size) + size) {
      std::memcpy(&size, told.data() + end, sizeof(size));
      if (told.size() - end - sizeof(size) < size) break;
      auto record = std::make_unique<TraceRecord>();
      if (record->ParseFromArray(told.data() + end + sizeof(size), static_cast<int>(size)))
        of_call(std::move(record));
    }
    told.erase(0, end);
  }
  pieces_.erase(0, at);
  return true;
}

}  // namespace dxg::replay
