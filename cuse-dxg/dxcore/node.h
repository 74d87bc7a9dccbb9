#pragma once

#include <stdint.h>

// The one descriptor of /dev/dxg that all functions of the library use. It is opened by the first call and is
// close-on-exec. A child of fork() has it too, where the driver refuses it with ENOTTY. A call that needs no
// handle of the process then opens the node anew; a call with a handle fails, because the handle is the
// parent's.

namespace dxg::dxcore {

// Makes the call. Returns the NTSTATUS: the result of the ioctl where that is not negative, else what
// errno_status.h makes of errno; STATUS_UNSUCCESSFUL where the node cannot be opened.
int32_t Call(uint32_t code, void* args);

// The same of a call that needs no handle of the process, so that it may be the first one of a child.
int32_t CallFirst(uint32_t code, void* args);

// Closes the descriptor; the next call opens it again. Not while another thread makes a call.
void CloseNode();

}  // namespace dxg::dxcore
