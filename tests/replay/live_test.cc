// A recording that is played while it is made: messages to those who play it, and a node that is not there.
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>

#include "cuse-dxg/replay/live_calls.h"
#include "cuse-dxg/replay/live_player.h"
#include "tests/replay/made_recording.h"

namespace dxg::replay {
namespace {

TEST(LiveCalls, AreTheSameOnTheOtherSide) {
  MadeRecording made;
  made.BeginWithDevice();
  const auto recording = made.Take();
  for (const RecordedCall& call : recording->calls()) {
    uint64_t number = 0;
    const auto heard = CallOf(CallMessage(77, call), &number);
    ASSERT_TRUE(heard.has_value());
    EXPECT_EQ(number, 77u);
    EXPECT_EQ(heard->row, call.row);
    EXPECT_EQ(heard->thread, call.thread);
    EXPECT_EQ(heard->request, call.request);
    EXPECT_EQ(heard->reply, call.reply);
    EXPECT_EQ(heard->question, call.question);
    ASSERT_EQ(heard->handles.size(), call.handles.size());
    for (size_t i = 0; i < call.handles.size(); ++i) {
      EXPECT_EQ(heard->handles[i].name, call.handles[i].name);
      EXPECT_EQ(heard->handles[i].object, call.handles[i].object);
    }
    EXPECT_EQ(heard->descriptors.size(), call.descriptors.size());
  }
}

TEST(LiveCalls, AreTakenWhole) {
  std::string bytes = Framed("one") + Framed("") + Framed("three");
  const std::string cut = bytes.substr(0, bytes.size() - 1);
  std::string heard = cut;
  EXPECT_EQ(TakeFramed(&heard), "one");
  EXPECT_EQ(TakeFramed(&heard), "");
  EXPECT_EQ(TakeFramed(&heard), std::nullopt);
  heard += bytes.back();
  EXPECT_EQ(TakeFramed(&heard), "three");
  EXPECT_EQ(TakeFramed(&heard), std::nullopt);
}

TEST(LiveOthers, TheLastOfANumberIsMeant) {
  const auto others = *LiveOthers::Create();
  EXPECT_EQ(others->PidOf(7), 0);
  others->Begin(0, 7, 100);
  others->Begin(1, 8, 101);
  others->Begin(2, 7, 102);
  EXPECT_EQ(others->PidOf(7), 102);
  EXPECT_EQ(others->PidOf(8), 101);
  EXPECT_EQ(others->PlaceOf(0), nullptr);
  EXPECT_NE(others->PlaceOf(LiveOthers::kObjectsMax - 1), nullptr);
  EXPECT_EQ(others->PlaceOf(LiveOthers::kObjectsMax), nullptr);
}

// What the player of that feed says, and its exit status.
std::string Played(const std::string& feed, int* status) {
  int ends[2];
  EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  UniqueFd here(ends[0]), there(ends[1]);
  const pid_t player = fork();
  if (player == 0) {
    here.reset();
    _exit(PlayLive(std::move(there), "/nonexistent/node"));
  }
  there.reset();
  EXPECT_TRUE(SendAll(here.get(), feed));
  shutdown(here.get(), SHUT_WR);
  std::string said;
  char bytes[4096];
  for (ssize_t got = 0; (got = read(here.get(), bytes, sizeof(bytes))) > 0;)
    said.append(bytes, static_cast<size_t>(got));
  waitpid(player, status, 0);
  return said;
}

TEST(LivePlayer, CountsWhatNobodyAnswers) {
  MadeRecording made;
  made.BeginWithDevice();
  int status = -1;
  const std::string said = Played(made.Bytes(), &status);
  EXPECT_EQ(said.find('C'), 0u) << said;
  EXPECT_NE(said.find("0 calls compared"), std::string::npos) << said;
  EXPECT_NE(said.find("2  calls have no answer of the other host\n"), std::string::npos) << said;
  EXPECT_EQ(status, 0);
}

TEST(LivePlayer, RefusesWhatIsNoRecording) {
  int status = -1;
  const std::string said = Played("nothing of the kind", &status);
  EXPECT_EQ(said.find('W'), 0u) << said;
  EXPECT_NE(said.find("0 calls compared"), std::string::npos) << said;
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 1) << status;
}

}  // namespace
}  // namespace dxg::replay
