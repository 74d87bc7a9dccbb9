// The memory of a replayed host: whose it is, and for how long.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cerrno>

#include "base/page.h"
#include "cuse-dxg/replay/replay_memory.h"

namespace dxg::replay {
namespace {

using guest::Account;
using guest::Charged;
using Range = std::shared_ptr<const ReplayMemory::Range>;

constexpr uint32_t kProcess = 1, kOther = 2, kObject = 7;

struct stat StatOf(int file) {
  struct stat found {};
  EXPECT_EQ(fstat(file, &found), 0);
  return found;
}

class ReplayMemoryTest : public testing::Test {
 protected:
  ReplayMemoryTest() {
    memory.Begin(kProcess);
    memory.Begin(kOther);
  }
  Range For(uint32_t process, uint64_t bytes) {
    bool is_new = false;
    auto made = memory.For({process, kObject}, account, bytes, &is_new);
    EXPECT_TRUE(made.ok() && is_new) << made.status().why();
    return made.ok() ? *made : nullptr;
  }
  ReplayMemory memory;
  const std::shared_ptr<Account> account = std::make_shared<Account>(guest::Limits{.bytes = 16 * kPageBytes});
};

// A mapping of one process's memory that is made larger would else show another's.
TEST_F(ReplayMemoryTest, EachProcessHasItsOwnFile) {
  const Range one = For(kProcess, 1), other = For(kOther, 1);
  EXPECT_NE(StatOf(one->file->get()).st_ino, StatOf(other->file->get()).st_ino);
  EXPECT_NE(one->window_address, other->window_address);
}

TEST_F(ReplayMemoryTest, IsChargedUntilTheProcessAndItsMappingsAreGone) {
  Range range = For(kProcess, kPageBytes + 1);
  EXPECT_EQ(account->used(Charged::kBytes), 2 * kPageBytes);
  auto mapping = memory.FindRegion(range->window_address + kPageBytes);
  ASSERT_TRUE(mapping);
  EXPECT_EQ(mapping->size, 2 * kPageBytes);
  const std::weak_ptr<const UniqueFd> file = range->file;
  range.reset();
  memory.Forget(kProcess);
  EXPECT_FALSE(memory.FindRegion(mapping->window_address));
  EXPECT_NE(fcntl(mapping->file, F_GETFD), -1) << "a mapping has lost its file";
  EXPECT_EQ(account->used(Charged::kBytes), 2 * kPageBytes);
  mapping.reset();
  EXPECT_TRUE(file.expired());
  EXPECT_EQ(account->used(Charged::kBytes), 0u);
}

TEST_F(ReplayMemoryTest, NoMoreThanTheAccountAllows) {
  const Range range = For(kProcess, 16 * kPageBytes);
  bool is_new = false;
  EXPECT_EQ(memory.For({kOther, kObject}, account, 1, &is_new).status().value(), -ENOMEM);
}

// A call may be late.
TEST_F(ReplayMemoryTest, AProcessThatHasEndedGetsNone) {
  memory.Forget(kProcess);
  bool is_new = false;
  EXPECT_EQ(memory.For({kProcess, kObject}, account, 1, &is_new).status().value(), -ENODATA);
}

}  // namespace
}  // namespace dxg::replay
