#pragma once

#include "hostsim/adapter/adapter.h"
#include "hostsim/machine/bytes.h"

namespace dxg::hostsim {

// The smallest QUERYREGISTRY buffer: the struct with its 8 bytes of output.
inline constexpr uint32_t kQueryRegistryBytes = 552;

// QueryAdapterInfo type QUERYREGISTRY, D3DDDI_QUERYREGISTRY_INFO with 2-byte characters. `data` is at least
// kQueryRegistryBytes long; everything behind byte 544 may be output. A value that does not fit is a success
// that reports the bytes it needs, because clients ask twice. Returns an NTSTATUS and changes nothing where
// it is an error.
int32_t QueryRegistry(const Adapter& adapter, Bytes data);

}  // namespace dxg::hostsim
