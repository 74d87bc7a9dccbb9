#pragma once

#include <string>

#include "cuse-dxg/replay/client.h"

namespace dxg::replay {

// A process that plays one of those whose recording is being made: calls come on the socket and outcomes go
// there (live_calls.h). It ends when there is nobody who could have more calls for it, and its threads with
// it.
[[noreturn]] void PlayProcess(int socket, const RecordedProcess& process, Others& others,
                              const std::string& node);

}  // namespace dxg::replay
