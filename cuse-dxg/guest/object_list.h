#pragma once

#include <list>
#include <memory>
#include <optional>
#include <utility>

namespace dxg::guest {

// What an owner has of one kind, in order of creation. Each object knows its place, so that to take one out
// of a million costs what it costs to take one out of two. T has a member `place`, and is in one such list at
// most.
template <typename T>
class ObjectList {
 public:
  using Objects = std::list<std::shared_ptr<T>>;
  // Where an object is in its list; nothing: in none.
  using Place = std::optional<typename Objects::iterator>;

  ObjectList() = default;
  // A list that ends or is emptied leaves its objects without a place.
  ~ObjectList() { clear(); }
  ObjectList(const ObjectList&) = delete;
  ObjectList& operator=(const ObjectList&) = delete;

  // All that is to be done for an object and may find no memory, before its handle is entered.
  static Objects Prepare(std::shared_ptr<T> object) { return Objects(1, std::move(object)); }
  void Append(Objects prepared) noexcept {
    for (auto each = prepared.begin(); each != prepared.end(); ++each) (*each)->place = each;
    objects_.splice(objects_.end(), prepared);
  }
  // Nothing where it is in no list. One that is in another list than this is a bug.
  void remove(const std::shared_ptr<T>& object) {
    if (object->place) objects_.erase(*std::exchange(object->place, std::nullopt));
  }
  void clear() {
    for (const auto& object : objects_) object->place.reset();
    objects_.clear();
  }

  auto begin() const { return objects_.begin(); }
  auto end() const { return objects_.end(); }
  const std::shared_ptr<T>& front() const { return objects_.front(); }
  bool empty() const { return objects_.empty(); }
  size_t size() const { return objects_.size(); }

 private:
  Objects objects_;
};

}  // namespace dxg::guest
