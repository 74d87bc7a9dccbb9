// One descriptor for all functions, over fork(), and when a program does with it what it should not.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>
#include <thread>

#include "proto/abi/ntstatus.h"
#include "tests/dxcore/library.h"

namespace dxg::dxcore {
namespace {

int32_t Count(const char* name = "EnumAdapters3") {
  d3dkmt_enumadapters3 args = {};
  return Kmt(name, &args);
}

void Close() { reinterpret_cast<void (*)()>(Function("D3DKMTCloseDxCoreDevice"))(); }

// True in a child.
bool InChild(const std::function<bool()>& check) {
  const pid_t child = fork();
  if (child == 0) _exit(check() ? 0 : 1);
  int status = 0;
  return waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

TEST(Node, IsOpenedByTheFirstCallOnceAndCloseOnExec) {
  Close();
  EXPECT_TRUE(DescriptorsOfLibrary().empty());
  EXPECT_EQ(Count(), DXG_STATUS_SUCCESS);
  const std::vector<int> one = DescriptorsOfLibrary();
  ASSERT_EQ(one.size(), 1u);
  EXPECT_EQ(fcntl(one[0], F_GETFD), FD_CLOEXEC);
  EXPECT_EQ(Count(), DXG_STATUS_SUCCESS);
  EXPECT_EQ(DescriptorsOfLibrary(), one);
}

TEST(Node, IsOpenedOnceByManyThreads) {
  for (int i = 0; i < 50; ++i) {
    Close();
    std::vector<std::thread> threads;
    for (int j = 0; j < 4; ++j) threads.emplace_back([] { EXPECT_EQ(Count(), DXG_STATUS_SUCCESS); });
    for (std::thread& thread : threads) thread.join();
    ASSERT_EQ(DescriptorsOfLibrary().size(), 1u);
  }
}

TEST(Node, ChildOpensItsOwnWithTheFirstEnumeration) {
  ASSERT_EQ(Count(), DXG_STATUS_SUCCESS);
  const std::vector<int> before = DescriptorsOfLibrary();
  EXPECT_TRUE(InChild([&] { return Count() == DXG_STATUS_SUCCESS && DescriptorsOfLibrary() == before; }));
  EXPECT_EQ(Count(), DXG_STATUS_SUCCESS);  // the parent's is what it was
}

TEST(Node, HandleOfTheParentIsRefusedInAChild) {
  const auto adapters = EnumAdapters();
  ASSERT_FALSE(adapters.empty());
  d3dkmt_closeadapter close = {adapters[0].adapter_handle};
  EXPECT_TRUE(InChild([&] { return Kmt("CloseAdapter", &close) == DXG_STATUS_UNSUCCESSFUL; }));
  for (const d3dkmt_adapterinfo& adapter : adapters) {
    close.adapter_handle = adapter.adapter_handle;
    EXPECT_EQ(Kmt("CloseAdapter", &close), DXG_STATUS_SUCCESS);
  }
}

bool IsNull(int file) {
  struct stat is, null;
  return fstat(file, &is) == 0 && stat("/dev/null", &null) == 0 && is.st_rdev == null.st_rdev;
}

// As daemons close all they did not open, and a program then has that number for something else. Returns it.
int GiveNumberToNull() {
  EXPECT_EQ(Count(), DXG_STATUS_SUCCESS);
  const int number = DescriptorsOfLibrary().at(0);
  const int null = open("/dev/null", O_RDONLY);
  EXPECT_EQ(dup2(null, number), number);
  close(null);
  return number;
}

TEST(Node, NumberThatIsAnotherFilesByNowIsNotReplaced) {
  const int number = GiveNumberToNull();
  EXPECT_EQ(Count(), DXG_STATUS_SUCCESS);
  EXPECT_TRUE(IsNull(number));
  EXPECT_EQ(DescriptorsOfLibrary().size(), 1u);
  close(number);
}

TEST(Node, NumberThatIsAnotherFilesByNowIsNotClosed) {
  const int number = GiveNumberToNull();
  Close();
  EXPECT_TRUE(IsNull(number));
  close(number);
}

TEST(Node, ClosedOneIsOpenedAnew) {
  ASSERT_EQ(Count(), DXG_STATUS_SUCCESS);
  for (const int file : DescriptorsOfLibrary()) close(file);
  EXPECT_EQ(Count(), DXG_STATUS_SUCCESS);
  EXPECT_EQ(DescriptorsOfLibrary().size(), 1u);
}

}  // namespace
}  // namespace dxg::dxcore
