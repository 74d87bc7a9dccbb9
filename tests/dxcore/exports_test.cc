#include <dlfcn.h>
#include <gtest/gtest.h>

#include <array>
#include <cstdio>
#include <fstream>
#include <memory>
#include <set>
#include <sstream>
#include <string>

#include "cuse-dxg/dxcore/unserved_functions.h"
#include "proto/abi/ntstatus.h"
#include "proto/contract/calls.gen.h"
#include "proto/contract/thunks.gen.h"

namespace dxg {
namespace {

constexpr char kLibrary[] = DXG_WSL_LIBRARIES "/libdxcore.so";

std::string OutputOf(const std::string& command) {
  std::unique_ptr<FILE, int (*)(FILE*)> pipe(popen(command.c_str(), "r"), pclose);
  std::string output;
  std::array<char, 4096> part;
  while (const size_t bytes = fread(part.data(), 1, part.size(), pipe.get()))
    output.append(part.data(), bytes);
  return output;
}

// What nm says is defined and seen by others.
std::set<std::string> Exports() {
  std::istringstream lines(OutputOf("nm -D --defined-only " + std::string(kLibrary)));
  std::set<std::string> names;
  std::string address, type, name;
  while (lines >> address >> type >> name) {
    EXPECT_EQ(type, "T") << name;
    names.insert(name);
  }
  return names;
}

std::set<std::string> Wanted() {
  std::set<std::string> names = {"DXCoreCreateAdapterFactory",        "D3DKMTCloseDxCoreDevice",
                                 "D3DKMTCreateSynchronizationObject", "D3DKMTDestroyAllocation",
                                 "D3DKMTSetStablePowerState",         "D3DKMTShareObjects",
                                 "D3DKMTSignalSynchronizationObject", "D3DKMTWaitForSynchronizationObject"};
#define DXG_ADD(name, ...) EXPECT_TRUE(names.insert("D3DKMT" #name).second) << #name << " is there twice";
  DXG_FOR_EACH_THUNK(DXG_ADD)
  DXG_FOR_EACH_THUNK_BY_HAND(DXG_ADD)
  DXG_FOR_EACH_LEGACY_THUNK(DXG_ADD)
  DXG_FOR_EACH_UNSERVED_FUNCTION(DXG_ADD)
#undef DXG_ADD
  return names;
}

TEST(Exports, AreTheContractsAndThoseWithoutACall) { EXPECT_EQ(Exports(), Wanted()); }

TEST(Exports, EveryCallHasOne) {
  std::set<uint32_t> codes;
#define DXG_ADD(name, code, ...) codes.insert(static_cast<uint32_t>(code));
  DXG_FOR_EACH_THUNK(DXG_ADD)
  DXG_FOR_EACH_THUNK_BY_HAND(DXG_ADD)
#undef DXG_ADD
  for (const contract::CallRow& call : contract::Calls()) EXPECT_TRUE(codes.contains(call.code)) << call.name;
  EXPECT_EQ(codes.size(), contract::Calls().size());
}

TEST(Exports, NeedTheCLibraryAlone) {
  const std::string needed = OutputOf("readelf -d " + std::string(kLibrary) + " | grep NEEDED");
  EXPECT_NE(needed.find("libc.so.6"), std::string::npos) << needed;
  EXPECT_EQ(std::count(needed.begin(), needed.end(), '\n'), 1) << needed;
}

TEST(Exports, WithoutACallAreNotSupported) {
  void* const library = dlopen(kLibrary, RTLD_NOW | RTLD_LOCAL);
  ASSERT_NE(library, nullptr) << dlerror();
#define DXG_CALL(name)                                                                          \
  {                                                                                             \
    char args[1024] = {};                                                                       \
    const auto function = reinterpret_cast<int32_t (*)(void*)>(dlsym(library, "D3DKMT" #name)); \
    ASSERT_NE(function, nullptr) << #name;                                                      \
    EXPECT_EQ(function(args), DXG_STATUS_NOT_SUPPORTED) << #name;                               \
  }
  DXG_FOR_EACH_UNSERVED_FUNCTION(DXG_CALL)
#undef DXG_CALL
  dlclose(library);
}

}  // namespace
}  // namespace dxg
