#pragma once

#include <string>

#include "base/status.h"

// What building a directory of the program's own takes: a tmpfs on a stage, filled, then put over the place.

namespace dxg::attach {

// mount(2), with a sentence for each reason why a namespace of the program's may not do it.
Status Mount(const char* source, const std::string& target, const char* type, unsigned long flags,
             const std::string& options);

// A directory to build in, before the result is put in its place. What is below it is hidden for that moment,
// for us alone.
Result<std::string> Stage();

bool MakeEmptyFile(const std::string& path, mode_t mode);

// Shows an entry of a directory in another one: links are copied, all else is bound. What cannot be carried
// over is left out: the program may never ask for it.
void CarryOver(const std::string& from, const std::string& to);

// Puts what was built over a directory. A mount below one that is shared cannot be moved, and a chroot may be
// in such a one: there a second way to it takes its place.
Status PutOver(const std::string& stage, const std::string& place, bool in_chroot);

}  // namespace dxg::attach
