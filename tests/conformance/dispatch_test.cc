// Which codes a node knows. A code is compared as one 32-bit number, so a client with an older or newer
// struct, a number that nobody serves and a code of another device all get the same answer: ENOTTY.

#include <gtest/gtest.h>
#include <linux/fs.h>
#include <linux/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <string>
#include <vector>

#include "tests/conformance/codes.h"
#include "tests/conformance/memory.h"
#include "tests/conformance/node.h"

namespace dxg::conformance {
namespace {

// Room for the largest struct that a code can name, so that nothing fails for want of memory.
constexpr size_t kLargestStruct = 1 << _IOC_SIZEBITS;

const Code* FindNumber(unsigned number) {
  const Code* found = std::find_if(std::begin(kCodes), std::end(kCodes),
                                   [&](const Code& code) { return _IOC_NR(code.code) == number; });
  return found == std::end(kCodes) ? nullptr : found;
}

constexpr uint32_t CodeOf(unsigned direction, unsigned type, unsigned number, unsigned size) {
  return _IOC(direction, type, number, size);
}

// Codes that are one detail away from a real one.
std::vector<uint32_t> NearMisses(uint32_t code) {
  const unsigned direction = _IOC_DIR(code), type = _IOC_TYPE(code), number = _IOC_NR(code),
                 size = _IOC_SIZE(code);
  std::vector<uint32_t> codes;
  for (unsigned other :
       {0u, 1u, size - 4, size - 1, size + 1, size + 4, size + 8, 2 * size, (1u << _IOC_SIZEBITS) - 1})
    if (other != size) codes.push_back(CodeOf(direction, type, number, other));
  for (unsigned other : {0u, 1u, 2u}) codes.push_back(CodeOf(other, type, number, size));
  for (unsigned other : {0x00u, 0x46u, 0x48u, 0x67u, 0xc7u, 0xffu})
    codes.push_back(CodeOf(direction, other, number, size));
  return codes;
}

TEST(Dispatch, RefusesNumbersThatNobodyServes) {
  const Node node = OpenNode();
  std::vector<std::byte> buffer(kLargestStruct, std::byte{0xa5});
  for (unsigned number = 0; number < 256; ++number) {
    if (FindNumber(number) != nullptr) continue;
    for (unsigned size : {0u, 4u, 8u, 16u, 24u, 40u, 64u, 72u, 96u, 368u}) {
      const uint32_t code = CodeOf(_IOC_READ | _IOC_WRITE, 0x47, number, size);
      EXPECT_EQ(node.TryIoctl(code, *buffer.data()), -ENOTTY) << "number " << number << " size " << size;
    }
  }
  EXPECT_TRUE(std::all_of(buffer.begin(), buffer.end(), [](std::byte b) { return b == std::byte{0xa5}; }));
}

// Thunk libraries still have these calls; they were served once.
TEST(Dispatch, RefusesTheCallsOfOlderReleases) {
  const Node node = OpenNode();
  std::array<char, 368> buffer = {};
  struct {
    const char* name;
    uint32_t code;
  } const old_calls[] = {{"CreateContext", 0xC0604703},     {"CreateHwContext", 0xC0284717},
                         {"DestroyHwContext", 0xC004471A},  {"GetSharedResourceAdapterLuid", 0xC0184723},
                         {"OpenResource", 0xC0484728},      {"OpenSynchronizationObject", 0xC0484729},
                         {"QueryResourceInfo", 0xC020472B}, {"Render", 0xC170472D}};
  for (const auto& call : old_calls) EXPECT_EQ(node.TryIoctl(call.code, buffer), -ENOTTY) << call.name;
}

TEST(Dispatch, ComparesTheWholeCode) {
  const Node node = OpenNode();
  std::vector<std::byte> buffer(kLargestStruct, std::byte{0});
  for (const Code& call : kCodes)
    for (uint32_t code : NearMisses(call.code)) {
      EXPECT_EQ(node.TryIoctl(code, *buffer.data()), -ENOTTY) << call.name << " as " << std::hex << code;
    }
  EXPECT_TRUE(std::all_of(buffer.begin(), buffer.end(), [](std::byte b) { return b == std::byte{0}; }));
}

// The structs of a 32-bit program are smaller where the 64-bit ones end in padding.
TEST(Dispatch, RefusesTheSizesOf32BitPrograms) {
  const Node node = OpenNode();
  std::array<char, 512> buffer = {};
  struct {
    unsigned number, size;
  } const small[] = {{0x04, 36}, {0x07, 28}, {0x08, 64}, {0x09, 20}, {0x0a, 52}, {0x0b, 44}, {0x0c, 92},
                     {0x10, 92}, {0x14, 12}, {0x16, 28}, {0x31, 28}, {0x38, 32}, {0x3a, 36}, {0x42, 100}};
  for (const auto& call : small) {
    const uint32_t code = CodeOf(_IOC_READ | _IOC_WRITE, 0x47, call.number, call.size);
    EXPECT_EQ(node.TryIoctl(code, buffer), -ENOTTY) << std::hex << code;
  }
}

// What file systems serve to lsattr, chattr and cp. A file's kernel makes these calls of its own.
TEST(Dispatch, RefusesTheAttributesOfFiles) {
  const Node node = OpenNode();
  for (uint32_t code : {static_cast<uint32_t>(FS_IOC_GETFLAGS), static_cast<uint32_t>(FS_IOC_SETFLAGS),
                        static_cast<uint32_t>(FS_IOC_FSGETXATTR), static_cast<uint32_t>(FS_IOC_FSSETXATTR)}) {
    fsxattr attributes = {};
    EXPECT_EQ(node.TryIoctl(code, attributes), -ENOTTY) << std::hex << code;
  }
}

TEST(Dispatch, LooksAtTheCodeBeforeTheArgument) {
  SKIP_ON_FILE("its kernel copies the argument in before the node sees the code");
  const Node node = OpenNode();
  for (uint64_t address : {uint64_t{0}, kUnmappedAddress, kKernelAddress}) {
    EXPECT_EQ(node.TryIoctlAt(CodeOf(_IOC_READ | _IOC_WRITE, 0x47, 0x4a, 16), address), -ENOTTY) << address;
    for (const Code& call : kCodes)
      for (uint32_t code : NearMisses(call.code))
        EXPECT_EQ(node.TryIoctlAt(code, address), -ENOTTY) << call.name << " as " << std::hex << code;
  }
}

TEST(Dispatch, IgnoresTheUpperHalfOfTheRequest) {
  const Node node = OpenNode();
  d3dkmt_enumadapters2 args = {};
  const long result = syscall(SYS_ioctl, node.fd(), 0xabcd'0000'0000 | LX_DXENUMADAPTERS2, &args);
  EXPECT_EQ(result, 0);
  EXPECT_GT(args.num_adapters, 0u);
}

}  // namespace
}  // namespace dxg::conformance
