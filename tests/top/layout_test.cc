#include "cuse-dxg/top/layout.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "tests/top/samples.h"

namespace dxg::top {
namespace {

Picture Sorted() {
  Picture picture = MakePicture(SampleOf(0), SampleOf(1));
  Sort(&picture.processes, SortBy::kMemory);
  return picture;
}

TEST(TopLayout, AFrameOf80Columns) {
  EXPECT_EQ(ToText(Layout(Sorted(), {.selected = 3000, .note = {}}, {80, 20})),
            R"(cuse-dxg top  2 processes  250 calls/s  1.0 refused/s  3 waits
00000000-00010000  SimGPU Discrete
  local       [|||||               ]    2.0 GiB of    7.8 GiB
  non-local   [                    ]        0 B of   15.6 GiB
  0 3D        [|||||               ]  25.0 %  2 queues, 1 ready, 120/s
  1 copy      [                    ]   0.0 %  2 queues, 0 ready, 0/s
    PID NAME                 LOCAL  GPU% CALLS/S REFUSED  WAITS   NONLOCAL
   3001 view               1.5 GiB   0.0      50       5      2        0 B
   3000 train            500.0 MiB  25.0     200       0      0        0 B







Refused lately
  0s ago  3001 view  DestroyDevice EINVAL x5: 0x40000000 is no live handle of th
  2m ago  ?   code 0x0000c0de ENOTTY
q quit  h help  s sort (memory)  f freeze  Up, Down, Enter open a process
)");
}

TEST(TopLayout, AsTextAllOfItIsThere) {
  const std::string text = ToText(Layout(Sorted(), {.keys = false, .note = {}}, {130, 0}));
  EXPECT_NE(text.find("ALLOCATED   CALLS QUEUED    USER\n"), std::string::npos) << text;
  EXPECT_NE(text.find("expected a device\n"), std::string::npos) << text;
  EXPECT_EQ(text.find("\n\n"), std::string::npos) << text;
  EXPECT_EQ(text.find("q quit"), std::string::npos) << text;
}

TEST(TopLayout, AnOpenedProcessShowsItsCalls) {
  Picture picture = Sorted();
  const std::string text = ToText(Layout(picture, {.opened = 3000, .note = {}}, {100, 30}));
  EXPECT_NE(text.find("Process 3000  train  user 1000\n"), std::string::npos) << text;
  EXPECT_NE(text.find("500.0 MiB local, 0 B non-local resident; 600.0 MiB allocated"), std::string::npos);
  EXPECT_NE(text.find("  Lock2                                      200"), std::string::npos) << text;
  EXPECT_EQ(text.find("DestroyDevice"), std::string::npos) << "that refusal is of another process\n" << text;
  EXPECT_NE(ToText(Layout(picture, {.opened = 5, .note = {}}, {})).find("Process 5 has closed the node."),
            std::string::npos);
}

TEST(TopLayout, NoSizeBreaksIt) {
  Picture picture = Sorted();
  for (uint64_t i = 0; i < 50; ++i) {
    picture.processes.push_back(picture.processes[0]);
    picture.processes.back().pid = i + 1;
  }
  for (const bool help : {false, true}) {
    for (const uint64_t opened : {0, 3000}) {
      for (size_t rows = 1; rows < 40; ++rows) {
        for (const size_t columns : {1, 2, 7, 20, 79, 80, 81, 200}) {
          const View view{.help = help, .opened = opened, .selected = 40, .note = {}};
          const Frame frame = Layout(picture, view, {columns, rows});
          EXPECT_LE(frame.size(), rows);
          for (const Line& line : frame) {
            size_t length = 0;
            for (const Piece& piece : line) {
              length += piece.text.size();
              EXPECT_TRUE(std::all_of(piece.text.begin(), piece.text.end(), [](unsigned char letter) {
                return letter >= ' ' && letter < 127;
              })) << piece.text;
            }
            EXPECT_LE(length, columns);
          }
        }
      }
    }
  }
}

TEST(TopLayout, TheSelectedProcessIsAlwaysSeen) {
  Picture picture = Sorted();
  for (uint64_t i = 0; i < 50; ++i) {
    picture.processes.push_back(picture.processes[0]);
    picture.processes.back().pid = i + 1;
  }
  for (const uint64_t selected : {3001, 20, 50}) {
    const Frame frame = Layout(picture, {.selected = selected, .note = {}}, {80, 24});
    size_t marked = 0;
    for (const Line& line : frame) {
      for (const Piece& piece : line) marked += piece.tone == Tone::kSelected ? 1 : 0;
    }
    EXPECT_EQ(marked, 1u) << selected;
  }
}

TEST(TopLayout, NumbersThatMakeNoSenseFit) {
  ControlReply::Live live = SampleOf(1);
  auto* local = live.mutable_adapters(0)->mutable_local();
  local->set_used(UINT64_MAX);
  local->set_budget(1);
  live.mutable_guest_processes(0)->set_calls(UINT64_MAX);
  live.mutable_host_processes(0)->mutable_uses(0)->set_local(UINT64_MAX);
  const std::string text = ToText(Layout(MakePicture(SampleOf(0), live), {.note = {}}, {80, 24}));
  EXPECT_NE(text.find("[||||||||||||||||||||]   16.0 EiB of        1 B"), std::string::npos) << text;
  EXPECT_NE(text.find(">=1e9"), std::string::npos) << text;
}

TEST(TopLayout, BytesHaveUnits) {
  EXPECT_EQ(BytesText(0), "0 B");
  EXPECT_EQ(BytesText(1023), "1023 B");
  EXPECT_EQ(BytesText(1024), "1.0 KiB");
  EXPECT_EQ(BytesText((1 << 20) - 1), "1.0 MiB");
  EXPECT_EQ(BytesText(3ull << 29), "1.5 GiB");
  EXPECT_EQ(BytesText(UINT64_MAX), "16.0 EiB");
}

}  // namespace
}  // namespace dxg::top
