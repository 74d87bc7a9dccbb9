#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "proto/abi/d3dkmthk.h"

// libdxcore.so as a runtime loads it, and the node beside it.

namespace dxg::dxcore {

// The function of that name. Fails the test and ends the program where there is none.
void* Function(const std::string& name);

// D3DKMT<name> with a struct.
template <class Args>
int32_t Kmt(const char* name, Args* args) {
  using Thunk = int32_t (*)(Args*);
  return reinterpret_cast<Thunk>(Function(std::string("D3DKMT") + name))(args);
}

// The same ioctl by a descriptor of the test's own: the result, or -errno.
int Raw(uint32_t code, void* args);

// Whether a status of the library is what that result should become.
bool IsSame(int32_t status, int result);

inline uint64_t Address(const void* pointer) { return reinterpret_cast<uintptr_t>(pointer); }

// All adapters, with handles that the caller owns.
std::vector<d3dkmt_adapterinfo> EnumAdapters();

// Numbers of this process's descriptors that are /dev/dxg, without the one of Raw.
std::vector<int> DescriptorsOfLibrary();

}  // namespace dxg::dxcore
