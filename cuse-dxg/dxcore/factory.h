#pragma once

#include "cuse-dxg/dxcore/com.h"

namespace dxg::dxcore {

// The factory, of which a process has one. kNoInterface where it is not what `iid` names.
HResult GetFactoryOfProcess(const Guid& iid, void** out);

}  // namespace dxg::dxcore
