#pragma once

#include <string>

#include "cuse-dxg/top/picture.h"

namespace dxg::top {

// One line, a JSON object; docs/top.md has the schema.
std::string ToJson(const Picture& picture);

}  // namespace dxg::top
