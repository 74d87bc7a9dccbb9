#pragma once

#include <string>

namespace dxg::conformance {

// Reads a whole file. Not by a stream, which reads a folder as an empty file. Returns an errno, or 0.
[[nodiscard]] int ReadFile(const std::string& path, std::string* text);

}  // namespace dxg::conformance
