#pragma once

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <fstream>
#include <string>
#include <string_view>

#include "base/status.h"
#include "proto/dxg/control.pb.h"

namespace dxg {

// The most bytes of a profile's text, wherever it comes from and goes to. A request on the control socket
// holds it, and that is one packet, of which a socket's buffer takes about 200 KiB by default.
inline constexpr size_t kProfileBytesMax = 128 * 1024;

// EFBIG: it has more than kProfileBytesMax bytes. `source` is for the message.
inline Status CheckProfileSize(std::string_view text, const std::string& source) {
  if (text.size() <= kProfileBytesMax) return Status::Ok();
  return Status::Refuse(EFBIG, "{}: is larger than {} bytes; a profile is a short text, see docs/profiles.md",
                        source, kProfileBytesMax);
}

// The text of a profile's file, which has to be there. ENOENT and the like: it cannot be opened or read.
// EFBIG: it has more than kProfileBytesMax bytes. EINVAL: it is empty.
inline Result<std::string> ReadProfileText(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string text(kProfileBytesMax + 1, '\0');
  if (file) file.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (!file.is_open() || file.bad()) return Status::Refuse(errno, "{}: {}", path, std::strerror(errno));
  text.resize(static_cast<size_t>(file.gcount()));
  if (text.empty()) return Status::Refuse(EINVAL, "{}: is empty; give a profile, see docs/profiles.md", path);
  DXG_TRY(CheckProfileSize(text, path));
  return text;
}

// A profile to ask a host for: a file's text, read with our rights and in our directory; where no file has
// that name, the name of a profile that the host has. `option` is for messages. Errors: as ReadProfileText.
inline Result<ControlRequest::AddAdapter> ReadProfileFile(const std::string& name, const char* option) {
  ControlRequest::AddAdapter wanted;
  wanted.set_name(name);
  if (!std::ifstream(name)) return wanted;
  Result<std::string> text = ReadProfileText(name);
  if (!text.ok()) return Status::Refuse(-text.status().value(), "{} {}", option, text.status().why());
  wanted.set_text(*std::move(text));
  return wanted;
}

}  // namespace dxg
