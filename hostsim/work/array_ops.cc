#include "hostsim/work/array_ops.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <functional>
#include <initializer_list>
#include <limits>
#include <memory>
#include <vector>

#include "hostsim/memory/gpu_memory.h"
#include "hostsim/work/array_kernels.h"
#include "proto/abi/dxg_commands.h"

namespace dxg::hostsim {
namespace {

// Of each array that does not lie together where the host has it: a block of all of them stays in a cache.
template <class T>
constexpr uint64_t kBlock = 16 * 1024 / sizeof(T);

// Of each array that does: between two looks at whether the op was cancelled.
constexpr uint64_t kLargeBlockBytes = 256 * 1024;

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

// What an op reads from an array, part by part.
template <class T>
class Source {
 public:
  Source(const Op& op, GpuAddress address, uint64_t count)
      : window_(op.environment, address, count * sizeof(T), false) {}

  // Where so many elements lie together, until the next call; null: they do not, or there is a fault.
  const T* At(uint64_t at, uint64_t count) {
    // Safety: at a multiple of the element's size, and memory of this kind has no type.
    return reinterpret_cast<const T*>(window_.At(at * sizeof(T), count * sizeof(T)));
  }
  // The same, or a copy of at most a block; null: a fault.
  const T* Elements(uint64_t at, uint64_t count) {
    if (const T* there = At(at, count)) return there;
    if (!copy_) copy_ = std::make_unique_for_overwrite<T[]>(kBlock<T>);
    return window_.Read(at * sizeof(T), copy_.get(), count * sizeof(T)) ? copy_.get() : nullptr;
  }
  const GpuFault& fault() const { return window_.fault(); }

 private:
  GpuWindow window_;
  std::unique_ptr<T[]> copy_;
};

// The same elements, or none of them. That is known of addresses of the GPU; two of them can be one memory.
template <class T>
bool InPlaceOrApart(const T* destination, const T* source, uint64_t count) {
  const std::less<const T*> less;
  return destination == source || !less(destination, source + count) || !less(source, destination + count);
}

// destination[i] = compute(sources[0][i], ...), where `compute` takes pointers to so many of each.
template <class T, size_t N, class Compute>
CommandStop Elementwise(const Op& op, GpuAddress destination, const std::array<GpuAddress, N>& sources,
                        uint64_t count, Compute compute) {
  if (count > std::numeric_limits<int64_t>::max() / sizeof(T) || !Aligned<T>({destination}))
    return op.Invalid();
  for (const GpuAddress source : sources) {
    if (!Aligned<T>({source}) || !InPlaceOrApart<T>(destination, source, count)) return op.Invalid();
  }
  GpuWindow target(op.environment, destination, count * sizeof(T), true);
  std::vector<Source<T>> from;
  from.reserve(N);
  for (const GpuAddress source : sources) from.emplace_back(op, source, count);
  std::unique_ptr<T[]> result;
  std::array<const T*, N> in;
  // So many from there on, if all of them lie together and it does not matter in which order they are taken.
  const auto in_memory = [&](uint64_t at, uint64_t part) {
    // Safety: as of sources.
    auto* const out = reinterpret_cast<T*>(target.At(at * sizeof(T), part * sizeof(T)));
    for (size_t i = 0; i < N; ++i) {
      in[i] = out ? from[i].At(at, part) : nullptr;
      if (!in[i] || !InPlaceOrApart<T>(out, in[i], part)) return false;
    }
    compute(in, out, part, target.streams());
    return true;
  };
  for (uint64_t at = 0; at < count;) {
    if (op.cancelled) return op.Stop(CommandStop::kCancelled);
    uint64_t part = std::min(count - at, kLargeBlockBytes / sizeof(T));
    if (!in_memory(at, part)) {
      part = std::min(part, kBlock<T>);
      if (!result) result = std::make_unique_for_overwrite<T[]>(kBlock<T>);
      for (size_t i = 0; i < N; ++i) {
        in[i] = from[i].Elements(at, part);
        if (!in[i]) return op.Fault(from[i].fault());
      }
      compute(in, result.get(), part, false);
      if (!target.Write(at * sizeof(T), result.get(), part * sizeof(T))) return op.Fault(target.fault());
    }
    at += part;
  }
  return op.Done();
}

template <class T>
CommandStop AddOf(const Op& op, const dxg_op_add& add) {
  return Elementwise<T, 2>(op, GpuAddress(add.destination), {GpuAddress(add.a), GpuAddress(add.b)}, add.count,
                           [](const auto& in, T* out, uint64_t count, bool stream) {
                             arrays::Best<T>().add(in[0], in[1], out, count, stream);
                           });
}

template <class T>
CommandStop MadOf(const Op& op, const dxg_op_mad& mad) {
  return Elementwise<T, 3>(op, GpuAddress(mad.destination),
                           {GpuAddress(mad.a), GpuAddress(mad.b), GpuAddress(mad.c)}, mad.count,
                           [](const auto& in, T* out, uint64_t count, bool stream) {
                             arrays::Best<T>().mad(in[0], in[1], in[2], out, count, stream);
                           });
}

template <class T>
CommandStop ReduceOf(const Op& op, const dxg_op_reduce& reduce) {
  const GpuAddress from(reduce.source);
  const GpuAddress to(reduce.destination);
  if (reduce.count == 0 || reduce.count > std::numeric_limits<int64_t>::max() / sizeof(T) ||
      reduce.reduction > DXG_REDUCE_MAX || !Aligned<T>({to, from})) {
    return op.Invalid();
  }
  Source<T> source(op, from, reduce.count);
  arrays::SumOf<T> sum = 0;
  arrays::Extreme<T> extreme{.least = reduce.reduction == DXG_REDUCE_MIN};
  for (uint64_t at = 0; at < reduce.count;) {
    if (op.cancelled) return op.Stop(CommandStop::kCancelled);
    const uint64_t part = std::min(reduce.count - at, kBlock<T>);
    const T* const elements = source.Elements(at, part);
    if (!elements) return op.Fault(source.fault());
    if (reduce.reduction == DXG_REDUCE_SUM) {
      sum = arrays::Best<T>().sum(elements, part, sum);
    } else {
      arrays::Best<T>().extreme(elements, part, &extreme);
    }
    at += part;
  }
  const T result = reduce.reduction == DXG_REDUCE_SUM ? static_cast<T>(sum) : extreme.value;
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
  // Where that many lie together; null: they do not, or there is a fault, and Read has them.
  const T* At(uint64_t row, uint64_t column, uint64_t count) {
    // Safety: at a multiple of the element's size, and memory of this kind has no type.
    return reinterpret_cast<const T*>(window_.At((row * row_ + column) * sizeof(T), count * sizeof(T)));
  }
  const GpuFault& fault() const { return window_.fault(); }

 private:
  const uint64_t row_;
  GpuWindow window_;
};

// Parts of c in a cache, which grow by kDepth products at a time; what is read of b serves all rows of a
// part. The kernel takes a tile of a part, in the rows of a and in a strip of b, which lies together. All is
// filled up with zeros to whole tiles.
template <class T>
class MatrixProduct {
 public:
  MatrixProduct(const Op& op, const dxg_op_matmul& product)
      : op_(op),
        product_(product),
        a_(op, GpuAddress(product.a), product.m, product.k, product.a_row, false),
        b_(op, GpuAddress(product.b), product.k, product.n, product.b_row, false),
        c_(op, GpuAddress(product.c), product.m, product.n, product.c_row, true),
        rows_(WholeTiles(std::min<uint64_t>(product.m, kRows), arrays::kTileRows)),
        columns_(WholeTiles(std::min<uint64_t>(product.n, kColumns), kernels_.tile_columns)),
        depths_(std::min<uint64_t>(product.k, kDepth)),
        c_part_(std::make_unique_for_overwrite<T[]>(rows_ * columns_)),
        a_part_(std::make_unique<T[]>(rows_ * depths_)),
        b_part_(std::make_unique<T[]>(depths_ * columns_)),
        b_line_(std::make_unique_for_overwrite<T[]>(columns_)) {}

  CommandStop Run() {
    for (uint64_t column = 0; column < product_.n; column += kColumns) {
      for (uint64_t row = 0; row < product_.m; row += kRows) {
        const CommandStop stop = Part(row, std::min<uint64_t>(kRows, product_.m - row), column,
                                      std::min<uint64_t>(kColumns, product_.n - column));
        if (stop.kind != CommandStop::kDone) return stop;
      }
    }
    return op_.Done();
  }

 private:
  static constexpr uint64_t kRows = 128;
  static constexpr uint64_t kColumns = 512;
  static constexpr uint64_t kDepth = 64;

  static uint64_t WholeTiles(uint64_t count, uint64_t tile) { return (count + tile - 1) / tile * tile; }

  CommandStop Part(uint64_t row, uint64_t rows, uint64_t column, uint64_t columns) {
    std::fill_n(c_part_.get(), rows_ * columns_, T{0});
    if ((product_.flags & DXG_MATMUL_ACCUMULATE) != 0) {
      for (uint64_t i = 0; i < rows; ++i) {
        if (!c_.Read(row + i, column, &c_part_[i * columns_], columns)) return op_.Fault(c_.fault());
      }
    }
    for (uint64_t depth = 0; depth < product_.k; depth += kDepth) {
      if (op_.cancelled) return op_.Stop(CommandStop::kCancelled);
      const uint64_t depths = std::min<uint64_t>(kDepth, product_.k - depth);
      for (uint64_t i = 0; i < rows; ++i) {
        if (!a_.Read(row + i, depth, &a_part_[i * depths_], depths)) return op_.Fault(a_.fault());
      }
      for (uint64_t k = 0; k < depths; ++k) {
        if (!TakeLine(depth + k, k, depths, column, columns)) return op_.Fault(b_.fault());
      }
      for (uint64_t j = 0; j < columns; j += kernels_.tile_columns) {
        for (uint64_t i = 0; i < rows; i += arrays::kTileRows) {
          kernels_.multiply(&a_part_[i * depths_], depths_, &b_part_[j * depths], depths,
                            &c_part_[i * columns_ + j], columns_);
        }
      }
    }
    for (uint64_t i = 0; i < rows; ++i) {
      if (!c_.Write(row + i, column, &c_part_[i * columns_], columns)) return op_.Fault(c_.fault());
    }
    return op_.Done();
  }

  // A row of b, as line `k` of all strips; false: a fault.
  bool TakeLine(uint64_t row, uint64_t k, uint64_t depths, uint64_t column, uint64_t columns) {
    const T* line = b_.At(row, column, columns);
    if (!line) {
      if (!b_.Read(row, column, b_line_.get(), columns)) return false;
      line = b_line_.get();
    }
    const uint64_t strip = kernels_.tile_columns;
    for (uint64_t j = 0; j < columns; j += strip) {
      T* const to = &b_part_[j * depths + k * strip];
      const uint64_t there = std::min(strip, columns - j);
      std::memcpy(to, line + j, there * sizeof(T));
      std::fill(to + there, to + strip, T{0});
    }
    return true;
  }

  const Op& op_;
  const dxg_op_matmul& product_;
  const arrays::Kernels<T>& kernels_ = arrays::Best<T>();
  Matrix<T> a_, b_, c_;
  const uint64_t rows_, columns_, depths_;  // of parts, in memory
  const std::unique_ptr<T[]> c_part_, a_part_, b_part_, b_line_;
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
