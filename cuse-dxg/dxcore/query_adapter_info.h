#pragma once

#include <stdint.h>

#include "proto/abi/d3dkmthk.h"

namespace dxg::dxcore {

// QueryAdapterInfo as libraries of WSL see it: their WCHAR has 32 bits and the driver's 16, so answers with
// text have other sizes here (docs/wsl-libraries.md lists them), and paths below the driver store of Windows
// lead to /usr/lib/wsl/drivers/. STATUS_INVALID_PARAMETER for such an answer of another size.
int32_t QueryAdapterInfo(d3dkmt_queryadapterinfo* args);

}  // namespace dxg::dxcore
