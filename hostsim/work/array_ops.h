#pragma once

#include "hostsim/machine/bytes.h"
#include "hostsim/work/op.h"

namespace dxg::hostsim {

// The ops that compute with arrays in GPU memory (docs/command-format.md): ADD, MAD, REDUCE and MATMUL. They
// are in a file of their own because it is compiled with -O3: the rest of the host gains nothing from that.
//
// `bytes` is the whole op as it was fetched, with its header. An op that breaks a rule of its format stops
// with kInvalid before it touches memory.
CommandStop ExecuteAdd(const Op& op, ConstBytes bytes);
CommandStop ExecuteMad(const Op& op, ConstBytes bytes);
CommandStop ExecuteReduce(const Op& op, ConstBytes bytes);
CommandStop ExecuteMatmul(const Op& op, ConstBytes bytes);

}  // namespace dxg::hostsim
