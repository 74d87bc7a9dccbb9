#pragma once

#include <cstddef>
#include <fstream>
#include <string>

#include "base/status.h"
#include "proto/dxg/control.pb.h"

namespace dxg {

inline constexpr size_t kProfileBytesMax = 256 * 1024;

// A profile to ask a host for: the name of one that it has, or a file's text, read with our rights and in our
// directory. `option` is for messages.
inline Result<ControlRequest::AddAdapter> ReadProfileFile(const std::string& name, const char* option,
                                                          size_t bytes_max = kProfileBytesMax) {
  ControlRequest::AddAdapter wanted;
  wanted.set_name(name);
  std::ifstream file(name, std::ios::binary);
  if (!file) return wanted;
  std::string text(bytes_max + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<size_t>(file.gcount()));
  if (text.empty() || text.size() > bytes_max)
    return Status::Refuse(
        EINVAL,
        "{} {}: the file is empty, cannot be read, or has more than {} bytes; give a profile's file or name",
        option, name, bytes_max);
  wanted.set_text(std::move(text));
  return wanted;
}

}  // namespace dxg
