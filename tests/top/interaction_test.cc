#include "cuse-dxg/top/interaction.h"

#include <gtest/gtest.h>

#include "tests/top/samples.h"

namespace dxg::top {
namespace {

using What = Interaction::What;
constexpr int kEscape = 27;

TEST(TopKeys, DoWhatTheHelpSays) {
  Picture picture = MakePicture({}, SampleOf(1));
  Interaction keys{View{.note = {}}};
  keys.Settle(&picture);
  for (const SortBy next : {SortBy::kGpu, SortBy::kCalls, SortBy::kRefused, SortBy::kWaits, SortBy::kPid,
                            SortBy::kName, SortBy::kMemory}) {
    EXPECT_EQ(keys.Press('s', picture), What::kNothing);
    EXPECT_EQ(keys.view().sort, next);
  }
  keys.Press('P', picture);
  EXPECT_EQ(keys.view().sort, SortBy::kPid);
  EXPECT_EQ(keys.Press('f', picture), What::kNothing);
  EXPECT_TRUE(keys.view().frozen);
  EXPECT_EQ(keys.Press(' ', picture), What::kAsk) << "what was missed comes at once";
  EXPECT_FALSE(keys.view().frozen);
  keys.Press('?', picture);
  EXPECT_TRUE(keys.view().help);
  keys.Press(kEscape, picture);
  EXPECT_FALSE(keys.view().help);
  EXPECT_EQ(keys.Press('q', picture), What::kQuit);
}

TEST(TopKeys, SelectAndOpen) {
  Picture picture = MakePicture({}, SampleOf(1));
  Interaction keys{View{.note = {}}};
  keys.Settle(&picture);
  keys.Press('\r', picture);
  EXPECT_EQ(keys.view().opened, 0u) << "none is selected";
  keys.Press('j', picture);
  EXPECT_EQ(keys.view().selected, 3001u) << "the one with the most memory";
  keys.Press('j', picture);
  keys.Press('j', picture);
  EXPECT_EQ(keys.view().selected, 3000u) << "the last one stays";
  EXPECT_EQ(keys.Press('\r', picture), What::kAsk) << "its calls are not there yet";
  EXPECT_EQ(keys.view().opened, 3000u);
  keys.Press(kEscape, picture);
  EXPECT_EQ(keys.view().opened, 0u);
  picture.processes.clear();
  keys.Settle(&picture);
  EXPECT_EQ(keys.view().selected, 0u) << "it is gone";
  keys.Press('k', picture);
}

}  // namespace
}  // namespace dxg::top
