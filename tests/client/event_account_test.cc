// How many eventfds may be held: of one process exactly so many, of all exactly so many, and what was let go
// does not count.
#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "cuse-dxg/client/event_file.h"

namespace dxg::client {
namespace {

// Another limit of descriptors while it lives.
class DescriptorLimit {
 public:
  explicit DescriptorLimit(rlim_t limit) {
    EXPECT_EQ(getrlimit(RLIMIT_NOFILE, &before_), 0);
    const rlimit now = {limit, before_.rlim_max};
    EXPECT_EQ(setrlimit(RLIMIT_NOFILE, &now), 0) << "the hard limit is " << before_.rlim_max;
  }
  ~DescriptorLimit() { setrlimit(RLIMIT_NOFILE, &before_); }

 private:
  rlimit before_ = {};
};

// A new eventfd of that process and user; the client's own number is closed again.
Result<std::shared_ptr<EventFile>> TryOne(EventFiles& files, pid_t tgid, uid_t user) {
  Identity process;
  process.tgid = tgid;
  process.user = user;
  UniqueFd copy(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  EXPECT_TRUE(copy.valid());
  const int number = copy.get();
  return files.Add(process, number, std::move(copy));
}

std::shared_ptr<EventFile> AddOne(EventFiles& files, pid_t tgid, uid_t user = 0) {
  auto added = TryOne(files, tgid, user);
  return added.ok() ? *std::move(added) : nullptr;
}

// No memory, as the driver says, and for which of the limits.
void ExpectRefused(EventFiles& files, pid_t tgid, uid_t user, const std::string& limit) {
  const auto refused = TryOne(files, tgid, user);
  EXPECT_EQ(refused.status().value(), -ENOMEM);
  EXPECT_NE(refused.status().why().find(limit), std::string::npos) << refused.status().why();
}

TEST(EventAccount, OfAProcess) {
  const DescriptorLimit limit(4 * EventFiles::kPerProcessMax);
  const auto files = std::make_shared<EventFiles>();
  std::vector<std::shared_ptr<EventFile>> held;
  for (size_t i = 0; i < EventFiles::kPerProcessMax; ++i) {
    held.push_back(AddOne(*files, 1, i % 2));  // it has changed its user, whose limit would come first
    ASSERT_NE(held.back(), nullptr) << i;
  }
  ExpectRefused(*files, 1, 0, "there are 4096 of it (at most 4096)");
  EXPECT_NE(AddOne(*files, 2, 1), nullptr) << "another process has its own account";
  held.pop_back();
  EXPECT_NE(AddOne(*files, 1), nullptr);
}

bool AddOneAndKeep(EventFiles& files, uid_t user, std::vector<std::shared_ptr<EventFile>>* held) {
  held->push_back(AddOne(files, static_cast<pid_t>(user), user));
  if (held->back() != nullptr) return true;
  held->pop_back();
  return false;
}

TEST(EventAccount, OfAll) {
  constexpr rlim_t kLimit = 256;
  const DescriptorLimit limit(kLimit);
  const auto files = std::make_shared<EventFiles>();
  std::vector<std::shared_ptr<EventFile>> held;
  constexpr uid_t kUsers = kLimit / 2;
  for (uid_t i = 0; i < kUsers; ++i) {
    held.push_back(AddOne(*files, static_cast<pid_t>(i), i));
    ASSERT_NE(held.back(), nullptr) << i;
  }
  ExpectRefused(*files, 1, 1, "128 of all (at most 128");
  ExpectRefused(*files, kLimit, kUsers, "128 of all (at most 128");
  EXPECT_EQ(files->accounts_count(), kLimit / 2 + kUsers) << "of who was refused";
  held.pop_back();
  EXPECT_NE(AddOne(*files, 1, kUsers), nullptr);
}

// Whose many processes leave others as much, and the next user half of what is left then.
TEST(EventAccount, OfAUser) {
  constexpr rlim_t kLimit = 256;
  const DescriptorLimit limit(kLimit);
  const auto files = std::make_shared<EventFiles>();
  std::vector<std::shared_ptr<EventFile>> held;
  for (rlim_t i = 0; i < kLimit / 4; ++i) {
    held.push_back(AddOne(*files, static_cast<pid_t>(i), 1000));
    ASSERT_NE(held.back(), nullptr) << i;
  }
  ExpectRefused(*files, kLimit, 1000, "64 of its user (at most 64)");
  const auto of_other = AddOne(*files, kLimit, 1001);
  EXPECT_NE(of_other, nullptr);
  held.pop_back();
  EXPECT_NE(AddOne(*files, kLimit, 1000), nullptr);
  // Of one process each, and as many as each gets.
  size_t users = 0;
  for (uid_t user = 1002; AddOneAndKeep(*files, user, &held); ++user) {
    ++users;
    while (AddOneAndKeep(*files, user, &held)) {
    }
  }
  EXPECT_GE(users, 6u) << "64 of 128 are left: 32, 16, 8, 4, 2, 1";
  held.clear();
  EXPECT_EQ(files->accounts_count(), 2u) << "of the other process and its user";
}

TEST(EventAccount, MoreInTotalNeverAtOnce) {
  constexpr rlim_t kLimit = 256;
  const DescriptorLimit limit(kLimit);
  const auto files = std::make_shared<EventFiles>();
  for (rlim_t i = 0; i < 4 * kLimit; ++i) ASSERT_NE(AddOne(*files, 1), nullptr) << i;
}

}  // namespace
}  // namespace dxg::client
