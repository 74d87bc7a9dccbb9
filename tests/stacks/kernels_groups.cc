// Kernels whose work items work together: local memory, barriers, atomics, collective functions, printf.
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <numeric>

#include "tests/stacks/opencl_kit.h"

namespace stacks {
namespace {

using Floats = std::vector<float>;
using Ints = std::vector<int32_t>;
using Words = std::vector<uint32_t>;

Words SomeWords(size_t count, uint64_t seed) {
  Random random(seed);
  Words words(count);
  for (uint32_t& word : words) word = random.Next();
  return words;
}

// Of the work items of that group.
size_t GroupEnd(const Shape& shape, size_t group) { return std::min(shape.items, (group + 1) * shape.group); }

constexpr const char* kReduce = R"(
kernel void reduce(global const int* in, global int* out, local int* part, int n) {
  const int i = get_global_id(0), l = get_local_id(0);
  part[l] = i < n ? in[i] : 0;
  barrier(CLK_LOCAL_MEM_FENCE);
  for (int left = get_local_size(0); left > 1;) {
    const int upper = (left + 1) / 2;
    if (l + upper < left) part[l] += part[l + upper];
    left = upper;
    barrier(CLK_LOCAL_MEM_FENCE);
  }
  if (l == 0) out[get_group_id(0)] = part[0];
})";

void RunReduce(const Session& session, Kernel& kernel, const Shape& shape) {
  const Words in = SomeWords(shape.items, shape.items);
  Words wanted(shape.groups());
  const Array<uint32_t> at_in(session, in), out(session, wanted);
  for (size_t g = 0; g < wanted.size(); ++g)
    for (size_t i = g * shape.group; i < GroupEnd(shape, g); ++i) wanted[g] += in[i];
  kernel.Set(at_in, out, Kernel::Local{shape.group * sizeof(cl_int)}, static_cast<cl_int>(shape.items));
  kernel.Run(shape);
  CHECK(out.Read() == wanted);
}

constexpr const char* kTiles = R"(
kernel void tiles(global const float* a, global const float* b, global float* c, local float* of_a,
                  local float* of_b, int n) {
  const int t = get_local_size(0), x = get_local_id(0), y = get_local_id(1);
  const int column = get_global_id(0), row = get_global_id(1);
  float sum = 0;
  for (int first = 0; first < n; first += t) {
    of_a[y * t + x] = row < n && first + x < n ? a[row * n + first + x] : 0;
    of_b[y * t + x] = first + y < n && column < n ? b[(first + y) * n + column] : 0;
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int k = 0; k < t; ++k) sum = fma(of_a[y * t + k], of_b[k * t + x], sum);
    barrier(CLK_LOCAL_MEM_FENCE);
  }
  if (row < n && column < n) c[row * n + column] = sum;
})";

// Of n x n, in tiles whose area is at most the group's.
void RunTiles(const Session& session, Kernel& kernel, const Shape& shape) {
  const size_t n = std::min<size_t>(shape.items, 50);
  size_t t = 1;
  while ((t + 1) * (t + 1) <= shape.group) ++t;
  Random random(n);
  Floats a(n * n), b(n * n), wanted(n * n);
  for (float& each : a) each = random.Unit() - 0.5f;
  for (float& each : b) each = random.Unit() - 0.5f;
  for (size_t row = 0; row < n; ++row)
    for (size_t column = 0; column < n; ++column)
      for (size_t k = 0; k < n; ++k) {
        float& sum = wanted[row * n + column];
        sum = fmaf(a[row * n + k], b[k * n + column], sum);
      }
  const Array<float> at_a(session, a), at_b(session, b), c(session, Floats(n * n));
  const Kernel::Local tile{t * t * sizeof(float)};
  kernel.Set(at_a, at_b, c, tile, tile, static_cast<cl_int>(n));
  const size_t padded = (n + t - 1) / t * t, global[] = {padded, padded}, group[] = {t, t};
  kernel.Run(2, nullptr, global, group);
  const Floats found = c.Read();
  CHECK(memcmp(found.data(), wanted.data(), n * n * sizeof(float)) == 0);
}

constexpr const char* kAtomics = R"(
kernel void atomics(global const uint* in, global uint* counts, volatile global uint* most,
                    volatile global int* least, volatile global uint* by_exchange,
                    local uint* of_group, int n) {
  const int i = get_global_id(0);
  for (int k = get_local_id(0); k < 16; k += get_local_size(0)) of_group[k] = 0;
  barrier(CLK_LOCAL_MEM_FENCE);
  if (i < n) {
    atomic_inc(&of_group[in[i] & 15]);
    atomic_max(most, in[i]);
    atomic_min(least, as_int(in[i]));
    uint old = *by_exchange, seen;
    while ((seen = atomic_cmpxchg(by_exchange, old, old * 1u + (in[i] >> 20))) != old) old = seen;
  }
  barrier(CLK_LOCAL_MEM_FENCE);
  for (int k = get_local_id(0); k < 16; k += get_local_size(0)) atomic_add(&counts[k], of_group[k]);
})";

void RunAtomics(const Session& session, Kernel& kernel, const Shape& shape) {
  const Words in = SomeWords(shape.items, shape.items + 5);
  Words counts(16);
  uint32_t most = 0, sum = 0;
  int32_t least = INT32_MAX;
  const Array<uint32_t> at_in(session, in), at_counts(session, counts), at_most(session, Words(1));
  const Array<int32_t> at_least(session, Ints{least});
  const Array<uint32_t> exchanged(session, Words(1));
  for (const uint32_t each : in) {
    ++counts[each & 15];
    most = std::max(most, each);
    least = std::min(least, static_cast<int32_t>(each));
    sum += each >> 20;
  }
  kernel.Set(at_in, at_counts, at_most, at_least, exchanged, Kernel::Local{16 * sizeof(cl_uint)},
             static_cast<cl_int>(shape.items));
  kernel.Run(shape);
  CHECK(at_counts.Read() == counts);
  CHECK(at_most.Read()[0] == most);
  CHECK(at_least.Read()[0] == least);
  CHECK(exchanged.Read()[0] == sum);
}

constexpr const char* kScan = R"(
kernel void scan(global const int* in, global int* inclusive, global int* exclusive, global int* sums,
                 global int* largest, int n) {
  const int i = get_global_id(0);
  const int value = i < n ? in[i] : 0;
  const int up_to = work_group_scan_inclusive_add(value), before = work_group_scan_exclusive_add(value);
  const int sum = work_group_reduce_add(value), most = work_group_reduce_max(value);
  const int first = work_group_broadcast(value, 0);
  if (i >= n) return;
  inclusive[i] = up_to;
  exclusive[i] = before;
  sums[i] = sum + first;
  largest[i] = most;
})";

void RunScan(const Session& session, Kernel& kernel, const Shape& shape) {
  const size_t n = shape.items;
  Random random(n);
  Ints in(n);
  for (int32_t& each : in) each = static_cast<int32_t>(random.Below(100'000));
  const Array<int32_t> at_in(session, in), inclusive(session, Ints(n)), exclusive(session, Ints(n)),
      sums(session, Ints(n)), largest(session, Ints(n));
  kernel.Set(at_in, inclusive, exclusive, sums, largest, static_cast<cl_int>(n));
  kernel.Run(shape);
  const Ints up_to = inclusive.Read(), before = exclusive.Read(), sum = sums.Read(), most = largest.Read();
  for (size_t g = 0; g < shape.groups(); ++g) {
    const auto begin = in.begin() + static_cast<ptrdiff_t>(g * shape.group),
               end = in.begin() + static_cast<ptrdiff_t>(GroupEnd(shape, g));
    int32_t so_far = 0;
    for (size_t i = g * shape.group; i < GroupEnd(shape, g); ++i) {
      CHECK(before[i] == so_far);
      so_far += in[i];
      CHECK(up_to[i] == so_far);
      CHECK(sum[i] == std::accumulate(begin, end, 0) + *begin);
      CHECK(most[i] == *std::max_element(begin, end));
    }
  }
}

constexpr const char* kLanes = R"(
#pragma OPENCL EXTENSION cl_intel_subgroups : enable
kernel void lanes(global const uint* in, global uint* block, global uint4* found, int n) {
  const uint i = get_global_id(0), lane = get_sub_group_local_id();
  const uint value = i < n ? in[i] : 0;
  const uint sum = sub_group_reduce_add(value), up_to = sub_group_scan_inclusive_add(value);
  const uint turned = intel_sub_group_shuffle(value, (lane + 1) % get_sub_group_size());
  const uint any = sub_group_any(value & 1) ? 1u : 0u;
  const uint first = sub_group_broadcast(value, 0);
  // A block for each group of work items, at a multiple of 16 bytes.
  const uint of_block = intel_sub_group_block_read(in + get_group_id(0) % 4 * 4);
  if (i >= n) return;
  block[i] = of_block;
  found[2 * i] = (uint4)(get_sub_group_id(), lane, get_sub_group_size(), value);
  found[2 * i + 1] = (uint4)(sum, up_to, turned, any + 2 * first);
})";

// What the runtime calls a sub group it says itself; the checks follow from that.
void RunLanes(const Session& session, Kernel& kernel, const Shape& shape) {
  const size_t n = shape.items;
  Words in = SomeWords(n + 64, n + 9);
  const Array<uint32_t> at_in(session, in), block(session, Words(n)), found(session, Words(8 * n));
  kernel.Set(at_in, block, found, static_cast<cl_int>(n));
  kernel.Run(shape);
  const Words lanes = found.Read(), blocks = block.Read();
  std::map<std::pair<size_t, uint32_t>, std::map<uint32_t, size_t>> members;  // lane: work item
  for (size_t i = 0; i < n; ++i) {
    auto& lane = members[{i / shape.group, lanes[8 * i]}];
    CHECK(lane.emplace(lanes[8 * i + 1], i).second);
    CHECK(lanes[8 * i + 3] == in[i]);
    CHECK(blocks[i] == in[i / shape.group % 4 * 4 + lanes[8 * i + 1]]);
  }
  for (const auto& [of, lane] : members) {
    // Lanes are numbered from 0; those of work items beyond the last one had the value 0.
    CHECK(lane.rbegin()->first + 1 == lane.size());
    const size_t size = lanes[8 * lane.at(0) + 2];
    CHECK(size >= lane.size());
    uint32_t sum = 0, any = 0, so_far = 0;
    for (const auto& [number, i] : lane) sum += in[i], any |= in[i] & 1;
    for (const auto& [number, i] : lane) {
      so_far += in[i];
      const uint32_t* const of_lane = &lanes[8 * i + 4];
      CHECK(of_lane[0] == sum && of_lane[1] == so_far);
      const auto next = lane.find(static_cast<uint32_t>((number + 1) % size));
      CHECK(of_lane[2] == (next == lane.end() ? 0 : in[next->second]));
      CHECK(of_lane[3] == any + 2 * in[lane.at(0)]);
    }
  }
}

constexpr const char* kGeneric = R"(
struct __attribute__((packed)) Record { uchar kind; ushort key; int value; };

int load(const int* from, int at) { return from[at] * 2 + 1; }

kernel void generic_pointers(global const struct Record* records, global int* out, volatile global int* total,
                             local int* shared, int n) {
  const int i = get_global_id(0), l = get_local_id(0);
  int own[4] = {i, i * 2, i * 3, i * 4};
  shared[l] = i * 10;
  barrier(CLK_LOCAL_MEM_FENCE);
  if (i >= n) return;
  const struct Record record = records[i];
  const int* from = (record.kind & 1) ? (const int*)own : (const int*)shared;
  int value = load(from, (record.kind & 1) ? (record.key & 3) : l);
  switch (record.kind) {
    case 0: value += record.value; break;
    case 1: value -= record.value; break;
    case 2: value ^= record.key;
    case 3: value *= 3; break;
    case 9: value = -value; break;
    default: value += record.key * 7;
  }
  out[i] = value;
  atomic_add(total, value);
  atomic_xor(total + 1, value);
  atomic_or(total + 2, value);
  atomic_sub(total + 3, record.key);
})";

void RunGeneric(const Session& session, Kernel& kernel, const Shape& shape) {
  const size_t n = shape.items;
  Random random(n + 3);
  std::vector<uint8_t> records(7 * n);
  Words wanted(n), totals(4);
  for (size_t i = 0; i < n; ++i) {
    const auto kind = static_cast<uint8_t>(random.Below(11));
    const auto key = static_cast<uint16_t>(random.Next());
    const uint32_t number = random.Next(), id = static_cast<uint32_t>(i);
    records[7 * i] = kind;
    memcpy(&records[7 * i + 1], &key, sizeof key);
    memcpy(&records[7 * i + 3], &number, sizeof number);
    uint32_t value = ((kind & 1) != 0 ? id * ((key & 3u) + 1) : id * 10) * 2 + 1;
    if (kind == 0) {
      value += number;
    } else if (kind == 1) {
      value -= number;
    } else if (kind == 2) {
      value = (value ^ key) * 3;
    } else if (kind == 3) {
      value *= 3;
    } else if (kind == 9) {
      value = 0 - value;
    } else {
      value += key * 7u;
    }
    wanted[i] = value;
    totals[0] += value;
    totals[1] ^= value;
    totals[2] |= value;
    totals[3] -= key;
  }
  const Array<uint8_t> at_records(session, records);
  const Array<uint32_t> out(session, Words(n)), total(session, Words(4));
  kernel.Set(at_records, out, total, Kernel::Local{shape.group * sizeof(cl_int)}, static_cast<cl_int>(n));
  kernel.Run(shape);
  CHECK(out.Read() == wanted);
  CHECK(total.Read() == totals);
}

constexpr const char* kPrint = R"(
kernel void print(int n) {
  const int i = get_global_id(0);
  if (i < n && i % 7 == 0) printf("item %d of %d, %x, %.2f\n", i, n, i * 16, i * 0.25f);
})";

// What runs prints on standard output, in any order of lines.
void RunPrint(const Session&, Kernel& kernel, const Shape& shape) {
  fflush(stdout);
  FILE* const file = tmpfile();
  CHECK(file != nullptr);
  const int before = dup(STDOUT_FILENO);
  CHECK(before >= 0 && dup2(fileno(file), STDOUT_FILENO) >= 0);
  kernel.Set(static_cast<cl_int>(shape.items));
  kernel.Run(shape);
  fflush(stdout);
  CHECK(dup2(before, STDOUT_FILENO) >= 0 && close(before) == 0);
  std::multimap<std::string, int> wanted;
  char line[128];
  for (int i = 0; i < static_cast<int>(shape.items); i += 7) {
    snprintf(line, sizeof line, "item %d of %d, %x, %.2f\n", i, static_cast<int>(shape.items), i * 16,
             i * 0.25);
    wanted.emplace(line, i);
  }
  rewind(file);
  while (fgets(line, sizeof line, file)) {
    const auto found = wanted.find(line);
    CHECK(found != wanted.end());
    wanted.erase(found);
  }
  CHECK(wanted.empty());
  CHECK(fclose(file) == 0);
}

constexpr const char* kPlaces = R"(
kernel void places(global uint* out, uint width, uint height) {
  const uint x = get_global_id(0) - get_global_offset(0), y = get_global_id(1) - get_global_offset(1),
             z = get_global_id(2) - get_global_offset(2);
  global uint* to = out + 4 * ((z * height + y) * width + x);
  to[0] = get_global_id(0) | get_global_id(1) << 10 | get_global_id(2) << 20;
  to[1] = get_group_id(0) | get_group_id(1) << 10 | get_group_id(2) << 20;
  to[2] = get_local_id(0) | get_local_id(1) << 10 | get_local_id(2) << 20;
  to[3] = get_num_groups(0) | get_num_groups(1) << 10 | get_num_groups(2) << 20;
})";

void RunPlaces(const Session& session, Kernel& kernel, const Shape& shape) {
  constexpr size_t kGroupHeights[] = {1, 1, 2, 4, 8}, kGroupDepths[] = {1, 1, 2, 1, 4};
  size_t which = 0;
  for (size_t area = shape.group; area > 1 && which < 4; area /= 4) ++which;
  const size_t height_of = shape.group % 8 == 0 ? kGroupHeights[which] : 1;
  const size_t depth_of = shape.group % 32 == 0 ? kGroupDepths[which] : 1;
  const size_t group[] = {shape.group / height_of / depth_of, height_of, depth_of};
  const size_t groups[] = {std::max<size_t>(1, std::min<size_t>(shape.items, 60) / group[0]), 3, 2};
  const size_t global[] = {groups[0] * group[0], groups[1] * group[1], groups[2] * group[2]};
  const size_t offset[] = {shape.items, 5, 11};
  Words wanted;
  for (size_t z = 0; z < global[2]; ++z)
    for (size_t y = 0; y < global[1]; ++y)
      for (size_t x = 0; x < global[0]; ++x) {
        const auto put = [&](size_t first, size_t second, size_t third) {
          wanted.push_back(static_cast<uint32_t>(first | second << 10 | third << 20));
        };
        put(x + offset[0], y + offset[1], z + offset[2]);
        put(x / group[0], y / group[1], z / group[2]);
        put(x % group[0], y % group[1], z % group[2]);
        put(groups[0], groups[1], groups[2]);
      }
  const Array<uint32_t> out(session, Words(wanted.size()));
  kernel.Set(out, static_cast<cl_uint>(global[0]), static_cast<cl_uint>(global[1]));
  kernel.Run(3, offset, global, group);
  CHECK(out.Read() == wanted);
}

}  // namespace

std::vector<Proof> GroupProofs() {
  return {
      {"reduce", "reduce", kReduce, "", RunReduce},
      {"tiles", "tiles", kTiles, "", RunTiles},
      {"atomics", "atomics", kAtomics, "", RunAtomics},
      {"scan", "scan", kScan, "-cl-std=CL2.0", RunScan, "__opencl_c_work_group_collective_functions"},
      {"lanes", "lanes", kLanes, "-cl-std=CL2.0", RunLanes, "cl_intel_subgroups"},
      {"generic pointers", "generic_pointers", kGeneric, "-cl-std=CL2.0", RunGeneric,
       "__opencl_c_generic_address_space"},
      {"print", "print", kPrint, "", RunPrint},
      {"places", "places", kPlaces, "", RunPlaces},
  };
}

}  // namespace stacks
