#pragma once

#include <fmt/format.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>
#include <vector>

#include "tests/conformance/node.h"

// Answers of QueryAdapterInfo that several suites of the simulator need.

namespace dxg::conformance {

// Queries the first adapter, and throws if it refuses. `question` is what the client writes into the buffer
// before the call.
template <typename T>
T Ask(Node& node, uint32_t type, T question = {}) {
  const int result = node.TryQuery(node.FirstAdapter(), type, &question, sizeof(question));
  if (result != 0)
    throw std::runtime_error(fmt::format("QueryAdapterInfo {} gave {}", type, ResultName(result)));
  return question;
}

// D3DKMT_NODE_PERFDATA: frequencies in Hz, voltages in mV, the latency in units of 100 ns.
struct NodePerformance {
  uint32_t node, physical_adapter;
  uint64_t frequency, frequency_max, frequency_max_overclock;
  uint32_t voltage, voltage_max, voltage_max_overclock, padding;
  uint64_t latency;
};
static_assert(sizeof(NodePerformance) == 56);

inline constexpr size_t kNodeMetadataBytes = 78;
inline constexpr uint32_t kEngineOther = 0;

// One engine of an adapter. Packed on the wire.
struct __attribute__((packed)) NodeMetadata {
  uint32_t node_and_adapter;  // in: node in the low half, physical adapter in the high half
  uint32_t engine_type;
  char16_t name[32];
  uint32_t flags;
  uint8_t gpu_mmu;
  uint8_t io_mmu;

  std::u16string NameField() const {
    std::u16string text(sizeof(name) / sizeof(char16_t), u'\0');
    std::memcpy(text.data(), name, sizeof(name));
    return text;
  }
};
static_assert(sizeof(NodeMetadata) == kNodeMetadataBytes);

// All engines of the first adapter, from node 0 up to the first one that the adapter refuses.
inline std::vector<NodeMetadata> Nodes(Node& node) {
  std::vector<NodeMetadata> nodes;
  for (uint32_t i = 0; i < 256; ++i) {
    NodeMetadata metadata = {};
    metadata.node_and_adapter = i;
    if (node.TryQuery(node.FirstAdapter(), KMTQAITYPE_NODEMETADATA, &metadata, sizeof(metadata)) != 0) break;
    nodes.push_back(metadata);
  }
  return nodes;
}

// Sizes of memory in bytes, from three queries that must agree.
struct SegmentSizes {
  uint64_t dedicated_video, dedicated_system, shared_system;
};
struct SegmentGroupSizes {
  uint32_t physical_adapter, padding;
  SegmentSizes legacy;
  uint64_t local, non_local, non_budget;
};
static_assert(sizeof(SegmentGroupSizes) == 56);

inline SegmentSizes GetSegmentSizes(Node& node) { return Ask<SegmentSizes>(node, KMTQAITYPE_GETSEGMENTSIZE); }
inline SegmentGroupSizes GetSegmentGroupSizes(Node& node) {
  return Ask<SegmentGroupSizes>(node, KMTQAITYPE_GETSEGMENTGROUPSIZE);
}

// Whether no other client has a share of the adapter's budgets. An earlier client may have one for a while,
// because close() of some nodes returns before the host is done with the client.
inline bool HasBudgetsForItself(Node& node) {
  d3dkmt_queryvideomemoryinfo args = {};
  args.adapter = node.FirstAdapter();
  args.memory_segment_group = _D3DKMT_MEMORY_SEGMENT_GROUP_LOCAL;
  node.Ioctl(LX_DXQUERYVIDEOMEMORYINFO, args, "QueryVideoMemoryInfo");
  return args.budget > GetSegmentGroupSizes(node).local / 2;
}

// ---- QueryStatistics ----

struct AdapterStatistics {
  uint32_t segments, nodes;
};
struct SegmentStatistics {
  uint64_t commit_limit, committed, resident, evicted;  // bytes
  uint32_t allocations_committed, allocations_resident, aperture, padding;
  uint64_t evicted_by_priority[5], system_memory_end, power_flags;
  uint64_t properties;  // bit 0: system memory; bits 2-5: type, from WDDM 3.1 on
};
static_assert(offsetof(SegmentStatistics, properties) == 104);
struct ProcessSegmentStatistics {
  uint64_t committed, working_set_max;  // bytes
};

// Of a node, or of a process on a node.
struct NodeStatistics {
  struct Packets {
    uint32_t submitted, completed;
  };
  uint64_t running_us;
  uint32_t context_switches;
  uint32_t preemptions[16];
  Packets packets[8];  // by kind; the first are commands

  const Packets& commands() const { return packets[0]; }
};
static_assert(offsetof(NodeStatistics, packets) == 76);

// `process`: who is asked about, by its number; 0: the caller.
inline int TryStatistics(Node& node, d3dkmt_querystatistics& args, uint32_t type, uint32_t selector,
                         uint64_t process = 0) {
  constexpr size_t kSelectorOffset = 800;  // behind the result
  args = {};
  args.type = type;
  args.adapter_luid = node.FirstLuid();
  args.process = process;
  std::memcpy(args.size + kSelectorOffset, &selector, sizeof(selector));
  return node.TryIoctl(LX_DXQUERYSTATISTICS, args);
}

template <typename T>
T Statistics(Node& node, uint32_t type, uint32_t selector = 0, uint64_t process = 0) {
  d3dkmt_querystatistics args;
  const int result = TryStatistics(node, args, type, selector, process);
  if (result != 0)
    throw std::runtime_error(fmt::format("QueryStatistics type {} gave {}", type, ResultName(result)));
  T answer;
  std::memcpy(&answer, args.result.size, sizeof(answer));
  return answer;
}

inline std::vector<SegmentStatistics> Segments(Node& node) {
  std::vector<SegmentStatistics> segments;
  const uint32_t count = Statistics<AdapterStatistics>(node, _D3DKMT_QUERYSTATISTICS_ADAPTER).segments;
  for (uint32_t i = 0; i < count; ++i)
    segments.push_back(Statistics<SegmentStatistics>(node, _D3DKMT_QUERYSTATISTICS_SEGMENT, i));
  return segments;
}

}  // namespace dxg::conformance
