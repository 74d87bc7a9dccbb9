#include "tests/dxcore/library.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>

#include "cuse-dxg/dxcore/errno_status.h"

namespace dxg::dxcore {
namespace {

int OwnNode() {
  static const int node = open("/dev/dxg", O_RDONLY | O_CLOEXEC);
  return node;
}

}  // namespace

// By its bare name: the launcher's LD_LIBRARY_PATH leads to it.
void* Function(const std::string& name) {
  static void* const library = dlopen("libdxcore.so", RTLD_NOW | RTLD_LOCAL);
  void* const function = library ? dlsym(library, name.c_str()) : nullptr;
  if (function) return function;
  std::fprintf(stderr, "%s: %s\n", name.c_str(), dlerror());
  std::exit(1);
}

int Raw(uint32_t code, void* args) {
  const int result = ioctl(OwnNode(), code, args);
  return result < 0 ? -errno : result;
}

bool IsSame(int32_t status, int result) { return status == (result < 0 ? StatusOf(-result) : result); }

std::vector<d3dkmt_adapterinfo> EnumAdapters() {
  std::vector<d3dkmt_adapterinfo> adapters(D3DKMT_ADAPTERS_MAX);
  d3dkmt_enumadapters3 args = {};
  args.filter.include_compute_only = 1;
  args.adapter_count = static_cast<uint32_t>(adapters.size());
  args.adapters = Address(adapters.data());
  EXPECT_EQ(Kmt("EnumAdapters3", &args), 0);
  adapters.resize(args.adapter_count);
  return adapters;
}

std::vector<int> DescriptorsOfLibrary() {
  struct stat node;
  EXPECT_EQ(stat("/dev/dxg", &node), 0);
  std::vector<int> found;
  for (int file = 0; file < 256; ++file) {
    struct stat is;
    if (file != OwnNode() && fstat(file, &is) == 0 && is.st_dev == node.st_dev && is.st_ino == node.st_ino)
      found.push_back(file);
  }
  return found;
}

}  // namespace dxg::dxcore
