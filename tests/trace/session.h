#pragma once

#include <cerrno>
#include <cstdint>
#include <string>
#include <utility>

#include "cuse-dxg/trace/recorder.h"
#include "tests/trace/memory_sink.h"

namespace dxg::trace {

// A recording, call by call. Each takes 10 us and begins 100 us after the one before it.
class Session {
 public:
  explicit Session(uint32_t pid = 7) : pid_(pid) {
    TraceHeader header;
    header.set_product("test");
    header.set_begin_ns(1'000'000'000);
    header.set_unix_ns(5);
    recorder_ = *Recorder::Create(std::make_unique<MemorySink>(file_), header);
    at_ns_ = header.begin_ns();
  }

  void Open(const char* name = "client") {
    recorder_->OnFile({.what = guest::FileReport::What::kOpen,
                       .file = 1,
                       .tid = Pid(),
                       .pid = Pid(),
                       .name = name,
                       .at_ns = Now()});
  }
  void Close() {
    recorder_->OnFile(
        {.what = guest::FileReport::What::kClose, .file = 1, .tid = 0, .pid = Pid(), .at_ns = Now()});
  }

  template <typename Traits>
  void Call(const typename Traits::Request& request, const typename Traits::Reply& reply = {},
            Status status = Status::Ok(), uint32_t tid = 0) {
    guest::CallReport report{&Traits::Row(), Traits::kCode, static_cast<pid_t>(tid == 0 ? pid_ : tid),
                             &request,       &reply,        &status,
                             10'000,         Now()};
    report.pid = Pid();
    recorder_->OnCall(report);
  }

  // The file; nothing can be added to it.
  std::string bytes() {
    recorder_.reset();
    return file_.bytes();
  }

 private:
  pid_t Pid() const { return static_cast<pid_t>(pid_); }
  uint64_t Now() { return at_ns_ += 100'000; }

  const uint32_t pid_;
  uint64_t at_ns_ = 0;
  MemoryFile file_;
  std::unique_ptr<Recorder> recorder_;
};

}  // namespace dxg::trace
