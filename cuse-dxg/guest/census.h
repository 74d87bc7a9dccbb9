#pragma once

#include <sys/types.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>

#include "base/status.h"
#include "cuse-dxg/guest/refusals.h"
#include "link/fidelity.h"
#include "proto/contract/calls.gen.h"

namespace dxg::guest {

// The guest's half of the report (docs/fidelity.md): every call that was answered, and what it asked for
// where calls of one name ask for different things. The guest knows who called and whether it was refused;
// the host knows how far it did what was asked, and says that of the same thing by the same words.
class Census {
 public:
  Census() : start_ns_(NowNs()), things_(start_ns_) {}
  static uint64_t NowNs();  // by the clock that does not jump

  // A call that was answered. `row` is null where the code is of no call.
  struct Answered {
    const contract::CallRow* row;
    uint32_t code;
    pid_t process, thread;
    const Status& status;
    std::string_view name = {};  // of the process
  };

  // One whose request is not known.
  void Count(const Answered& call);
  template <class Request>
  void Count(const Answered& call, const Request& request) {
    NoteRefusal(call);
    CountRequest(call, request);
  }

  // Without the host's half.
  void AddTo(ControlReply* reply) const;
  // How many calls there were, and the latest refusals.
  void AddTo(ControlReply::Live* live) const;
  // How many calls there were, as counts of `ctl status`.
  void AddTotalsTo(ControlReply* reply) const;

 private:
  struct OfCall {
    std::atomic<uint64_t> count{0}, refused{0};
  };

  template <class Request>
  void CountRequest(const Answered& call, const Request& request) {
    // What could not be read says nothing.
    const bool read = call.status.value() != -EFAULT;
    if constexpr (std::is_same_v<Request, QueryAdapterInfo::Request>) {
      if (read) return CountQuery(call, request);
    } else if constexpr (std::is_same_v<Request, dxg::Escape::Request>) {
      if (read) CountDetail(call, fidelity::kType, request.type());
      if (read && call.status.ok()) CountPrivateData(call, request.priv_drv_data_size());
      if (read) return CountCall(call);
    } else if constexpr (requires { request.priv_drv_data_size(); }) {
      if (call.status.ok()) CountPrivateData(call, request.priv_drv_data_size());
    }
    if constexpr (requires { request.allocation_info(0).priv_drv_data_size(); }) {
      if (call.status.ok()) {
        for (const auto& info : request.allocation_info()) CountPrivateData(call, info.priv_drv_data_size());
      }
    }
    CountPlain(call);
  }

  struct Totals {
    uint64_t calls, refused;
  };
  Totals totals() const;
  void NoteRefusal(const Answered& call);
  void CountPlain(const Answered& call);
  void CountCall(const Answered& call);
  void CountQuery(const Answered& call, const QueryAdapterInfo::Request& request);
  // Exact until the host says something else of it, or refused.
  void CountDetail(const Answered& call, std::string_view what, std::optional<uint64_t> number);
  void CountPrivateData(const Answered& call, uint64_t bytes) {
    if (bytes != 0) CountDetail(call, fidelity::kPrivateData, bytes);
  }

  const uint64_t start_ns_;
  Fidelity things_;
  Refusals refusals_;
  std::atomic<uint64_t> unknown_{0};  // codes of no call
  std::array<OfCall, 256> calls_;     // by number
};

}  // namespace dxg::guest
