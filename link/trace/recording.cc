#include "link/trace/recording.h"

#include <spdlog/spdlog.h>

#include <cerrno>
#include <chrono>
#include <utility>

#include "base/monotonic.h"
#include "base/start_thread.h"

namespace dxg::trace {
namespace {

constexpr std::chrono::milliseconds kGather{20};
constexpr size_t kMuch = Recording::kPendingBytesMax / 4;  // the thread does not gather longer

}  // namespace

Result<std::unique_ptr<Recording>> Recording::Begin(std::unique_ptr<Sink> sink, TraceHeader header) {
  header.set_format(kFormat);
  header.set_version(kVersion);
  if (header.begin_ns() == 0) header.set_begin_ns(MonotonicNs());
  const auto since_1970 = std::chrono::system_clock::now().time_since_epoch();
  header.set_unix_ns(std::chrono::duration_cast<std::chrono::nanoseconds>(since_1970).count());
  header.set_locked(sink->locked());
  DXG_ASSIGN(auto writer, TraceWriter::Begin(*sink, header));
  std::unique_ptr<Recording> recording(new Recording(std::move(sink), std::move(writer)));
  if (!StartThread(&recording->thread_, [made = recording.get()] { made->Write(); }))
    return Status::Refuse(EAGAIN, "--record: no thread can be had to write the recording");
  return recording;
}

Recording::~Recording() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
    changed_.NotifyAll();
  }
  if (thread_.joinable()) thread_.join();
}

void Recording::AddLost() {
  MutexLock lock(mutex_);
  ++lost_;
}

void Recording::Add(const TraceItem& item) {
  MutexLock lock(mutex_);
  if (!TryToAdd(item)) ++lost_;
  if (asleep_ || pending_.bytes.size() >= kMuch) {
    asleep_ = false;
    changed_.NotifyOne();
  }
}

bool Recording::TryToAdd(const TraceItem& item) {
  const size_t size = item.ByteSizeLong();
  if (size > kItemBytesMax / 2 || pending_.bytes.size() + size > kPendingBytesMax) return false;
  if (!TryToAddLost()) return false;
  try {
    pending_.Add(item);
    return true;
  } catch (const std::bad_alloc&) {
    return false;
  }
}

bool Recording::TryToAddLost() {
  if (lost_ == 0) return true;
  try {
    TraceItem item;
    item.mutable_lost()->set_records(lost_);
    pending_.Add(item);
  } catch (const std::bad_alloc&) {
    return false;
  }
  lost_ = 0;
  return true;
}

void Recording::Write() {
  Batch writing;
  for (;;) {
    bool last = false;
    {
      MutexLock lock(mutex_);
      while (pending_.empty() && lost_ == 0 && !stopping_) {
        asleep_ = true;
        changed_.Wait(mutex_);
      }
      asleep_ = false;
      const auto gathered = std::chrono::steady_clock::now() + kGather;
      while (!stopping_ && pending_.bytes.size() < kMuch && changed_.WaitUntil(mutex_, gathered)) {
      }
      last = stopping_;
      TryToAddLost();
      std::swap(writing, pending_);
    }
    Say(writer_->Write(writing));
    writing.Clear();
    if (last) break;
  }
  Say(writer_->Close());
  if (writer_->lost() != 0)
    spdlog::error("{} lacks {} records, and has {}", sink_->name(), writer_->lost(), writer_->records());
}

// Once: the file has the count.
void Recording::Say(const Status& status) {
  if (said_ || (status.ok() && writer_->lost() == 0)) return;
  said_ = true;
  if (status.ok()) {
    spdlog::error("{} loses records: its file is slower than the calls; nothing else is affected",
                  sink_->name());
  } else {
    spdlog::error("{} loses records: {}; nothing else is affected", sink_->name(), status.why());
  }
}

}  // namespace dxg::trace
