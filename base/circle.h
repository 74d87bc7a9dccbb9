#pragma once

#include <list>
#include <unordered_map>
#include <utility>

namespace dxg {

// Queues that have turns, each under its key. A queue is something with empty() that is made without
// arguments.
template <class Key, class Queue>
class Circle {
 public:
  bool empty() const { return order_.empty(); }
  // The queue of that key, behind all others where it is new. Throws bad_alloc, and has done nothing then.
  Queue& Of(Key key) {
    if (const auto found = by_key_.find(key); found != by_key_.end()) return found->second->queue;
    std::list<Entry> made;
    made.push_back({key, Queue()});
    by_key_.emplace(key, made.begin());
    order_.splice(order_.end(), made);
    return order_.back().queue;
  }
  // Whose turn it is.
  Queue& front() { return order_.front().queue; }
  // To the end if there is something left in it.
  void Turn() {
    if (!front().empty()) return order_.splice(order_.end(), order_, order_.begin());
    by_key_.erase(order_.front().key);
    order_.pop_front();
  }

 private:
  struct Entry {
    Key key;
    Queue queue;
  };
  std::list<Entry> order_;  // whose turn it is first
  std::unordered_map<Key, typename std::list<Entry>::iterator> by_key_;
};

}  // namespace dxg
