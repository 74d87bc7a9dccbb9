#pragma once

#include <string>

namespace dxg::bench {

// Serves a FUSE file at `path` by libfuse's own single-threaded loop. Every ioctl returns its struct
// unchanged: the least that a device process of this kind can cost. For a signal from the CPU it also reads
// the list of objects: the least that a call with lists can cost. Writes a byte to `ready_fd` when the file
// can be opened; returns when it is unmounted.
int ServeEcho(const std::string& path, int ready_fd);

// The same, by libfuse's own loop of at most so many threads. No signals with lists.
int ServeEchoByThreads(const std::string& path, int ready_fd, int threads);

// The same, but it sends each request to a second process and waits for the answer before it gives its own:
// the least that a device process with its host in another process can cost.
int ServeEchoWithHop(const std::string& path, int ready_fd);

// The same, but no thread waits for the second process: another thread takes its answer and gives ours. The
// least if many calls are under way at once.
int ServeEchoWithThread(const std::string& path, int ready_fd);

}  // namespace dxg::bench
