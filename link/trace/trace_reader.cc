#include "link/trace/trace_reader.h"

#include <google/protobuf/io/coded_stream.h>
#include <poll.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/printable.h"
#include "link/trace/bounds.h"
#include "link/trace/trace_file.h"

namespace dxg::trace {
namespace {

constexpr size_t kChunkBytes = 128u << 10;
constexpr size_t kArenaBytes = 128u << 10;
constexpr size_t kMessagesBytes = sizeof(TraceItem) + sizeof(TraceRecord) + sizeof(TraceCall);

google::protobuf::ArenaOptions ArenaBlocks() {
  google::protobuf::ArenaOptions options;
  options.start_block_size = options.max_block_size = kArenaBytes;
  return options;
}

}  // namespace

TraceReader::TraceReader(std::FILE* file, std::string name)
    : file_(file),
      name_(std::move(name)),
      decompressor_(ZSTD_createDCtx(), ZSTD_freeDCtx),
      arena_(ArenaBlocks()) {}

template <typename... Args>
Status TraceReader::Damaged(fmt::format_string<Args...> format, Args&&... args) const {
  return Status::Refuse(EINVAL, "{}: damaged before byte {}: {}; the {} records before that are whole", name_,
                        position(), fmt::format(format, std::forward<Args>(args)...), records_);
}

Result<std::unique_ptr<TraceReader>> TraceReader::Open(const std::string& path) {
  if (path == "-") return Read(stdin, "standard input");
  std::FILE* const file = std::fopen(path.c_str(), "re");
  if (file == nullptr) {
    const int error = errno;
    return Status::Refuse(error,
                          "{}: cannot be read: {}; expected a recording of `cuse-dxg run --record FILE`",
                          path, std::strerror(error));
  }
  return Read(file, path);
}

Result<std::unique_ptr<TraceReader>> TraceReader::Read(std::FILE* file, const std::string& name) {
  std::unique_ptr<TraceReader> reader(new TraceReader(file, name));
  if (reader->decompressor_ == nullptr) return Status::Refuse(ENOMEM, "{}: no memory to read it with", name);
  ZSTD_DCtx_setParameter(reader->decompressor_.get(), ZSTD_d_windowLogMax, kWindowLogMax);
  // Whatever is wrong with its first item, it is none of ours.
  const Result<bool> first = reader->NextItem();
  if (!first.ok() && first.status().value() != -EINVAL) return first.status();
  if (!first.ok() || reader->item_->header().format() != kFormat)
    return Status::Refuse(
        EINVAL,
        "{}: no recording; expected a file that `cuse-dxg run --record FILE` or `serve --record FILE` wrote",
        name);
  reader->header_ = reader->item_->header();
  if (reader->header_.version() > kVersion)
    return Status::Refuse(EINVAL, "{}: a recording of version {}, by {}; this program reads those up to {}",
                          name, reader->header_.version(), Printable(reader->header_.product()), kVersion);
  return reader;
}

Result<TraceReader::What> TraceReader::Next() {
  DXG_ASSIGN(const bool there, NextItem());
  if (!there) {
    DXG_TRY(CheckEnd());
    return What::kEnd;
  }
  if (item_->has_record()) {
    ++records_;
    return What::kRecord;
  }
  if (!item_->has_lost()) return Damaged("an item is neither a record nor a count of lost ones");
  lost_ += item_->lost().records();
  return What::kLost;
}

uint64_t TraceReader::lost() const { return std::max(lost_, totals_.lost()); }

std::string TraceReader::EndText() const {
  std::string text;
  if (!complete_)
    text = fmt::format(
        "{}: cut at byte {}{}: the recording was not closed; the {} records before that are whole\n", name_,
        position(), in_frame_ ? ", within a frame" : "", records_);
  if (lost() != 0)
    text += fmt::format("{}: {} records are lost: there was no room for them when it was recorded\n", name_,
                        lost());
  return text;
}

// A file that was closed says what it has. Of one that was not, the counts may be older.
Status TraceReader::CheckEnd() {
  ended_ = true;
  if (about_to_wait_) ReadTotalsAgain();
  complete_ = !in_frame_ && totals_.closed() != 0 && totals_.records() == records_;
  if (indexed_ && totals_.records() != records_)
    return Damaged("its totals have {} records", totals_.records());
  return Status::Ok();
}

// False: the file ends. Where that is in a frame, in_frame_ stays.
Result<bool> TraceReader::NextItem() {
  for (;;) {
    DXG_ASSIGN(const bool taken, TakeItem());
    if (taken) return true;
    if (!in_frame_ && out_at_ != out_.size()) return Damaged("an item goes beyond its frame");
    DXG_ASSIGN(const bool more, in_frame_ ? ReadOfFrame() : BeginFrame());
    if (!more) return false;
  }
}

// False: more of the frame is needed for it.
Result<bool> TraceReader::TakeItem() {
  const auto* const data = reinterpret_cast<const uint8_t*>(out_.data() + out_at_);  // Safety: bytes
  const auto there = static_cast<int>(std::min<size_t>(out_.size() - out_at_, kItemBytesMax + 10));
  google::protobuf::io::CodedInputStream in(data, there);
  uint64_t size = 0;
  if (!in.ReadVarint64(&size)) {
    constexpr int kVarintBytesMax = 10;
    return there < kVarintBytesMax ? Result<bool>(false) : Damaged("an item without a length");
  }
  if (size > kItemBytesMax)
    return Damaged("an item of {} bytes; at most {} are allowed", size, kItemBytesMax);
  const auto head = static_cast<size_t>(in.CurrentPosition());
  if (out_.size() - out_at_ - head < size) return false;
  const std::string_view bytes(out_.data() + out_at_ + head, size);
  if (arena_bytes_ >= kArenaBytes) {
    item_ = &TraceItem::default_instance();
    arena_.Reset();
    arena_bytes_ = 0;
  }
  arena_bytes_ += kMessagesBytes + size;
  auto* const item = google::protobuf::Arena::CreateMessage<TraceItem>(&arena_);
  if (!IsBounded(*item, bytes) || !item->ParseFromArray(bytes.data(), static_cast<int>(size)))
    return Damaged("an item of {} bytes that cannot be read", size);
  item_ = item;
  out_at_ += head + size;
  return true;
}

// They are written in place, so what was read at the beginning of a file that grew is old.
void TraceReader::ReadTotalsAgain() {
  char bytes[kSkippableHeadBytes + kTotalsBytes];
  if (totals_at_ == 0 || pread(fileno(file_.get()), bytes, sizeof(bytes), static_cast<off_t>(totals_at_)) !=
                             static_cast<ssize_t>(sizeof(bytes)))
    return;
  TraceTotals totals;
  if (totals.ParseFromArray(bytes + kSkippableHeadBytes, kTotalsBytes)) totals_ = totals;
}

// Until the file changes; at most a moment, because not every file system tells. False: nothing will come.
bool TraceReader::WaitForMore() {
  constexpr int kAtMostMs = 200;
  // Closed is said before the index is written.
  const bool was_closed = totals_.closed() != 0;
  // What was written before nobody did any more has been read by the next time.
  const bool was_abandoned = abandoned_;
  abandoned_ = header_.locked() && !IsLocked(fileno(file_.get()));
  ReadTotalsAgain();
  if (indexed_ || was_closed || was_abandoned || !about_to_wait_()) return false;
  if (!watch_.valid()) {
    watch_ = UniqueFd(inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
    inotify_add_watch(watch_.get(), fmt::format("/proc/self/fd/{}", fileno(file_.get())).c_str(),
                      IN_MODIFY | IN_CLOSE_WRITE);
  } else if (!abandoned_) {
    pollfd ready{.fd = watch_.get(), .events = POLLIN, .revents = 0};
    poll(&ready, 1, kAtMostMs);
    char events[4096];
    while (read(watch_.get(), events, sizeof(events)) > 0) {
    }
  }
  std::clearerr(file_.get());
  return true;
}

Result<bool> TraceReader::Fill(size_t bytes) {
  if (in_.size() - in_at_ >= bytes) return true;
  in_.erase(0, in_at_);
  in_at_ = 0;
  const size_t had = in_.size();
  in_.resize(std::max(bytes, kChunkBytes));
  size_t got = 0;
  for (;;) {
    got += std::fread(in_.data() + had + got, 1, in_.size() - had - got, file_.get());
    if (had + got >= bytes || std::ferror(file_.get()) != 0 || !about_to_wait_ || !WaitForMore()) break;
  }
  in_.resize(had + got);
  read_ += got;
  if (std::ferror(file_.get()) != 0) {
    const int error = errno;
    return Status::Refuse(error, "{}: cannot be read on after byte {}: {}", name_, read_,
                          std::strerror(error));
  }
  return in_.size() >= bytes;
}

// Of zstd, or one of those that it skips. False: the file ends.
Result<bool> TraceReader::BeginFrame() {
  uint32_t magic = 0;
  DXG_ASSIGN(const bool there, Fill(sizeof(magic)));
  if (!there) return false;
  std::memcpy(&magic, in_.data() + in_at_, sizeof(magic));
  if (indexed_) return Damaged("it goes on after its index");
  if ((magic & kSkippableMask) == kSkippableMagic) return ReadSkippable(magic);
  if (magic != kFrameMagic) return Damaged("no frame begins there");
  ZSTD_DCtx_reset(decompressor_.get(), ZSTD_reset_session_only);
  in_frame_ = true;
  return true;
}

Result<bool> TraceReader::ReadSkippable(uint32_t magic) {
  DXG_ASSIGN(const bool head, Fill(kSkippableHeadBytes));
  if (!head) return false;
  uint32_t length = 0;
  std::memcpy(&length, in_.data() + in_at_ + sizeof(magic), sizeof(length));
  if (length > kIndexBytesMax) return Damaged("a frame of {} bytes that is none of ours", length);
  DXG_ASSIGN(const bool there, Fill(kSkippableHeadBytes + length));
  if (!there) return false;
  const char* const content = in_.data() + in_at_ + kSkippableHeadBytes;
  if (magic == kTotalsMagic) totals_at_ = position();
  if (magic == kTotalsMagic && !totals_.ParseFromArray(content, static_cast<int>(length)))
    return Damaged("its totals cannot be read");
  if (magic == kIndexMagic) {
    if (!index_.ParseFromArray(content, static_cast<int>(length))) return Damaged("its index cannot be read");
    indexed_ = true;
  }
  in_at_ += kSkippableHeadBytes + length;
  return true;
}

// Some more of it. False: the file ends.
Result<bool> TraceReader::ReadOfFrame() {
  DXG_ASSIGN(const bool there, Fill(1));
  if (!there) return false;
  out_.erase(0, out_at_);
  out_at_ = 0;
  const size_t had = out_.size();
  out_.resize(had + kChunkBytes);
  ZSTD_inBuffer in{in_.data() + in_at_, in_.size() - in_at_, 0};
  ZSTD_outBuffer out{out_.data() + had, kChunkBytes, 0};
  const size_t left = ZSTD_decompressStream(decompressor_.get(), &out, &in);
  out_.resize(had + out.pos);
  in_at_ += in.pos;
  if (ZSTD_isError(left)) return Damaged("no valid zstd data ({})", ZSTD_getErrorName(left));
  if (left == 0) in_frame_ = false;
  return true;
}

}  // namespace dxg::trace
