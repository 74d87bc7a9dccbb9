// What a client may open by itself, as the kernel would decide.
#include "cuse-dxg/client/credentials.h"

#include <gtest/gtest.h>
#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>

namespace dxg::client {
namespace {

constexpr uid_t kOwner = 10, kUser = 11, kStranger = 12;
constexpr gid_t kGroup = 20, kOtherGroup = 21;

std::vector<std::byte> AccessList(std::initializer_list<posix_acl_xattr_entry> entries) {
  const posix_acl_xattr_header header = {.a_version = POSIX_ACL_XATTR_VERSION};
  std::vector<std::byte> bytes(sizeof(header) + entries.size() * sizeof(posix_acl_xattr_entry));
  std::memcpy(bytes.data(), &header, sizeof(header));
  std::memcpy(bytes.data() + sizeof(header), std::data(entries), bytes.size() - sizeof(header));
  return bytes;
}

TEST(MayReadAndWrite, ByModeTheFirstThatFitsDecides) {
  struct Case {
    mode_t mode;
    Credentials who;
    bool may;
  };
  const Case cases[] = {
      {0600, {kOwner, 1, {}}, true},       {0600, {kUser, kGroup, {}}, false},
      {0660, {kUser, kGroup, {}}, true},   {0660, {kUser, 1, {2, kGroup}}, true},
      {0660, {kUser, 1, {2}}, false},      {0666, {kUser, 1, {}}, true},
      {0066, {kOwner, kGroup, {}}, false}, {0606, {kUser, kGroup, {}}, false},
      {0400, {kOwner, 1, {}}, false},      {0640, {kUser, kGroup, {}}, false},
      {0662, {kStranger, 1, {}}, false},   {0600, {0, 0, {}}, false},
  };
  for (const Case& each : cases) {
    EXPECT_EQ(MayReadAndWrite(each.who, {kOwner, kGroup, S_IFCHR | each.mode, {}}), each.may)
        << std::oct << each.mode << " by " << std::dec << each.who.user;
  }
}

TEST(MayReadAndWrite, AnAccessListDecidesInsteadOfTheMode) {
  constexpr unsigned kNobody = ~0u;
  const FileRights file = {kOwner, kGroup, S_IFCHR | 0666,
                           AccessList({{ACL_USER_OBJ, 6, kNobody},
                                       {ACL_USER, 6, kUser},
                                       {ACL_USER, 7, kStranger + 1},
                                       {ACL_GROUP_OBJ, 0, kNobody},
                                       {ACL_GROUP, 6, kOtherGroup},
                                       {ACL_MASK, 6, kNobody},
                                       {ACL_OTHER, 0, kNobody}})};
  EXPECT_TRUE(MayReadAndWrite({kOwner, 1, {}}, file));
  EXPECT_TRUE(MayReadAndWrite({kUser, 1, {}}, file));
  EXPECT_TRUE(MayReadAndWrite({kStranger + 1, 1, {}}, file));
  EXPECT_FALSE(MayReadAndWrite({kStranger, kGroup, {}}, file)) << "the owning group may nothing";
  EXPECT_TRUE(MayReadAndWrite({kStranger, kGroup, {kOtherGroup}}, file)) << "any group that suffices";
  EXPECT_FALSE(MayReadAndWrite({kStranger, 1, {}}, file));
  FileRights masked = file;
  masked.access_list = AccessList({{ACL_USER_OBJ, 6, kNobody},
                                   {ACL_USER, 6, kUser},
                                   {ACL_GROUP_OBJ, 6, kNobody},
                                   {ACL_MASK, 4, kNobody},
                                   {ACL_OTHER, 6, kNobody}});
  EXPECT_TRUE(MayReadAndWrite({kOwner, 1, {}}, masked)) << "no mask for the owner";
  EXPECT_FALSE(MayReadAndWrite({kUser, 1, {}}, masked));
  EXPECT_FALSE(MayReadAndWrite({kStranger, kGroup, {}}, masked));
  EXPECT_TRUE(MayReadAndWrite({kStranger, 1, {}}, masked));
}

TEST(MayReadAndWrite, AListThatMakesNoSenseAllowsNothing) {
  FileRights file = {kOwner, kGroup, S_IFCHR | 0666, AccessList({{ACL_USER_OBJ, 6, ~0u}})};
  file.access_list.pop_back();
  EXPECT_FALSE(MayReadAndWrite({kOwner, kGroup, {}}, file));
  file.access_list.resize(3);
  EXPECT_FALSE(MayReadAndWrite({kOwner, kGroup, {}}, file));
  file.access_list = AccessList({{ACL_USER_OBJ, 6, ~0u}});
  file.access_list[0] = std::byte{9};  // another version
  EXPECT_FALSE(MayReadAndWrite({kOwner, kGroup, {}}, file));
}

TEST(Credentials, AreThoseOfTheThread) {
  const auto own = CredentialsOf(getpid());
  ASSERT_TRUE(own);
  EXPECT_EQ(own->user, geteuid());
  EXPECT_EQ(own->group, getegid());
  std::vector<gid_t> groups(static_cast<size_t>(getgroups(0, nullptr)));
  ASSERT_EQ(getgroups(static_cast<int>(groups.size()), groups.data()), static_cast<int>(groups.size()));
  EXPECT_EQ(own->groups.size(), groups.size());
  EXPECT_FALSE(CredentialsOf(0x7fffffff));
}

// Root opens it all the same; the client's user decides.
TEST(OpenFor, OpensWhatTheThreadCouldOpen) {
  char path[] = "/tmp/open-for-XXXXXX";
  const UniqueFd made(mkstemp(path));
  ASSERT_TRUE(made.valid());
  EXPECT_TRUE(OpenFor(getpid(), path).ok());
  ASSERT_EQ(fchmod(made.get(), 0066), 0);
  EXPECT_EQ(OpenFor(getpid(), path).status().value(), -EACCES);
  ASSERT_EQ(fchmod(made.get(), 0600), 0);
  EXPECT_EQ(OpenFor(0x7fffffff, path).status().value(), -EACCES) << "for nobody";
  unlink(path);
  EXPECT_EQ(OpenFor(getpid(), path).status().value(), -ENOENT);
}

}  // namespace
}  // namespace dxg::client
