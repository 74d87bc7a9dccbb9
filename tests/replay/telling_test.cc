// What several players tell over one pipe is heard as they told it.
#include "cuse-dxg/replay/telling.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <map>

#include "base/unique_fd.h"

namespace dxg::replay {
namespace {

constexpr int kPlayers = 4, kTimes = 50;
constexpr size_t kBytes = 100'000;  // more than a pipe keeps together, or has room for

TEST(TellingTest, PlayersDoNotMixWhatTheyTell) {
  int ends[2];
  ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
  const UniqueFd hear(ends[0]);
  UniqueFd tell(ends[1]);
  for (int player = 0; player < kPlayers; ++player) {
    if (fork() != 0) continue;
    Mutex mutex;
    Outcome outcome{.result = player, .request = std::make_unique<TraceCall>(), .reply = nullptr};
    auto reply = std::make_unique<TraceCall>();
    reply->set_raw(std::string(kBytes, static_cast<char>('a' + player)));
    outcome.reply = std::move(reply);
    for (size_t i = 0; i < kTimes; ++i) Tell(tell.get(), mutex, i, outcome);
    TellOfOther(tell.get(), mutex);
    _exit(0);
  }
  tell.reset();
  Hearing hearing;
  std::map<int, size_t> heard;  // by player; what is of no call has the result 0 as well
  size_t others = 0;
  while (hearing.Read(hear.get(), [&](const std::unique_ptr<TraceRecord>& record) {
    if (record->begin_ns() == ~uint64_t{0}) {
      ++others;
      return;
    }
    const int player = record->result();
    EXPECT_EQ(record->begin_ns(), heard[player]++);
    TraceCall reply;
    EXPECT_TRUE(reply.ParseFromString(record->call().reply()));
    EXPECT_EQ(reply.raw(), std::string(kBytes, static_cast<char>('a' + player)));
  })) {
  }
  EXPECT_EQ(others, size_t{kPlayers});
  ASSERT_EQ(heard.size(), size_t{kPlayers});
  for (const auto& [player, times] : heard) EXPECT_EQ(times, size_t{kTimes}) << player;
  for (int i = 0; i < kPlayers; ++i) EXPECT_GT(wait(nullptr), 0);
}

}  // namespace
}  // namespace dxg::replay
