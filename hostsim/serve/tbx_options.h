#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/status.h"
#include "hostsim/serve/tbx_session.h"
#include "proto/dxg/control.pb.h"

namespace dxg::hostsim::serve {

// Where --serve=tbx:PORT[,memory-mib=N] listens, and how much physical memory all connections may have.
struct TbxPlace {
  uint16_t port = 0;  // 0: one that is free
  uint64_t memory_bytes = 4ull << 30;
};
// Nothing: `text` is no such place, but maybe another kind. EINVAL: it is one, and wrong.
Result<std::optional<TbxPlace>> ParseTbxPlace(const std::string& text);

// The GPU of the first of these adapters; of intel-tgl where there are none. EINVAL: it has no node that
// executes kernels of Gen12LP.
Result<TbxOptions> TbxOptionsOf(const TbxPlace& place,
                                const std::vector<ControlRequest::AddAdapter>& adapters);

}  // namespace dxg::hostsim::serve
