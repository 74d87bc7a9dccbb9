// The limit of descriptors that a visit raises for a moment.
#include "cuse-dxg/client/descriptor_room.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

namespace dxg::client {
namespace {

// A child whose limit is set as a visited thread would set it, until that thread is gone.
class DescriptorRoomTest : public testing::Test {
 protected:
  DescriptorRoomTest() {
    child_ = fork();
    if (child_ == 0) {
      pause();
      _exit(0);
    }
    before_ = Limit();
    before_.rlim_cur /= 2;  // there is room below the hard limit
    EXPECT_EQ(prlimit(child_, RLIMIT_NOFILE, &before_, nullptr), 0);
  }
  ~DescriptorRoomTest() override {
    kill(child_, SIGKILL);
    waitpid(child_, nullptr, 0);
  }
  rlimit Limit() const {
    rlimit now = {};
    EXPECT_EQ(prlimit(child_, RLIMIT_NOFILE, nullptr, &now), 0);
    return now;
  }
  DescriptorRoom::SetLimit ByItsThread() {
    return [this](const rlimit* limit) -> Result<rlimit> {
      if (thread_is_gone_) return Status::Refuse(EINTR, "the thread is gone");
      const rlimit was = Limit();
      if (limit != nullptr) prlimit(child_, RLIMIT_NOFILE, limit, nullptr);
      return was;
    };
  }

  pid_t child_ = 0;
  rlimit before_ = {};
  bool thread_is_gone_ = false;
};

TEST_F(DescriptorRoomTest, IsGivenBackAlsoWhereItsThreadIsGone) {
  for (const bool gone : {false, true}) {
    thread_is_gone_ = false;
    DescriptorRoom room(child_, ByItsThread());
    ASSERT_TRUE(room.Make().ok());
    EXPECT_GT(Limit().rlim_cur, before_.rlim_cur);
    thread_is_gone_ = gone;
    room.GiveBack();
    EXPECT_EQ(Limit().rlim_cur, before_.rlim_cur) << gone;
    EXPECT_EQ(Limit().rlim_max, before_.rlim_max) << gone;
  }
}

TEST_F(DescriptorRoomTest, ALimitThatTheClientHasSetMeanwhileStays) {
  for (const bool gone : {false, true}) {
    thread_is_gone_ = false;
    EXPECT_EQ(prlimit(child_, RLIMIT_NOFILE, &before_, nullptr), 0);
    DescriptorRoom room(child_, ByItsThread());
    ASSERT_TRUE(room.Make().ok());
    const rlimit own = {before_.rlim_cur / 2, before_.rlim_max};
    EXPECT_EQ(prlimit(child_, RLIMIT_NOFILE, &own, nullptr), 0);
    thread_is_gone_ = gone;
    room.GiveBack();
    EXPECT_EQ(Limit().rlim_cur, own.rlim_cur) << gone;
  }
}

}  // namespace
}  // namespace dxg::client
