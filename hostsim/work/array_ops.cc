#include "hostsim/work/array_ops.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <initializer_list>
#include <limits>
#include <optional>
#include <type_traits>
#include <vector>

#include "hostsim/memory/gpu_memory.h"
#include "proto/abi/dxg_commands.h"

namespace dxg::hostsim {
namespace {

// Integers are computed as unsigned ones, which wrap.

template <class T>
T Sum(T a, T b) {
  if constexpr (std::is_integral_v<T>) {
    using U = std::make_unsigned_t<T>;
    return static_cast<T>(static_cast<U>(a) + static_cast<U>(b));
  } else {
    return a + b;
  }
}

template <class T>
T Product(T a, T b) {
  if constexpr (std::is_integral_v<T>) {
    using U = std::make_unsigned_t<T>;
    return static_cast<T>(static_cast<U>(a) * static_cast<U>(b));
  } else {
    return a * b;
  }
}

constexpr uint64_t kBlockBytes = 32 * 1024;  // of each array, so that a block of all of them stays in a cache

template <class T>
bool Aligned(std::initializer_list<GpuAddress> addresses) {
  return std::all_of(addresses.begin(), addresses.end(),
                     [](GpuAddress at) { return IsMultipleOf(at, sizeof(T)); });
}

// The same array, or none of its bytes.
template <class T>
bool InPlaceOrApart(GpuAddress destination, GpuAddress source, uint64_t count) {
  return destination == source || !Overlap(destination, count * sizeof(T), source, count * sizeof(T));
}

// destination[i] = compute(sources[0][i], ...)
template <class T, size_t N, class Compute>
CommandStop Elementwise(const Op& op, GpuAddress destination, const std::array<GpuAddress, N>& sources,
                        uint64_t count, Compute compute) {
  if (count > std::numeric_limits<int64_t>::max() / sizeof(T) || !Aligned<T>({destination}))
    return op.Invalid();
  for (const GpuAddress source : sources) {
    if (!Aligned<T>({source}) || !InPlaceOrApart<T>(destination, source, count)) return op.Invalid();
  }
  const uint64_t bytes = count * sizeof(T);
  GpuWindow target(op.environment, destination, bytes, true);
  std::vector<GpuWindow> from;
  from.reserve(sources.size());
  for (const GpuAddress source : sources) from.emplace_back(op.environment, source, bytes, false);
  constexpr uint64_t kBlock = kBlockBytes / sizeof(T);
  std::array<std::vector<T>, N> blocks;
  for (auto& block : blocks) block.resize(std::min(kBlock, count));
  std::vector<T> result(std::min(kBlock, count));
  for (uint64_t at = 0; at < count;) {
    if (op.cancelled) return op.Stop(CommandStop::kCancelled);
    const uint64_t part = std::min(count - at, kBlock);
    for (size_t i = 0; i < N; ++i) {
      if (!from[i].Read(at * sizeof(T), blocks[i].data(), part * sizeof(T))) return op.Fault(from[i].fault());
    }
    compute(blocks, part, result);
    if (!target.Write(at * sizeof(T), result.data(), part * sizeof(T))) return op.Fault(target.fault());
    at += part;
  }
  return op.Done();
}

template <class T>
CommandStop AddOf(const Op& op, const dxg_op_add& add) {
  return Elementwise<T, 2>(op, GpuAddress(add.destination), {GpuAddress(add.a), GpuAddress(add.b)}, add.count,
                           [](const auto& in, uint64_t count, std::vector<T>& out) {
                             for (uint64_t i = 0; i < count; ++i) out[i] = Sum(in[0][i], in[1][i]);
                           });
}

template <class T>
CommandStop MadOf(const Op& op, const dxg_op_mad& mad) {
  return Elementwise<T, 3>(op, GpuAddress(mad.destination),
                           {GpuAddress(mad.a), GpuAddress(mad.b), GpuAddress(mad.c)}, mad.count,
                           [](const auto& in, uint64_t count, std::vector<T>& out) {
                             for (uint64_t i = 0; i < count; ++i)
                               out[i] = Sum(Product(in[0][i], in[1][i]), in[2][i]);
                           });
}

// What a reduction has so far.
template <class T>
class Reduction {
 public:
  explicit Reduction(uint32_t kind) : kind_(kind) {}

  void Take(const std::vector<T>& block, uint64_t count) {
    for (uint64_t i = 0; i < count; ++i) {
      if (kind_ == DXG_REDUCE_SUM) {
        sum_ = Sum(sum_, static_cast<Wide>(block[i]));
      } else if (!any_ || Beats(block[i], best_)) {
        best_ = block[i];
        any_ = true;
      }
    }
  }
  T Result() const { return kind_ == DXG_REDUCE_SUM ? static_cast<T>(sum_) : best_; }

 private:
  using Wide = std::conditional_t<std::is_same_v<T, float>, double, T>;

  // A NaN gives way to everything.
  bool Beats(T value, T best) const {
    if constexpr (std::is_floating_point_v<T>) {
      if (std::isnan(best)) return true;
    }
    return kind_ == DXG_REDUCE_MIN ? value < best : value > best;
  }

  const uint32_t kind_;
  Wide sum_ = 0;
  T best_{};
  bool any_ = false;
};

template <class T>
CommandStop ReduceOf(const Op& op, const dxg_op_reduce& reduce) {
  const GpuAddress from(reduce.source);
  const GpuAddress to(reduce.destination);
  if (reduce.count == 0 || reduce.count > std::numeric_limits<int64_t>::max() / sizeof(T) ||
      reduce.reduction > DXG_REDUCE_MAX || !Aligned<T>({to, from})) {
    return op.Invalid();
  }
  GpuWindow source(op.environment, from, reduce.count * sizeof(T), false);
  constexpr uint64_t kBlock = kBlockBytes / sizeof(T);
  std::vector<T> block(std::min(kBlock, reduce.count));
  Reduction<T> reduction(reduce.reduction);
  for (uint64_t at = 0; at < reduce.count;) {
    if (op.cancelled) return op.Stop(CommandStop::kCancelled);
    const uint64_t part = std::min(reduce.count - at, kBlock);
    if (!source.Read(at * sizeof(T), block.data(), part * sizeof(T))) return op.Fault(source.fault());
    reduction.Take(block, part);
    at += part;
  }
  const T result = reduction.Result();
  GpuWindow target(op.environment, to, sizeof(T), true);
  return target.Write(0, &result, sizeof result) ? op.Done() : op.Fault(target.fault());
}

// A matrix in memory, of which tiles are read and written row by row.
template <class T>
class Matrix {
 public:
  Matrix(const Op& op, GpuAddress address, uint64_t rows, uint64_t columns, uint64_t row, bool write)
      : row_(row), window_(op.environment, address, Bytes(rows, columns, row), write) {}

  static uint64_t Bytes(uint64_t rows, uint64_t columns, uint64_t row) {
    return rows == 0 || columns == 0 ? 0 : ((rows - 1) * row + columns) * sizeof(T);
  }
  bool Read(uint64_t row, uint64_t column, T* to, uint64_t count) {
    return window_.Read((row * row_ + column) * sizeof(T), to, count * sizeof(T));
  }
  bool Write(uint64_t row, uint64_t column, const T* from, uint64_t count) {
    return window_.Write((row * row_ + column) * sizeof(T), from, count * sizeof(T));
  }
  const GpuFault& fault() const { return window_.fault(); }

 private:
  const uint64_t row_;
  GpuWindow window_;
};

// Tiles of c in a cache; what is read of b serves a whole tile of rows.
template <class T>
class MatrixProduct {
 public:
  MatrixProduct(const Op& op, const dxg_op_matmul& product)
      : op_(op),
        product_(product),
        a_(op, GpuAddress(product.a), product.m, product.k, product.a_row, false),
        b_(op, GpuAddress(product.b), product.k, product.n, product.b_row, false),
        c_(op, GpuAddress(product.c), product.m, product.n, product.c_row, true),
        c_tile_(kRows * kColumns),
        a_tile_(kRows * kDepth),
        b_line_(kColumns) {}

  CommandStop Run() {
    for (uint64_t column = 0; column < product_.n; column += kColumns) {
      for (uint64_t row = 0; row < product_.m; row += kRows) {
        const CommandStop stop = Tile(row, std::min<uint64_t>(kRows, product_.m - row), column,
                                      std::min<uint64_t>(kColumns, product_.n - column));
        if (stop.kind != CommandStop::kDone) return stop;
      }
    }
    return op_.Done();
  }

 private:
  static constexpr uint64_t kRows = 64;
  static constexpr uint64_t kColumns = 1024;
  static constexpr uint64_t kDepth = 64;

  CommandStop Tile(uint64_t row, uint64_t rows, uint64_t column, uint64_t columns) {
    std::fill(c_tile_.begin(), c_tile_.end(), T{0});
    if ((product_.flags & DXG_MATMUL_ACCUMULATE) != 0) {
      for (uint64_t i = 0; i < rows; ++i) {
        if (!c_.Read(row + i, column, &c_tile_[i * kColumns], columns)) return op_.Fault(c_.fault());
      }
    }
    for (uint64_t depth = 0; depth < product_.k; depth += kDepth) {
      if (op_.cancelled) return op_.Stop(CommandStop::kCancelled);
      const uint64_t depths = std::min<uint64_t>(kDepth, product_.k - depth);
      for (uint64_t i = 0; i < rows; ++i) {
        if (!a_.Read(row + i, depth, &a_tile_[i * kDepth], depths)) return op_.Fault(a_.fault());
      }
      for (uint64_t k = 0; k < depths; ++k) {
        if (!b_.Read(depth + k, column, b_line_.data(), columns)) return op_.Fault(b_.fault());
        for (uint64_t i = 0; i < rows; ++i) AddLine(&c_tile_[i * kColumns], a_tile_[i * kDepth + k], columns);
      }
    }
    for (uint64_t i = 0; i < rows; ++i) {
      if (!c_.Write(row + i, column, &c_tile_[i * kColumns], columns)) return op_.Fault(c_.fault());
    }
    return op_.Done();
  }

  void AddLine(T* c, T a, uint64_t columns) const {
    for (uint64_t j = 0; j < columns; ++j) c[j] = Sum(c[j], Product(a, b_line_[j]));
  }

  const Op& op_;
  const dxg_op_matmul& product_;
  Matrix<T> a_, b_, c_;
  std::vector<T> c_tile_, a_tile_, b_line_;
};

template <class T>
CommandStop MatmulOf(const Op& op, const dxg_op_matmul& product) {
  const bool fits = product.m <= DXG_MATMUL_MAX && product.n <= DXG_MATMUL_MAX &&
                    product.k <= DXG_MATMUL_MAX && product.a_row >= product.k && product.b_row >= product.n &&
                    product.c_row >= product.n;
  const GpuAddress a(product.a);
  const GpuAddress b(product.b);
  const GpuAddress c(product.c);
  if (!fits || (product.flags & ~DXG_MATMUL_ACCUMULATE) != 0 || !Aligned<T>({a, b, c})) {
    return op.Invalid();
  }
  const uint64_t c_bytes = Matrix<T>::Bytes(product.m, product.n, product.c_row);
  if (Overlap(c, c_bytes, a, Matrix<T>::Bytes(product.m, product.k, product.a_row)) ||
      Overlap(c, c_bytes, b, Matrix<T>::Bytes(product.k, product.n, product.b_row))) {
    return op.Invalid();
  }
  return MatrixProduct<T>(op, product).Run();
}

// Calls `visit` with a value of the element's type.
template <class Visit>
CommandStop OfType(const Op& op, uint32_t type, Visit visit) {
  switch (type) {
    case DXG_TYPE_F32:
      return visit(float{});
    case DXG_TYPE_I32:
      return visit(int32_t{});
    case DXG_TYPE_F64:
      return visit(double{});
    case DXG_TYPE_I64:
      return visit(int64_t{});
    default:
      return op.Invalid();
  }
}

}  // namespace

CommandStop ExecuteAdd(const Op& op, ConstBytes bytes) {
  const auto add = As<dxg_op_add>(bytes);
  if (!add || add->reserved != 0) return op.Invalid();
  return OfType(op, add->type, [&](auto of) { return AddOf<decltype(of)>(op, *add); });
}

CommandStop ExecuteMad(const Op& op, ConstBytes bytes) {
  const auto mad = As<dxg_op_mad>(bytes);
  if (!mad || mad->reserved != 0) return op.Invalid();
  return OfType(op, mad->type, [&](auto of) { return MadOf<decltype(of)>(op, *mad); });
}

CommandStop ExecuteReduce(const Op& op, ConstBytes bytes) {
  const auto reduce = As<dxg_op_reduce>(bytes);
  if (!reduce) return op.Invalid();
  return OfType(op, reduce->type, [&](auto of) { return ReduceOf<decltype(of)>(op, *reduce); });
}

CommandStop ExecuteMatmul(const Op& op, ConstBytes bytes) {
  const auto product = As<dxg_op_matmul>(bytes);
  if (!product) return op.Invalid();
  return OfType(op, product->type, [&](auto of) { return MatmulOf<decltype(of)>(op, *product); });
}

}  // namespace dxg::hostsim
