#include <gtest/gtest.h>

#include <cerrno>
#include <cstring>
#include <vector>

#include "cuse-dxg/backend/uio/page_frames.h"
#include "tests/vmbus_uio/fake_sysfs.h"

namespace dxg::vmbus {
namespace {

class FakePages final : public ClientPages {
 public:
  explicit FakePages(std::vector<uint64_t> frames) : frames_(std::move(frames)) {}
  uint64_t size() const override { return frames_.size() * 4096; }
  bool Read(uint64_t offset, std::span<std::byte>) override { return offset / 4096 != missing; }
  bool Write(uint64_t, std::span<const std::byte>) override {
    return false;
  }  // nobody writes a client's memory to look at it
  bool Frames(uint64_t page, std::span<uint64_t> frames) override {
    if (hidden || page + frames.size() > frames_.size()) return false;
    std::memcpy(frames.data(), frames_.data() + page, frames.size_bytes());
    return true;
  }
  uint64_t missing = UINT64_MAX;
  bool hidden = false;

 private:
  const std::vector<uint64_t> frames_;
};

class FramesTest : public testing::Test {
 protected:
  FramesTest() { WriteFlags(std::vector<uint64_t>(16, 0x868)); }
  void WriteFlags(const std::vector<uint64_t>& flags) {
    sysfs_.Write("proc/kpageflags", std::string(reinterpret_cast<const char*>(flags.data()),
                                                flags.size() * 8));  // Safety: any bytes are chars
  }
  Result<std::unique_ptr<Bus::Pinned>> Note(std::shared_ptr<ClientPages> pages) {
    return NoteFrames(std::move(pages), sysfs_.places().proc);
  }
  FakeSysfs sysfs_;
};

TEST_F(FramesTest, AreWhereTheKernelSays) {
  auto pinned = Note(std::make_shared<FakePages>(std::vector<uint64_t>{5, 9, 3}));
  ASSERT_TRUE(pinned.ok()) << pinned.status().why();
  std::vector<uint64_t> frames(2);
  EXPECT_TRUE((*pinned)->Frames(1, frames));
  EXPECT_EQ(frames, (std::vector<uint64_t>{9, 3}));
  EXPECT_FALSE((*pinned)->Frames(2, frames));
  EXPECT_FALSE((*pinned)->Frames(4, {}));
  EXPECT_FALSE((*pinned)->Frames(UINT64_MAX, frames));
  EXPECT_TRUE((*pinned)->Frames(3, {}));
}

TEST_F(FramesTest, PageThatIsNotThereIsRefused) {
  auto pages = std::make_shared<FakePages>(std::vector<uint64_t>{5, 9});
  pages->missing = 1;
  const Status status = Note(pages).status();
  EXPECT_EQ(status.value(), -EFAULT);
  EXPECT_NE(status.why().find("page 1 "), std::string::npos) << status.why();
  pages->missing = UINT64_MAX;
  pages->hidden = true;
  EXPECT_EQ(Note(pages).status().value(), -EFAULT);
}

TEST_F(FramesTest, HiddenFramesAreRefused) {
  const Status status = Note(std::make_shared<FakePages>(std::vector<uint64_t>{5, 0})).status();
  EXPECT_EQ(status.value(), -EPERM);
  EXPECT_NE(status.why().find("root"), std::string::npos);
}

TEST_F(FramesTest, ThePageOfZerosIsRefused) {
  std::vector<uint64_t> flags(16, 0);
  flags[9] = uint64_t{1} << 24;
  WriteFlags(flags);
  const Status status = Note(std::make_shared<FakePages>(std::vector<uint64_t>{5, 9})).status();
  EXPECT_EQ(status.value(), -EFAULT);
  EXPECT_NE(status.why().find("never been written"), std::string::npos) << status.why();
}

TEST_F(FramesTest, FlagsThatCannotBeReadAreRefused) {
  EXPECT_EQ(Note(std::make_shared<FakePages>(std::vector<uint64_t>{16})).status().value(),
            -EFAULT);  // behind the last
  EXPECT_EQ(Note(std::make_shared<FakePages>(std::vector<uint64_t>{UINT64_MAX >> 9})).status().value(),
            -EFAULT);
  sysfs_.Remove("proc/kpageflags");
  EXPECT_EQ(Note(std::make_shared<FakePages>(std::vector<uint64_t>{5})).status().value(), -EPERM);
}

}  // namespace
}  // namespace dxg::vmbus
