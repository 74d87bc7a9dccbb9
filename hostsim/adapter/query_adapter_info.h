#pragma once

#include <cstdint>
#include <span>

#include "hostsim/adapter/adapter.h"
#include "hostsim/machine/bytes.h"

namespace dxg::hostsim {

// One KMTQUERYADAPTERINFOTYPE, with its name in proto/abi/qaitype.h: what its answer needs, and the function
// that writes it.
struct QueryType {
  uint32_t type;
  uint32_t bytes;           // a smaller buffer is INVALID_PARAMETER; a larger one keeps its rest
  uint32_t driver_version;  // drivers below it do not know the type
  int32_t refusal;          // the NTSTATUS of a type that render adapters do not have; 0: it has an answer
  // Writes the answer over the caller's data, of which there are at least `bytes`. An NTSTATUS; nothing is
  // written where it is an error.
  int32_t (*answer)(const Adapter& adapter, Bytes data);
};

// Row n is type n; every type up to the last one known has a row.
std::span<const QueryType> QueryTypes();

}  // namespace dxg::hostsim
