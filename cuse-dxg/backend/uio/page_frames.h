#pragma once

#include <memory>
#include <string>

#include "cuse-dxg/backend/vmbus/bus.h"

// Where a client's pages are, told without holding them there: no system call pins the memory of another
// process. The kernel may move such a page (compaction, swapping, copy-on-write after a fork), and the GPU
// then goes on with the old frame, whoever has it by then. Only for those who asked for it.

namespace dxg::vmbus {

// Brings all pages in and notes their frames. EFAULT: a page is not there, or still the one page of zeros
// that all processes share, which a GPU must not write. EPERM: the kernel does not tell us frames. `proc` is
// /proc.
Result<std::unique_ptr<Bus::Pinned>> NoteFrames(std::shared_ptr<ClientPages> pages, const std::string& proc);

}  // namespace dxg::vmbus
