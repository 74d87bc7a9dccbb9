#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace dxg {

// What /proc/<tid>/status says of a thread, at one moment.
class ProcStatus {
 public:
  explicit ProcStatus(pid_t tid);

  // False: there is no such thread, or it is not visible from here.
  bool found() const { return !text_.empty(); }
  // What stands behind `key`, which is given without its colon; none where the kernel has no such line.
  std::optional<std::string> Field(std::string_view key) const;
  // The decimal numbers of that line; empty where it has none.
  std::vector<uint64_t> Numbers(std::string_view key) const;
  // Whether SIGKILL waits for the thread: somebody sent it, or its process ends.
  bool KillIsPending() const;

 private:
  std::string text_;
};

}  // namespace dxg
