#pragma once

#include "cuse-dxg/guest/call.h"
#include "cuse-dxg/guest/driver.h"

// One handler for each served call of the contract, declared from the contract's table: a row without a
// handler does not link. A handler is entered with the request copied in (COPYIN is done) and answers with
// the ioctl's result.

namespace dxg::guest::handlers {

#define DXG_DECLARE_HANDLER(Name) Task Name(CallOf<calls::Name>& call);
DXG_FOR_EACH_SERVED_CALL(DXG_DECLARE_HANDLER)
#undef DXG_DECLARE_HANDLER

}  // namespace dxg::guest::handlers
