#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>

#include "base/status.h"
#include "proto/dxg/control.pb.h"
#include "proto/dxg/profile.pb.h"

// Profiles as files: read by who has the rights to, checked by the host (hostsim/adapter/profile.h).

namespace dxg {

// The most bytes of a profile's text and of the files that it names, wherever they come from and go to. A
// request on the control socket holds them, and that is one packet, of which a socket's buffer takes about
// 200 KiB by default.
inline constexpr size_t kProfileBytesMax = 128 * 1024;
// Messages in messages, more than any field of a profile is deep.
inline constexpr int kProfileDepthMax = 16;

// What counts for that of a profile with its files: a file also costs its name and what is around it.
size_t ProfileBytes(const ControlRequest::AddAdapter& wanted);

// EFBIG: it has more than kProfileBytesMax bytes. `source` is for the message.
Status CheckProfileSize(std::string_view text, const std::string& source);

// The text of a profile's file, which has to be there. ENOENT and the like: it cannot be opened or read.
// EFBIG: it has more than kProfileBytesMax bytes. EINVAL: it is empty.
Result<std::string> ReadProfileText(const std::string& path);

// Calls for each reference to a file that is given in the profile or in an adapter in it: the message that
// has it, the name of its field, and the field that the file's bytes are for.
using FileReference =
    std::function<void(google::protobuf::Message* message, const char* field, const char* bytes_field)>;
void ForEachFile(AdapterProfile* profile, const FileReference& call);

// A profile to ask a host for: a file's text and the files that it names, read with our rights and in our
// directory; where no file has that name, the name of a profile that the host has. A file that it names and
// that cannot be read is in it as an error, so that the host can say where it is named. `option` is what
// messages begin with; null: nothing. Errors: as ReadProfileText.
Result<ControlRequest::AddAdapter> ReadProfileFile(const std::string& name, const char* option = nullptr);

}  // namespace dxg
