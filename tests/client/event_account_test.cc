// How many eventfds may be held: of one process exactly so many, of all exactly so many, and what was let go
// does not count.
#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#include <memory>
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

// A new eventfd of that process; the client's own number is closed again.
std::shared_ptr<EventFile> AddOne(EventFiles& files, pid_t tgid) {
  Identity process;
  process.tgid = tgid;
  UniqueFd copy(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  EXPECT_TRUE(copy.valid());
  const int number = copy.get();
  return files.Add(process, number, std::move(copy));
}

TEST(EventAccount, OfAProcess) {
  const DescriptorLimit limit(4 * EventFiles::kPerProcessMax);
  const auto files = std::make_shared<EventFiles>();
  std::vector<std::shared_ptr<EventFile>> held;
  for (size_t i = 0; i < EventFiles::kPerProcessMax; ++i) {
    held.push_back(AddOne(*files, 1));
    ASSERT_NE(held.back(), nullptr) << i;
  }
  EXPECT_EQ(AddOne(*files, 1), nullptr);
  EXPECT_NE(AddOne(*files, 2), nullptr) << "another process has its own account";
  held.pop_back();
  EXPECT_NE(AddOne(*files, 1), nullptr);
}

TEST(EventAccount, OfAll) {
  constexpr rlim_t kLimit = 256;
  const DescriptorLimit limit(kLimit);
  const auto files = std::make_shared<EventFiles>();
  std::vector<std::shared_ptr<EventFile>> held;
  for (rlim_t i = 0; i < kLimit / 2; ++i) {
    held.push_back(AddOne(*files, static_cast<pid_t>(i)));
    ASSERT_NE(held.back(), nullptr) << i;
  }
  EXPECT_EQ(AddOne(*files, 1), nullptr);
  EXPECT_EQ(AddOne(*files, kLimit), nullptr);
  EXPECT_EQ(files->accounts_count(), kLimit / 2) << "of a process that was refused";
  held.pop_back();
  EXPECT_NE(AddOne(*files, 1), nullptr);
}

TEST(EventAccount, MoreInTotalNeverAtOnce) {
  constexpr rlim_t kLimit = 256;
  const DescriptorLimit limit(kLimit);
  const auto files = std::make_shared<EventFiles>();
  for (rlim_t i = 0; i < 4 * kLimit; ++i) ASSERT_NE(AddOne(*files, 1), nullptr) << i;
}

}  // namespace
}  // namespace dxg::client
