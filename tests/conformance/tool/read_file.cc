#include "tests/conformance/tool/read_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

namespace dxg::conformance {

int ReadFile(const std::string& path, std::string* text) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return errno;
  char part[4096];
  ssize_t bytes = 0;
  while ((bytes = read(fd, part, sizeof(part))) > 0) text->append(part, static_cast<size_t>(bytes));
  const int error = bytes < 0 ? errno : 0;
  close(fd);
  return error;
}

}  // namespace dxg::conformance
