// The table of eventfds with this process as the client.

#include "cuse-dxg/client/event_file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <thread>
#include <vector>

namespace dxg::client {
namespace {

class EventFileTest : public testing::Test {
 protected:
  std::shared_ptr<EventFile> Add(int descriptor) {
    auto added = files_->Add(me_, descriptor, UniqueFd(dup(descriptor)));
    EXPECT_TRUE(added.ok()) << added.status().why();
    return added.ok() ? *std::move(added) : nullptr;
  }
  static uint64_t Value(int descriptor) {
    uint64_t value = 0;
    return read(descriptor, &value, sizeof(value)) == sizeof(value) ? value : 0;
  }

  const std::shared_ptr<EventFiles> files_ = std::make_shared<EventFiles>();
  const Identity me_ = {
      .tgid = getpid(), .start_time = 1, .own_pid = getpid(), .pid_namespace = 0, .name = ""};
  const UniqueFd event_{eventfd(0, EFD_NONBLOCK)};
};

TEST_F(EventFileTest, RefusesWhatIsNoEventfd) {
  const UniqueFd null(open("/dev/null", O_RDWR));
  EXPECT_EQ(files_->Add(me_, null.get(), UniqueFd(dup(null.get()))).status().value(), -EINVAL);
  EXPECT_EQ(files_->Add(me_, 5, UniqueFd()).status().value(), -EINVAL);
  EXPECT_EQ(files_->Find(me_, getpid(), null.get()), nullptr);
}

TEST_F(EventFileTest, OneForAllItsNumbers) {
  const auto file = Add(event_.get());
  ASSERT_NE(file, nullptr);
  for (int i = 0; i < 10; ++i) {
    const UniqueFd copy(dup(event_.get()));
    EXPECT_EQ(Add(copy.get()), file);
  }
}

TEST_F(EventFileTest, FindsOnlyWhatIsStillThatFile) {
  UniqueFd number(dup(event_.get()));
  EXPECT_EQ(files_->Find(me_, getpid(), number.get()), nullptr);
  auto file = Add(number.get());
  EXPECT_EQ(files_->Find(me_, getpid(), number.get()), file);
  Identity other = me_;
  other.start_time = 2;
  EXPECT_EQ(files_->Find(other, getpid(), number.get()), nullptr);
  const UniqueFd another(eventfd(0, 0));
  ASSERT_EQ(dup2(another.get(), number.get()), number.get());
  EXPECT_EQ(files_->Find(me_, getpid(), number.get()), nullptr);
  const auto second = Add(number.get());
  EXPECT_NE(second, file);
  EXPECT_EQ(files_->Find(me_, getpid(), number.get()), second);
  file.reset();
  EXPECT_EQ(files_->Find(me_, getpid(), number.get()), second);
}

TEST_F(EventFileTest, HoldsNothingOnceLetGo) {
  const int number = event_.get();
  Add(number).reset();
  EXPECT_EQ(files_->Find(me_, getpid(), number), nullptr);
  const std::weak_ptr<EventFile> file = Add(number);
  EXPECT_TRUE(file.expired());
}

TEST_F(EventFileTest, SignalsFromManyThreadsAreAllCounted) {
  const auto file = Add(event_.get());
  constexpr int kThreads = 4, kSignals = 20000;
  std::vector<std::jthread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&] {
      for (int signal = 0; signal < kSignals; ++signal) file->Signal();
    });
  }
  threads.clear();
  EXPECT_EQ(Value(event_.get()), uint64_t{kThreads} * kSignals);
}

TEST_F(EventFileTest, AFullCounterStopsAtItsEndAndNobodyWaits) {
  const auto file = Add(event_.get());
  const uint64_t full = ~uint64_t{0} - 1;
  ASSERT_EQ(write(event_.get(), &full, sizeof(full)), static_cast<ssize_t>(sizeof(full)));
  for (int i = 0; i < 5000; ++i) file->Signal();
  EXPECT_EQ(Value(event_.get()), Signaller().has_aio() ? ~uint64_t{0} : full);
}

}  // namespace
}  // namespace dxg::client
