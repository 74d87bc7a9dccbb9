#include "cuse-dxg/attach/node_mode.h"

#include <grp.h>

#include <cerrno>
#include <charconv>

namespace dxg::attach {
namespace {

// The whole text as a number.
std::optional<unsigned> Number(const std::string& text, int base) {
  unsigned number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number, base);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

}  // namespace

Result<NodeMode> ParseNodeMode(const std::string& mode, const std::string& group) {
  NodeMode parsed;
  if (!mode.empty()) {
    const auto bits = Number(mode, 8);
    if (!bits || (*bits & ~0666u) != 0)
      return Status::Refuse(EINVAL,
                            "--mode {}: expected an octal number of read and write bits, such as 0660", mode);
    parsed.mode = *bits;
  }
  if (group.empty()) return parsed;
  parsed.group = Number(group, 10);
  if (parsed.group) return parsed;
  const struct group* known = getgrnam(group.c_str());
  if (known == nullptr)
    return Status::Refuse(EINVAL, "--group {}: there is no such group; make it: groupadd --system {}", group,
                          group);
  parsed.group = known->gr_gid;
  return parsed;
}

}  // namespace dxg::attach
