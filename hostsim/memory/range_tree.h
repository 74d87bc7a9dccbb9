#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

namespace dxg::hostsim {

// Which ranges of an address space are taken, with a value for each, and where there is room for one more.
// All of it takes time that grows with the logarithm of their number: programs have a million ranges.
//
// A B+ tree ordered by address: wide nodes, because what a step down costs is the memory that it touches. A
// node knows, of each child, the first and the last address and the largest gap between two neighbours, once
// in all and once from its first multiple of `coarse` bytes on, so that a search for an aligned gap skips
// every child without one. A node goes when it is empty, and is not merged before: ranges come back where
// others went.
template <class Value>
class RangeTree {
 public:
  struct Range {
    uint64_t start;
    uint64_t end;
    Value value;
  };

  // `coarse` is a power of two.
  explicit RangeTree(uint64_t coarse) : coarse_(coarse), root_(std::make_unique<Node>()) {}

  size_t size() const { return size_; }

  // The range must be free and not empty.
  void Insert(uint64_t start, uint64_t end, Value value) {
    Link right = InsertInto(*root_, Range{start, end, std::move(value)});
    ++size_;
    if (!right) return;
    auto root = std::make_unique<Node>();
    root->children.push_back(Describe(std::move(root_)));
    root->children.push_back(Describe(std::move(right)));
    root_ = std::move(root);
  }

  // The range that begins there, which must be one.
  void Erase(uint64_t start) {
    EraseFrom(*root_, start);
    --size_;
    while (root_->children.size() == 1) root_ = std::move(root_->children.front().node);
  }

  // The range that holds the address, or null. Good until the next change of the tree.
  Range* Find(uint64_t address) {
    Range* found = LastBefore(address);
    return found && address < found->end ? found : nullptr;
  }

  bool Overlaps(uint64_t start, uint64_t end) {
    const Range* last = LastBefore(end - 1);
    return last && last->end > start;
  }

  // The lowest place in [low, high) for so many bytes. `aligned`: to the coarse unit.
  std::optional<uint64_t> FindGap(uint64_t bytes, bool aligned, uint64_t low, uint64_t high) const {
    if (bytes == 0 || low >= high || high - low < bytes) return std::nullopt;
    const Wanted wanted{bytes, aligned, low, high};
    uint64_t before = 0;
    if (const auto found = Search(*root_, &before, wanted)) return found;
    return Fit(before, ~0ull, wanted);
  }

  template <class Visit>
  void ForEach(Visit visit) {
    Walk(*root_, visit);
  }

 private:
  static constexpr size_t kFan = 16;

  struct Node;
  using Link = std::unique_ptr<Node>;
  struct Gaps {
    uint64_t fine = 0;
    uint64_t coarse = 0;
  };
  struct Child {
    uint64_t first = 0;
    uint64_t last = 0;
    Gaps gaps;  // between neighbours inside
    Link node;
  };
  struct Node {
    std::vector<Child> children;  // none: a leaf
    std::vector<Range> ranges;    // of a leaf
  };
  struct Wanted {
    uint64_t bytes;
    bool aligned;
    uint64_t low, high;
  };

  // Rounding up stops at the end of all addresses.
  uint64_t RoundUp(uint64_t address) const {
    const uint64_t up = (address + coarse_ - 1) & ~(coarse_ - 1);
    return up < address ? ~0ull : up;
  }

  void Widen(Gaps& gaps, uint64_t from, uint64_t to) const {
    gaps.fine = std::max(gaps.fine, to - from);
    const uint64_t up = RoundUp(from);
    if (to > up) gaps.coarse = std::max(gaps.coarse, to - up);
  }

  // Of a node that is not empty.
  void Update(Child& child) const {
    const Node& node = *child.node;
    child.gaps = {};
    if (node.children.empty()) {
      child.first = node.ranges.front().start;
      child.last = node.ranges.back().end;
      for (size_t i = 1; i < node.ranges.size(); ++i) {
        Widen(child.gaps, node.ranges[i - 1].end, node.ranges[i].start);
      }
      return;
    }
    child.first = node.children.front().first;
    child.last = node.children.back().last;
    for (size_t i = 0; i < node.children.size(); ++i) {
      const Child& inner = node.children[i];
      child.gaps.fine = std::max(child.gaps.fine, inner.gaps.fine);
      child.gaps.coarse = std::max(child.gaps.coarse, inner.gaps.coarse);
      if (i != 0) Widen(child.gaps, node.children[i - 1].last, inner.first);
    }
  }

  Child Describe(Link node) const {
    Child child;
    child.node = std::move(node);
    Update(child);
    return child;
  }

  // The upper half of the entries, if they have become too many.
  template <class Entry>
  static std::vector<Entry> SplitOff(std::vector<Entry>& entries) {
    std::vector<Entry> upper;
    if (entries.size() <= kFan) return upper;
    const auto middle = entries.begin() + kFan / 2;
    upper.reserve(kFan + 1);
    upper.assign(std::make_move_iterator(middle), std::make_move_iterator(entries.end()));
    entries.erase(middle, entries.end());
    return upper;
  }

  // The last child that begins at or below the address, or the first one.
  static size_t ChildFor(const Node& node, uint64_t address) {
    size_t index = 0;
    while (index + 1 < node.children.size() && node.children[index + 1].first <= address) ++index;
    return index;
  }

  // The new right neighbour of a node that became too large.
  Link InsertInto(Node& node, Range range) {
    auto right = std::make_unique<Node>();
    if (node.children.empty()) {
      auto at = std::upper_bound(node.ranges.begin(), node.ranges.end(), range.start,
                                 [](uint64_t start, const Range& other) { return start < other.start; });
      node.ranges.insert(at, std::move(range));
      right->ranges = SplitOff(node.ranges);
      return right->ranges.empty() ? nullptr : std::move(right);
    }
    const size_t index = ChildFor(node, range.start);
    Link split = InsertInto(*node.children[index].node, std::move(range));
    Update(node.children[index]);
    if (split) {
      node.children.insert(node.children.begin() + static_cast<ptrdiff_t>(index) + 1,
                           Describe(std::move(split)));
    }
    right->children = SplitOff(node.children);
    return right->children.empty() ? nullptr : std::move(right);
  }

  void EraseFrom(Node& node, uint64_t start) {
    if (node.children.empty()) {
      auto at = std::lower_bound(node.ranges.begin(), node.ranges.end(), start,
                                 [](const Range& other, uint64_t wanted) { return other.start < wanted; });
      node.ranges.erase(at);
      return;
    }
    const size_t index = ChildFor(node, start);
    Node& child = *node.children[index].node;
    EraseFrom(child, start);
    if (child.children.empty() && child.ranges.empty()) {
      node.children.erase(node.children.begin() + static_cast<ptrdiff_t>(index));
    } else {
      Update(node.children[index]);
    }
  }

  Range* LastBefore(uint64_t address) {
    Node* node = root_.get();
    while (!node->children.empty()) node = node->children[ChildFor(*node, address)].node.get();
    auto after = std::upper_bound(node->ranges.begin(), node->ranges.end(), address,
                                  [](uint64_t wanted, const Range& other) { return wanted < other.start; });
    return after == node->ranges.begin() ? nullptr : &*std::prev(after);
  }

  std::optional<uint64_t> Fit(uint64_t from, uint64_t to, const Wanted& wanted) const {
    from = std::max(from, wanted.low);
    to = std::min(to, wanted.high);
    if (wanted.aligned) from = RoundUp(from);
    if (from >= to || to - from < wanted.bytes) return std::nullopt;
    return from;
  }

  // In the gaps below each range of the node; `before` is where the first of them begins, and then where the
  // node ends. Only the gap at each end of [low, high) can be large enough by its node's account and too
  // small for us, so at most two paths are walked in vain.
  std::optional<uint64_t> Search(const Node& node, uint64_t* before, const Wanted& wanted) const {
    for (const Range& range : node.ranges) {
      if (const auto found = Fit(*before, range.start, wanted)) return found;
      *before = range.end;
    }
    for (const Child& child : node.children) {
      if (*before >= wanted.high) return std::nullopt;
      Gaps gaps = child.gaps;
      Widen(gaps, *before, child.first);
      if (child.last > wanted.low && (wanted.aligned ? gaps.coarse : gaps.fine) >= wanted.bytes) {
        if (const auto found = Search(*child.node, before, wanted)) return found;
      }
      *before = child.last;
    }
    return std::nullopt;
  }

  template <class Visit>
  static void Walk(Node& node, Visit& visit) {
    for (Range& range : node.ranges) visit(range);
    for (Child& child : node.children) Walk(*child.node, visit);
  }

  const uint64_t coarse_;
  size_t size_ = 0;
  Link root_;
};

}  // namespace dxg::hostsim
