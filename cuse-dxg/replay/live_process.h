#pragma once

#include <string>

#include "cuse-dxg/replay/client.h"

namespace dxg::replay {

// A process that plays one of those whose recording is being made: calls come on the socket and outcomes go
// there (live_calls.h). A call is made at once, by whichever thread has nothing to do. It ends when there is
// nobody who could have more calls for it, and its threads with it; the node may have been closed before.
[[noreturn]] void PlayProcess(int socket, const RecordedProcess& process, Others& others,
                              const std::string& node);

}  // namespace dxg::replay
