#pragma once

#include <cerrno>
#include <memory>
#include <utility>

#include "cuse-dxg/guest/driver.h"

namespace dxg::guest {

// Serves a call on the descriptor of an object. Whoever holds the descriptor may make it, so the process is
// known by its identity alone and need not have opened the device. C is a Caller with Run() and Finish(); its
// constructor needs no memory, so that the request is taken or still there.
template <class C, class Object>
void ServeHolder(Driver& driver, client::Access& access, std::unique_ptr<attach::IoctlRequest>& request,
                 std::shared_ptr<Object> object) {
  auto identity = access.Identify(request->caller().tid);
  if (!identity) return request->Answer(-ENOTTY, {});
  identity->BelongsTo(request->caller().uid);
  const LongCalls::Who who{identity->tgid, request->caller().uid};
  driver.long_calls().ServeInTurn(
      who, std::move(request),
      [&driver, &access, identity = *std::move(identity), object](auto& next) mutable {
        RunCaller(
            new C(driver, access, std::move(next), std::move(identity), object),
            [](C&) { return Status::Ok(); }, [](C& call) { return call.Run(); },
            [](C& call, const Status& status) { call.Finish(status); });
      });
}

}  // namespace dxg::guest
