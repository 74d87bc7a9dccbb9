#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>

namespace dxg::hostsim {

// Which ranges of an address space are taken, with a value for each, and where there is room for one more.
// All of it takes time that grows with the logarithm of their number: programs have a million ranges.
//
// A treap ordered by address. Each node knows, of its subtree, the first and the last address and the largest
// gap between two neighbours, once in all and once from its first multiple of `coarse` bytes on, so that a
// search for an aligned gap skips every subtree without one.
template <class Value>
class RangeTree {
 public:
  struct Range {
    uint64_t start;
    uint64_t end;
    Value value;
  };

  // `coarse` is a power of two.
  explicit RangeTree(uint64_t coarse) : coarse_(coarse) {}

  size_t size() const { return size_; }

  // The range must be free and not empty. The value's address stays the same until the range is erased.
  Value& Insert(uint64_t start, uint64_t end, Value value) {
    auto node = std::make_unique<Node>(Range{start, end, std::move(value)}, NextPriority());
    Value& inserted = node->range.value;
    Link left, right;
    Split(std::move(root_), start, left, right);
    Update(*node);
    root_ = Merge(Merge(std::move(left), std::move(node)), std::move(right));
    ++size_;
    return inserted;
  }

  // The range that begins there, which must be one.
  void Erase(uint64_t start) {
    Link left, middle, right;
    Split(std::move(root_), start, left, right);
    Split(std::move(right), start + 1, middle, right);
    root_ = Merge(std::move(left), std::move(right));
    --size_;
  }

  // The range that holds the address, or null.
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
    return Search(root_.get(), 0, ~0ull, Wanted{bytes, aligned, low, high});
  }

  template <class Visit>
  void ForEach(Visit visit) {
    Walk(root_.get(), visit);
  }

 private:
  struct Node;
  using Link = std::unique_ptr<Node>;
  struct Gaps {
    uint64_t fine = 0;
    uint64_t coarse = 0;
  };
  struct Node {
    Node(Range range, uint64_t priority) : range(std::move(range)), priority(priority) {}
    Range range;
    const uint64_t priority;
    uint64_t first = 0;
    uint64_t last = 0;
    Gaps gaps;
    Link left, right;
  };
  struct Wanted {
    uint64_t bytes;
    bool aligned;
    uint64_t low, high;
  };

  uint64_t NextPriority() {
    uint64_t z = (seed_ += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
  }

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

  static void Join(Gaps& gaps, const Gaps& other) {
    gaps.fine = std::max(gaps.fine, other.fine);
    gaps.coarse = std::max(gaps.coarse, other.coarse);
  }

  void Update(Node& node) const {
    node.first = node.left ? node.left->first : node.range.start;
    node.last = node.right ? node.right->last : node.range.end;
    node.gaps = {};
    if (node.left) {
      Join(node.gaps, node.left->gaps);
      Widen(node.gaps, node.left->last, node.range.start);
    }
    if (node.right) {
      Join(node.gaps, node.right->gaps);
      Widen(node.gaps, node.range.end, node.right->first);
    }
  }

  // Ranges that begin before `start` to the left, the others to the right.
  void Split(Link node, uint64_t start, Link& left, Link& right) const {
    if (!node) {
      left = nullptr;
      right = nullptr;
      return;
    }
    Link child;
    if (node->range.start < start) {
      Split(std::move(node->right), start, child, right);
      node->right = std::move(child);
      left = std::move(node);
      Update(*left);
    } else {
      Split(std::move(node->left), start, left, child);
      node->left = std::move(child);
      right = std::move(node);
      Update(*right);
    }
  }

  Link Merge(Link left, Link right) const {
    if (!left) return right;
    if (!right) return left;
    if (left->priority > right->priority) {
      left->right = Merge(std::move(left->right), std::move(right));
      Update(*left);
      return left;
    }
    right->left = Merge(std::move(left), std::move(right->left));
    Update(*right);
    return right;
  }

  Range* LastBefore(uint64_t address) {
    Node* node = root_.get();
    Range* found = nullptr;
    while (node) {
      if (node->range.start <= address) {
        found = &node->range;
        node = node->right.get();
      } else {
        node = node->left.get();
      }
    }
    return found;
  }

  std::optional<uint64_t> Fit(uint64_t from, uint64_t to, const Wanted& wanted) const {
    from = std::max(from, wanted.low);
    to = std::min(to, wanted.high);
    if (wanted.aligned) from = RoundUp(from);
    if (from >= to || to - from < wanted.bytes) return std::nullopt;
    return from;
  }

  // `before` and `after` are the ends of the neighbours of the subtree. Only the gap at each end of
  // [low, high) can be large enough by its node's account and too small for us, so at most two paths are
  // walked in vain.
  std::optional<uint64_t> Search(const Node* node, uint64_t before, uint64_t after,
                                 const Wanted& wanted) const {
    if (after <= wanted.low || before >= wanted.high) return std::nullopt;
    if (!node) return Fit(before, after, wanted);
    Gaps gaps = node->gaps;
    Widen(gaps, before, node->first);
    Widen(gaps, node->last, after);
    if ((wanted.aligned ? gaps.coarse : gaps.fine) < wanted.bytes) return std::nullopt;
    if (auto found = Search(node->left.get(), before, node->range.start, wanted)) return found;
    return Search(node->right.get(), node->range.end, after, wanted);
  }

  template <class Visit>
  static void Walk(Node* node, Visit& visit) {
    if (!node) return;
    Walk(node->left.get(), visit);
    visit(node->range);
    Walk(node->right.get(), visit);
  }

  const uint64_t coarse_;
  uint64_t seed_ = 0;
  size_t size_ = 0;
  Link root_;
};

}  // namespace dxg::hostsim
