#include "cuse-dxg/attach/in_turn.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace dxg::attach {
namespace {

class InTurnTest : public testing::Test {
 protected:
  void Add(uid_t user, uint64_t process, char what) {
    const auto byte = static_cast<std::byte>(what);
    EXPECT_TRUE(turns_.Add(user, process, {&byte, 1}));
  }
  std::string TakeAll() {
    std::string taken;
    while (!turns_.empty()) taken += static_cast<char>(turns_.Take().at(0));
    return taken;
  }
  InTurn turns_;
};

TEST_F(InTurnTest, AProcessKeepsItsOrder) {
  for (const char each : {'a', 'b', 'c'}) Add(1000, 1, each);
  EXPECT_EQ(TakeAll(), "abc");
}

TEST_F(InTurnTest, ProcessesOfAUserHaveTurns) {
  for (const char each : {'a', 'b', 'c'}) Add(1000, 1, each);
  for (const char each : {'x', 'y'}) Add(1000, 2, each);
  Add(1000, 3, '1');
  EXPECT_EQ(TakeAll(), "ax1byc");
}

// Many processes of one user are one turn to another.
TEST_F(InTurnTest, UsersHaveTurns) {
  for (uint64_t process = 0; process < 5; ++process) Add(1000, process, static_cast<char>('a' + process));
  for (const char each : {'x', 'y'}) Add(1001, 9, each);
  EXPECT_EQ(TakeAll(), "axbycde");
}

TEST_F(InTurnTest, WhoComesLaterHasItsTurnAtOnce) {
  for (int i = 0; i < 100; ++i) Add(1000, 1, 'a');
  EXPECT_EQ(turns_.Take().size(), 1u);
  Add(1001, 2, 'x');
  Add(1000, 3, '1');
  EXPECT_EQ(TakeAll().substr(0, 4), "ax1a");
}

TEST_F(InTurnTest, HoldsSoMany) {
  for (size_t i = 0; i < InTurn::kMax; ++i) {
    EXPECT_FALSE(turns_.full());
    Add(1000, i, 'a');
  }
  EXPECT_TRUE(turns_.full());
  turns_.Take();
  EXPECT_FALSE(turns_.full());
}

TEST_F(InTurnTest, HoldsSoManyBytes) {
  const std::vector<std::byte> large(InTurn::kBytesMax / 4);
  for (int i = 0; i < 4; ++i) {
    EXPECT_FALSE(turns_.full());
    EXPECT_TRUE(turns_.Add(1000, 1, large));
  }
  EXPECT_TRUE(turns_.full());
  turns_.Take();
  EXPECT_FALSE(turns_.full());
}

}  // namespace
}  // namespace dxg::attach
