// Clients of --attach=preload that want what is others': their files, their addresses, and all the files.

#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "tests/attach/library_fixture.h"

namespace dxg::attach::library {
namespace {

// -- A descriptor that is not of the file that is named

class Shown : public LibraryTest {
 protected:
  Shown() {
    node_.ioctl = [this](auto request) {
      ++calls_;
      request->Answer(0, {});
    };
    owners_ = owner_.Greet().Open();
    named_ = owners_.told.file;
  }
  // In both ways: when it is asked for, and along with the call.
  void IsNobodysFile(int descriptor) {
    const std::span<const int> shown(&descriptor, 1);
    Connection asked = Connect();
    asked.Greet().Say(named_);
    const Heard ask = asked.Hear();
    ASSERT_EQ(ask.told.kind, tell::kShowFile);
    asked.Done(ask.told, 0, 0, shown);
    EXPECT_EQ(asked.Hear().told.result, -EBADF);

    Connection hasty = Connect();
    hasty.Greet().Say(named_, 0, shown);
    EXPECT_TRUE(hasty.IsLetGo());
    EXPECT_EQ(calls_, 0);
  }

  std::atomic<int> calls_ = 0;
  Connection owner_ = Connect();
  Heard owners_;
  uint64_t named_ = 0;  // the owner's file
};

TEST_F(Shown, ASocketOfTheClientsOwnIsNobodysFile) {
  for (const int type : {SOCK_STREAM, SOCK_SEQPACKET, SOCK_DGRAM}) {
    const auto ends = *MakeSocketPair(type);
    IsNobodysFile(ends.first.get());
  }
}

TEST_F(Shown, APipeIsNobodysFile) {
  int ends[2];
  ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
  const UniqueFd reads(ends[0]), writes(ends[1]);
  IsNobodysFile(reads.get());
  IsNobodysFile(writes.get());
}

// It has the same inode, and the kernel makes no call on it.
TEST_F(Shown, ADescriptorForThePathAloneIsNobodysFile) {
  const std::string path = fmt::format("/proc/self/fd/{}", owners_.files[0].get());
  const UniqueFd place(open(path.c_str(), O_PATH | O_CLOEXEC));
  ASSERT_TRUE(place.valid());
  IsNobodysFile(place.get());
}

TEST_F(Shown, AFileOfAnotherSessionIsNobodysFile) {
  ScriptedNode node;
  const auto session = *LibrarySession::Create();
  ASSERT_TRUE(session->Start(node, 1).ok());
  Connection client(session->place());
  const Heard opened = client.Greet().Open();
  ASSERT_EQ(opened.files.size(), 1u);
  IsNobodysFile(opened.files[0].get());
  session->Stop();
}

TEST_F(Shown, AFileOfOnesOwnIsNotAnothers) {
  Connection other = Connect();
  const Heard own = other.Greet().Open();
  ASSERT_EQ(own.files.size(), 1u);
  IsNobodysFile(own.files[0].get());
}

// The same where a call names a descriptor, such as that of a shared object.
TEST_F(Shown, WhatIsNoneOfOursIsNoObject) {
  const auto delivery = session_->MakeDelivery();
  node_.ioctl = [&](auto request) {
    auto kept = std::make_shared<std::unique_ptr<IoctlRequest>>(std::move(request));
    delivery->Identify({(*kept)->caller().tid, (*kept)->code(), (*kept)->argument()}, {}, 5,
                       [kept](uint64_t file) { (*kept)->Answer(static_cast<int32_t>(file), {}); });
  };
  const auto found = [&](int descriptor) {
    owner_.Say(named_);
    const Heard ask = owner_.Hear();
    EXPECT_EQ(ask.told.kind, tell::kTakeFile);
    owner_.Done(ask.told, 0, 0, std::span(&descriptor, 1));
    return owner_.Hear().told.result;
  };
  const auto ends = *MakeSocketPair(SOCK_STREAM);
  const UniqueFd place(
      open(fmt::format("/proc/self/fd/{}", owners_.files[0].get()).c_str(), O_PATH | O_CLOEXEC));
  EXPECT_EQ(found(ends.first.get()), 0);
  EXPECT_EQ(found(place.get()), 0);
  EXPECT_EQ(found(owners_.files[0].get()), 7);
}

// -- Addresses

bool TakeAddress(int socket, const std::string& name) {
  sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = {}};
  name.copy(address.sun_path + 1, sizeof(address.sun_path) - 1);
  const auto bytes = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
  return bind(socket, AnyAddress(address), bytes) == 0;
}

// Everybody can read the names of those that are there, and take those that come after them.
TEST_F(LibraryTest, AStrangerCannotTakeTheAddressOfTheNextFile) {
  const auto name_of = [name = session_->place().substr(0, preload::node::kNameBytes)](uint64_t number) {
    return fmt::format("{}{}-{}-{}", preload::node::kFilePrefix, name, number, O_RDWR);
  };
  Connection client = Connect();
  const Heard first = client.Greet().Open();
  ASSERT_TRUE(TakeAddress(first.files[0].get(), name_of(first.told.file)));
  std::vector<UniqueFd> strangers;
  for (uint64_t i = 1; i <= 64; ++i) {
    strangers.emplace_back(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    ASSERT_TRUE(TakeAddress(strangers.back().get(), name_of(first.told.file + i)));
  }
  for (int i = 0; i < 16; ++i) {
    const Heard opened = client.Open();
    ASSERT_EQ(opened.files.size(), 1u);
    EXPECT_TRUE(TakeAddress(opened.files[0].get(), name_of(opened.told.file)));
  }
}

TEST(LibraryPlace, NoAddressTellsTheNext) {
  std::set<std::string> begins, ends, secrets;
  for (int i = 0; i < 16; ++i) {
    const std::string place = (*LibrarySession::Create())->place();
    begins.insert(place.substr(0, preload::node::kNameBytes / 2));
    ends.insert(place.substr(preload::node::kNameBytes / 2, preload::node::kNameBytes / 2));
    secrets.insert(place.substr(preload::node::kNameBytes + 1));
  }
  EXPECT_EQ(begins.size(), 16u);
  EXPECT_EQ(ends.size(), 16u);
  EXPECT_EQ(secrets.size(), 16u);
}

// -- More files than there may be

constexpr size_t kOfProcess = 4, kOfUser = 6;

class FewFiles : public LibraryTest {
 protected:
  FewFiles() : LibraryTest({.of_process = kOfProcess, .of_user = kOfUser}) {
    node_.open = [this](auto request) {
      ++open_;
      request->Accept(7);
    };
    node_.release = [this](uint64_t) { --open_; };
  }
  ~FewFiles() override { session_->Stop(); }  // which releases what is open still
  // What another process of that user gets for so many opens, all of which it keeps.
  std::array<int32_t, 3> OpensOfAnother(uid_t user) {
    std::array<int32_t, 3> results = {};
    auto ends = *MakeSocketPair();
    const pid_t child = fork();
    if (child == 0) {
      if (user != getuid() && setresuid(user, user, user) != 0) _exit(1);
      Connection client = Connect();
      client.Greet();
      std::vector<Heard> kept;
      for (int32_t& result : results) result = kept.emplace_back(client.Open()).told.result;
      (void)SendDatagram(ends.second.get(), std::as_bytes(std::span(results)), {});
      _exit(0);
    }
    ends.second.reset();
    EXPECT_TRUE(ReceiveDatagram(ends.first.get(), std::as_writable_bytes(std::span(results))).ok());
    EXPECT_EQ(waitpid(child, nullptr, 0), child);
    return results;
  }

  std::atomic<int> open_ = 0;
};

TEST_F(FewFiles, OneMoreOfAProcessIsRefusedAndOthersOpenTheirs) {
  Connection client = Connect();
  client.Greet();
  std::vector<Heard> kept;
  for (size_t i = 0; i < kOfProcess; ++i) {
    kept.push_back(client.Open());
    EXPECT_EQ(kept.back().told.result, 0);
  }
  for (int i = 0; i < 8; ++i) {
    const Heard one_more = client.Open();
    EXPECT_EQ(one_more.told.kind, tell::kOpened);
    EXPECT_EQ(one_more.told.result, -EBADF);
    EXPECT_TRUE(one_more.files.empty());
    EXPECT_LE(open_, static_cast<int>(kOfProcess) + 1);  // the node has it back by the next open
  }
  EXPECT_EQ(OpensOfAnother(getuid()), (std::array<int32_t, 3>{0, 0, -EBADF}));  // the user's are used up
  kept.pop_back();
  kept.push_back(client.Open());
  EXPECT_EQ(kept.back().told.result, 0);
  if (getuid() == 0) {  // who can be somebody else
    EXPECT_EQ(OpensOfAnother(65534), (std::array<int32_t, 3>{}));
  }
}

TEST_F(FewFiles, TheFileOfAnObjectIsRefusedToo) {
  const auto delivery = session_->MakeDelivery();
  node_.ioctl = [&](auto request) {
    auto kept = std::make_shared<std::unique_ptr<IoctlRequest>>(std::move(request));
    delivery->Enter(
        {(*kept)->caller().tid, (*kept)->code(), (*kept)->argument()}, {}, [] {},
        [kept](Result<std::unique_ptr<client::Visit>> visit) {
          std::vector<client::Step> steps(1);
          steps[0].kind = client::Step::Kind::kGiveNode;
          steps[0].token = 1;
          (*visit)->Do(std::move(steps), [kept](Result<std::vector<uint64_t>> results) {
            (*kept)->Answer(results.status().value(), {});
          });
        });
  };
  Connection client = Connect();
  client.Greet();
  std::vector<Heard> kept;
  for (size_t i = 0; i < kOfProcess; ++i) kept.push_back(client.Open());
  client.Say(kept[0].told.file);
  const Heard answer = client.Hear();
  EXPECT_EQ(answer.told.kind, tell::kAnswer);
  EXPECT_EQ(answer.told.result, -EMFILE);
}

TEST(LibraryFiles, OneMoreOfAllIsRefused) {
  ScriptedNode node;
  const auto session = *LibrarySession::Create({.of_all = 2});
  ASSERT_TRUE(session->Start(node, 1).ok());
  Connection client(session->place());
  const Heard first = client.Greet().Open(), second = client.Open();
  EXPECT_EQ(first.told.result, 0);
  EXPECT_EQ(second.told.result, 0);
  EXPECT_EQ(client.Open().told.result, -EBADF);
  session->Stop();
}

TEST(LibraryFiles, LimitsAreThoseOfThePage) {
  EXPECT_EQ(FileLimits().of_process, 4096u);
  EXPECT_EQ(FileLimits().of_user, 16384u);
}

}  // namespace
}  // namespace dxg::attach::library
