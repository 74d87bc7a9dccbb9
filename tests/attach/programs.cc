#include "tests/attach/programs.h"

#include <sys/mount.h>
#include <unistd.h>

#include <cstdlib>

namespace dxg::attach {

namespace fs = std::filesystem;

ProgramsTest::ProgramsTest() {
  char name[] = "/tmp/dxg-programs-XXXXXX";
  directory_ = mkdtemp(name);
  fs::permissions(directory_, fs::perms(0755));
  node_ = directory_ / "dxg";
}

ProgramsTest::~ProgramsTest() {
  umount2(node_.c_str(), MNT_DETACH);
  fs::remove_all(directory_);
}

void ProgramsTest::SetUp() {
  ASSERT_EQ(geteuid(), 0u) << "these tests mount and change users: run them as root";
  ASSERT_EQ(access("/dev/fuse", R_OK | W_OK), 0) << "these tests need /dev/fuse: modprobe fuse";
}

std::string ProgramsTest::Copy(const fs::path& program) const {
  const fs::path copy = directory_ / program.filename();
  fs::copy_file(program, copy);
  fs::permissions(copy, fs::perms(0755));
  return copy;
}

std::vector<std::string> ProgramsTest::AsNobody(std::vector<std::string> command) {
  const std::vector<std::string> change = {"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
                                           "--"};
  command.insert(command.begin(), change.begin(), change.end());
  return command;
}

}  // namespace dxg::attach
