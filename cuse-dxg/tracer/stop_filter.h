#pragma once

#include <linux/filter.h>

#include <cstdint>
#include <vector>

namespace dxg::tracer {

// What the filter tells the tracer (PTRACE_GETEVENTMSG), so that it knows the stops of our filter from those
// of a filter that the program itself has made.
inline constexpr uint16_t kStopMark = 0x0d69;

// The program of a seccomp filter under which a thread stops for its tracer at the calls that a recording
// needs, and runs on at all others without a stop:
//
//     ioctl                     only where the request's type is 'G', as that of all calls of /dev/dxg
//     open, openat              not to create a file, nor a directory: as clients open the node
//     openat2, pidfd_getfd      always; they are rare
//     dup, dup2, dup3, fcntl    fcntl only where it duplicates
//
// The rest is found when a descriptor is used (descriptors.h). Calls of 32-bit programs pass.
std::vector<sock_filter> StopFilter();

// For this thread, and all that it starts, for good. 0, or the errno. `no_new_privs` becomes true where
// no-new-privs had to be set for it: programs with the set-user-ID bit get no rights from it then.
int InstallStopFilter(bool* no_new_privs);

}  // namespace dxg::tracer
