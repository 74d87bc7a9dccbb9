#pragma once

#include <fstream>
#include <string>

#include "cuse-dxg/status.h"
#include "proto/dxg/control.pb.h"

namespace dxg {

// A profile to ask a host for: the name of one that it has, or a file's text, read with our rights and in our directory.
inline Result<ControlRequest::AddAdapter> ReadProfileFile(const std::string& name) {
  constexpr size_t kBytesMax = 256 * 1024;
  ControlRequest::AddAdapter wanted;
  wanted.set_name(name);
  std::ifstream file(name, std::ios::binary);
  if (!file) return wanted;
  std::string text(kBytesMax + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<size_t>(file.gcount()));
  if (text.empty() || text.size() > kBytesMax)
    return Status::Refuse(EINVAL, "--profile {}: the file is empty or has more than {} bytes", name, kBytesMax);
  wanted.set_text(std::move(text));
  return wanted;
}

}  // namespace dxg
