#pragma once

#include <google/protobuf/arena.h>
#include <zstd.h>

#include <cstdint>
#include <cstdio>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/status.h"
#include "base/unique_fd.h"
#include "link/trace/format.h"
#include "proto/dxg/trace.pb.h"

namespace dxg::trace {

// Reads a recording from its beginning on, in constant memory, whoever wrote it. A file that was cut is read
// up to the cut; what is damaged is refused there.
class TraceReader {
 public:
  // A file, or "-" for standard input. ENOENT and the like: it cannot be read; EINVAL: it is no recording, or
  // of a later version.
  static Result<std::unique_ptr<TraceReader>> Open(const std::string& path);
  // The same of an open file, which it closes; `name` is for messages.
  static Result<std::unique_ptr<TraceReader>> Read(std::FILE* file, const std::string& name);

  const TraceHeader& header() const { return header_; }

  enum class What : uint8_t { kRecord, kLost, kEnd };
  // The next one. EINVAL: the file is damaged; what is before that was read.
  Result<What> Next();
  const TraceRecord& record() const { return item_->record(); }   // after kRecord, until the next Next()
  uint64_t lost_here() const { return item_->lost().records(); }  // after kLost

  // From now on, where the file ends and was not closed, Next() waits until there is more, or whoever wrote
  // it is gone. `about_to_wait` is called before that; false ends the file there.
  void Follow(std::function<bool()> about_to_wait) { about_to_wait_ = std::move(about_to_wait); }

  bool ended() const { return ended_; }
  // After kEnd.
  bool complete() const { return complete_; }  // it was closed, and nothing of it is missing
  std::string EndText() const;                 // where it was cut, and how many records are lost; or empty
  uint64_t records() const { return records_; }
  uint64_t lost() const;
  const TraceIndex& index() const { return index_; }

 private:
  struct CloseFile {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };

  TraceReader(std::FILE* file, std::string name);
  template <typename... Args>
  Status Damaged(fmt::format_string<Args...> format, Args&&... args) const;
  uint64_t position() const { return read_ - (in_.size() - in_at_); }
  // False: the file ends before that.
  Result<bool> Fill(size_t bytes);
  Result<bool> NextItem();
  bool WaitForMore();
  void ReadTotalsAgain();
  Result<bool> TakeItem();
  Result<bool> BeginFrame();
  Result<bool> ReadSkippable(uint32_t magic);
  Result<bool> ReadOfFrame();
  Status CheckEnd();

  const std::unique_ptr<std::FILE, CloseFile> file_;
  const std::string name_;
  const std::unique_ptr<ZSTD_DCtx, decltype(&ZSTD_freeDCtx)> decompressor_;
  std::string in_;  // of the file, from in_at_ on not yet used
  size_t in_at_ = 0;
  uint64_t read_ = 0;  // bytes of the file
  bool in_frame_ = false;
  std::string out_;  // of the frame, uncompressed, from out_at_ on not yet used
  size_t out_at_ = 0;
  TraceHeader header_;
  TraceTotals totals_;
  TraceIndex index_;
  // Items live in an arena that is emptied now and then: most of what a short one costs is its memory.
  google::protobuf::Arena arena_;
  size_t arena_bytes_ = 0;  // about
  const TraceItem* item_ = &TraceItem::default_instance();
  uint64_t records_ = 0, lost_ = 0;
  bool indexed_ = false;
  uint64_t totals_at_ = 0;  // in the file; 0: they were not read
  std::function<bool()> about_to_wait_;
  UniqueFd watch_;  // of inotify
  bool ended_ = false, complete_ = false;
  bool abandoned_ = false;  // nobody writes it any more
};

}  // namespace dxg::trace
