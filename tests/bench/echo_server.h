#pragma once

#include <string>

namespace dxg::bench {

// Serves a FUSE file at `path` whose every ioctl gives back what it was given, by libfuse's own
// single-threaded loop: the least that any device process of this kind can cost. Of a signal from the CPU
// with a list of objects it reads the list, too: the least that one with lists can cost. Writes a byte to
// `ready_fd` when it can be opened; returns when it is unmounted.
int ServeEcho(const std::string& path, int ready_fd);

// The same, which sends each request to a second process and waits for its answer before it gives its own:
// the least that a device process with its host in another process can cost.
int ServeEchoWithHop(const std::string& path, int ready_fd);

// The same, where nobody waits for the second process: another thread takes its answer and gives ours. The
// least where many calls are on their way at once.
int ServeEchoWithThread(const std::string& path, int ready_fd);

}  // namespace dxg::bench
