// A recording that is played while it is made: messages to those who play it, and a node that is not there.
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <vector>

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
    EXPECT_EQ(heard->addresses, call.addresses);
    EXPECT_EQ(heard->names_none, call.names_none);
  }
  RecordedCall call = recording->calls().front();
  call.addresses = {0x1000, 0};
  call.names_none = true;
  call.descriptors = {{5, 6}};
  uint64_t number = 0;
  const auto heard = CallOf(CallMessage(1, call), &number);
  ASSERT_TRUE(heard.has_value());
  EXPECT_EQ(heard->addresses, call.addresses);
  EXPECT_TRUE(heard->names_none);
  ASSERT_EQ(heard->descriptors.size(), 1u);
  EXPECT_EQ(heard->descriptors[0].object, 6u);
}

TEST(LiveCalls, AClosingIsNone) {
  uint64_t number = 0;
  EXPECT_FALSE(CallOf(CloseMessage(99), &number).has_value());
  EXPECT_EQ(number, 99u);
  EXPECT_EQ(NumberOf(CloseMessage(99)), 99u);
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
  const auto begin = [&](uint32_t recorded, int pid) {
    const uint32_t place = *others->Begin(recorded);
    EXPECT_NE(others->PidOf(recorded), pid) << "it is not forked yet";
    others->SetPid(place, pid);
    return place;
  };
  const uint32_t first = begin(7, 100), other = begin(8, 101);
  EXPECT_EQ(others->PidOf(8), 101);
  others->End(first);
  EXPECT_EQ(others->PidOf(7), 0);
  EXPECT_EQ(begin(9, 102), first) << "places are used again";
  others->End(other);
  const uint32_t early = begin(7, 103);
  EXPECT_EQ(early, other);
  begin(7, 104);
  others->End(first);
  EXPECT_EQ(begin(7, 105), first);
  EXPECT_EQ(others->PidOf(7), 105) << "the last that was begun, wherever it is";
  EXPECT_EQ(others->PlaceOf(0), nullptr);
  EXPECT_NE(others->PlaceOf(LiveOthers::kObjectsMax - 1), nullptr);
  EXPECT_EQ(others->PlaceOf(LiveOthers::kObjectsMax), nullptr);
}

TEST(LiveOthers, AreSoManyAtMost) {
  const auto others = *LiveOthers::Create();
  for (uint32_t i = 0; i < LiveOthers::kPlayersMax; ++i) ASSERT_EQ(*others->Begin(i), i);
  EXPECT_EQ(others->Begin(1).status().value(), -EFBIG);
  others->End(5);
  EXPECT_EQ(*others->Begin(1), 5u);
}

TEST(LiveRecording, KeepsNothingOfWhatIsOver) {
  MadeRecording made;
  made.BeginWithDevice();
  made.Close(7);
  made.Open(7, "again");
  made.Close(7);
  const auto recording = Recording::Live(made.header, "live");
  uint64_t number = 0, calls = 0;
  std::vector<uint32_t> closed;
  for (const TraceRecord& record : made.records) {
    ASSERT_TRUE(recording->Add(record, ++number).ok());
    if (const auto call = recording->TakeCall()) {
      ++calls;
      EXPECT_EQ(call->thread, 7u) << "the thread's own number";
    }
    if (const auto process = recording->closed()) {
      closed.push_back(*process);
      recording->Forget(*process);
    }
    EXPECT_EQ(recording->TakeCall(), std::nullopt);
  }
  EXPECT_EQ(calls, 2u);
  EXPECT_EQ(closed, (std::vector<uint32_t>{0, 1})) << "an open after the last close is another process's";
  EXPECT_TRUE(recording->calls().empty());
}

// What the player of that feed says, and its exit status.
std::string Played(const std::string& feed, int* status, const char* node = "/nonexistent/node") {
  int ends[2];
  EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  UniqueFd here(ends[0]), there(ends[1]);
  const pid_t player = fork();
  if (player == 0) {
    here.reset();
    _exit(PlayLive(std::move(there), node));
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

// Calls that are made, where every one is refused, and closes.
int PlayedWhereAllIsRefused() {
  MadeRecording made;
  made.BeginWithDevice();
  made.Close(7);
  made.Open(7, "again");
  made.Close(7);
  int status = -1;
  const std::string said = Played(made.Bytes(), &status, "/dev/null");
  const bool right = said.starts_with("F") && said.find("  here:     = -1 ENOTTY") != std::string::npos &&
                     said.find("2 calls compared: 0 the same") != std::string::npos &&
                     said.find("no answer") == std::string::npos && status == 0;
  if (!right) fprintf(stderr, "%s\nstatus %d\n", said.c_str(), status);
  return right ? 0 : 1;
}

// The process is a new one: those who play are forked from it, and start threads.
TEST(LivePlayer, SaysWhatDiffers) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(_exit(PlayedWhereAllIsRefused()), testing::ExitedWithCode(0), "");
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
