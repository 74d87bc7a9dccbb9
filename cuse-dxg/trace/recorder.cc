#include "cuse-dxg/trace/recorder.h"

#include <spdlog/spdlog.h>
#include <time.h>

#include <cerrno>
#include <chrono>
#include <utility>

#include "base/start_thread.h"

namespace dxg::trace {
namespace {

constexpr std::chrono::milliseconds kGather{20};
constexpr size_t kMuch = Recorder::kPendingBytesMax / 4;  // the thread does not gather longer
constexpr size_t kStringKept = 64u << 10;                 // of a large call, in each thread

int64_t NowNs(clockid_t clock) {
  timespec now{};
  clock_gettime(clock, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

// The record of a call, in an item that is used again: each of its fields is set.
void Fill(const guest::CallReport& report, TraceItem* item) {
  TraceRecord& record = *item->mutable_record();
  record.set_pid(static_cast<uint32_t>(report.pid));
  record.set_tid(static_cast<uint32_t>(report.tid));
  record.set_begin_ns(report.begin_ns);
  record.set_end_ns(report.begin_ns + report.duration_ns);
  record.set_result(report.status->value());
  record.set_reason(report.status->why());
  TraceCall& call = *record.mutable_call();
  call.set_code(report.code);
  call.clear_request();
  call.clear_reply();
  if (report.request != nullptr) report.request->SerializeToString(call.mutable_request());
  if (report.reply != nullptr) report.reply->SerializeToString(call.mutable_reply());
  call.set_argument(report.argument);
  call.set_raw(report.raw.data(), report.raw.size());
  call.mutable_addresses()->Assign(report.addresses.begin(), report.addresses.end());
  call.set_inherited(report.inherited);
}

}  // namespace

Result<std::unique_ptr<Recorder>> Recorder::Create(std::unique_ptr<Sink> sink, TraceHeader header) {
  header.set_format(kFormat);
  header.set_version(kVersion);
  if (header.begin_ns() == 0) header.set_begin_ns(static_cast<uint64_t>(NowNs(CLOCK_MONOTONIC)));
  header.set_unix_ns(NowNs(CLOCK_REALTIME));
  DXG_ASSIGN(auto writer, TraceWriter::Begin(*sink, header));
  std::unique_ptr<Recorder> recorder(new Recorder(std::move(sink), std::move(writer)));
  if (!StartThread(&recorder->thread_, [made = recorder.get()] { made->Write(); }))
    return Status::Refuse(EAGAIN, "--record: no thread can be had to write the recording");
  return recorder;
}

Recorder::~Recorder() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
    changed_.NotifyAll();
  }
  if (thread_.joinable()) thread_.join();
}

void Recorder::OnCall(const guest::CallReport& report) {
  static thread_local TraceItem item;
  try {
    Fill(report, &item);
  } catch (const std::bad_alloc&) {
    MutexLock lock(mutex_);
    ++lost_;
    return;
  }
  Add(item);
  TraceCall& call = *item.mutable_record()->mutable_call();
  if (call.request().capacity() + call.reply().capacity() > kStringKept) item.Clear();
}

void Recorder::OnFile(const guest::FileReport& report) {
  using What = guest::FileReport::What;
  TraceItem item;
  TraceRecord& record = *item.mutable_record();
  record.set_pid(static_cast<uint32_t>(report.pid));
  record.set_tid(static_cast<uint32_t>(report.tid));
  record.set_begin_ns(report.at_ns);
  record.set_end_ns(report.at_ns);
  record.set_result(-report.error);
  record.set_reason(std::string(report.why));
  if (report.what == What::kClose) {
    record.mutable_close()->set_file(report.file);
  } else {
    record.mutable_open()->set_file(report.file);
    record.mutable_open()->set_name(std::string(report.name));
    record.mutable_open()->set_shared(report.what == What::kOpenShared);
  }
  Add(item);
}

void Recorder::OnAdapter(const guest::AdapterReport& report) {
  using What = guest::AdapterReport::What;
  static_assert(static_cast<int>(What::kArrived) == TraceAdapter::ARRIVED &&
                static_cast<int>(What::kStopped) == TraceAdapter::STOPPED &&
                static_cast<int>(What::kRemoved) == TraceAdapter::REMOVED);
  TraceItem item;
  TraceRecord& record = *item.mutable_record();
  record.set_begin_ns(report.at_ns);
  record.set_end_ns(report.at_ns);
  TraceAdapter& adapter = *record.mutable_adapter();
  adapter.set_luid(report.luid);
  adapter.set_change(static_cast<TraceAdapter::Change>(report.what));
  adapter.set_compute_only(report.compute_only);
  adapter.set_interface_version(report.interface_version);
  Add(item);
}

void Recorder::Add(const TraceItem& item) {
  MutexLock lock(mutex_);
  if (!TryToAdd(item)) ++lost_;
  if (asleep_ || pending_.bytes.size() >= kMuch) {
    asleep_ = false;
    changed_.NotifyOne();
  }
}

bool Recorder::TryToAdd(const TraceItem& item) {
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

bool Recorder::TryToAddLost() {
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

void Recorder::Write() {
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
    spdlog::error("the recording lacks {} records, and has {}", writer_->lost(), writer_->records());
}

// Once: the file has the count.
void Recorder::Say(const Status& status) {
  if (said_ || (status.ok() && writer_->lost() == 0)) return;
  said_ = true;
  if (status.ok()) {
    spdlog::error("the recording loses records: its file is slower than the calls; nothing else is affected");
  } else {
    spdlog::error("the recording loses records: {}; nothing else is affected", status.why());
  }
}

}  // namespace dxg::trace
