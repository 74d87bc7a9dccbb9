#pragma once

#include <errno.h>
#include <sys/ioctl.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "proto/abi/d3dkmthk.h"
#include "proto/abi/ntstatus.h"

// What the programs here have in common: calls of a node that have to give exactly one result, and checks.

[[noreturn]] inline void FailWith(const char* what, long is, long expected) {
  std::fprintf(stderr, "%s is %ld (%#lx); expected %ld (%#lx)\n", what, is, is, expected, expected);
  std::exit(1);
}

inline void ExpectEqual(const char* what, uint64_t is, uint64_t expected) {
  if (is != expected) FailWith(what, static_cast<long>(is), static_cast<long>(expected));
}

// `expected`: 0 or a positive NTSTATUS.
template <class Args>
void CallNode(int node, unsigned long code, Args* args, const char* name, int expected) {
  const int result = ioctl(node, code, args);
  if (result < 0) {
    std::fprintf(stderr, "%s: %s\n", name, std::strerror(errno));
    std::exit(1);
  }
  if (result != expected) FailWith(name, result, expected);
}
#define CALL(node, code, args) CallNode(node, code, args, #code, 0)
#define CALL_EXPECTING(node, code, args, expected) CallNode(node, code, args, #code, expected)

template <class T>
uint64_t PointerTo(T* memory) {
  // Safety: the interface takes addresses as numbers.
  return reinterpret_cast<uint64_t>(memory);
}
