#include "cuse-dxg/client/hand_over.h"

#include <algorithm>
#include <cerrno>
#include <deque>
#include <functional>
#include <iterator>
#include <memory>
#include <new>
#include <optional>
#include <thread>
#include <unordered_map>
#include <utility>

#include "base/mutex.h"
#include "base/strands.h"

namespace dxg::client {
namespace {

// Whose something is.
struct Whose {
  explicit Whose(const Identity& process)
      : process(process.start_time << kTgidBits | static_cast<uint64_t>(process.tgid)), user(process.user) {}
  static constexpr int kTgidBits = 22;  // PID_MAX_LIMIT
  uint64_t process;                     // which has a number that another one may get
  uid_t user;
};

// Here, whatever it costs, where there is no memory to hand it over.
void RunOn(Strands& strands, Whose whose, const std::function<void()>& job) {
  try {
    return strands.Run(whose.process, whose.user, job);
  } catch (const std::bad_alloc&) {
  }
  job();
}

// Calls `done` with what it is called with, on the strand of that process. It is called once, so what is
// handed over may be moved.
template <class T, class Done>
auto OnStrand(const std::shared_ptr<Strands>& strands, Whose whose, Done done) {
  return [strands, whose, asker = std::this_thread::get_id(), done = std::move(done)](T value) {
    if (std::this_thread::get_id() == asker) return done(std::move(value));
    struct Handed {
      Done done;
      std::optional<T> value;
    };
    std::shared_ptr<Handed> handed;
    try {
      handed = std::make_shared<Handed>(Handed{done, std::nullopt});
    } catch (const std::bad_alloc&) {
      return done(std::move(value));
    }
    handed->value = std::move(value);
    RunOn(*strands, whose, [handed] { handed->done(std::move(*handed->value)); });
  };
}

// What one process, and one user, has at once of the injector's workers, of which there are not many: a visit
// lasts until the call is over, which may be in memory that does not answer, and a copied descriptor may be
// slow to close.
class Visits {
 public:
  static constexpr int kOfProcessMax = 4;
  static constexpr int kOfUserMax = 16;

  explicit Visits(std::shared_ptr<Strands> strands) : strands_(std::move(strands)) {}

  // Says that the visit may begin, now or when another one of the process or the user has ended; or that it
  // may not, because the device ends.
  using Begun = std::function<void(bool may)>;
  void Begin(Whose whose, Begun begin) DXG_EXCLUDES(mutex_) {
    bool may = true;
    {
      MutexLock lock(mutex_);
      may = !stopped_;
      if (may && !MayBegin(whose)) {
        users_[whose.user].waiting.push_back({whose, std::make_shared<Begun>(std::move(begin))});
        return;
      }
      Count(whose);
    }
    begin(may);
  }
  void End(Whose whose) DXG_EXCLUDES(mutex_) {
    std::optional<Waits> next;
    {
      MutexLock lock(mutex_);
      if (const auto process = processes_.find(whose.process); --process->second == 0)
        processes_.erase(process);
      const auto user = users_.find(whose.user);
      --user->second.visits;
      auto& waiting = user->second.waiting;
      const auto found =
          std::find_if(waiting.begin(), waiting.end(),
                       [&](const Waits& each) DXG_REQUIRES(mutex_) { return MayBegin(each.whose); });
      if (found != waiting.end()) {
        next = std::move(*found);
        waiting.erase(found);
        Count(next->whose);
      } else if (user->second.visits == 0) {
        users_.erase(user);
      }
    }
    // Elsewhere: this may be the thread that everybody needs.
    if (next) RunOn(*strands_, next->whose, [begin = std::move(next->begin)] { (*begin)(true); });
  }
  void Stop() DXG_EXCLUDES(mutex_) {
    std::deque<Waits> waiting;
    {
      MutexLock lock(mutex_);
      stopped_ = true;
      for (auto& [uid, user] : users_) {
        std::move(user.waiting.begin(), user.waiting.end(), std::back_inserter(waiting));
        user.waiting.clear();
      }
      for (const Waits& each : waiting) Count(each.whose);  // each of them ends
    }
    for (const Waits& each : waiting) (*each.begin)(false);
  }

 private:
  struct Waits {
    Whose whose;
    std::shared_ptr<Begun> begin;  // so that to hand it over takes no memory
  };
  struct User {
    int visits = 0;
    std::deque<Waits> waiting;  // of processes that have as much as they may, or all of them
  };

  bool MayBegin(Whose whose) const DXG_REQUIRES(mutex_) {
    const auto process = processes_.find(whose.process);
    if (process != processes_.end() && process->second >= kOfProcessMax) return false;
    const auto user = users_.find(whose.user);
    return user == users_.end() || user->second.visits < kOfUserMax;
  }
  void Count(Whose whose) DXG_REQUIRES(mutex_) {
    ++processes_[whose.process];
    ++users_[whose.user].visits;
  }

  const std::shared_ptr<Strands> strands_;
  Mutex mutex_;
  std::unordered_map<uint64_t, int> processes_ DXG_GUARDED_BY(mutex_);
  std::unordered_map<uid_t, User> users_ DXG_GUARDED_BY(mutex_);
  bool stopped_ DXG_GUARDED_BY(mutex_) = false;
};

class HandedVisit final : public Visit {
 public:
  HandedVisit(std::unique_ptr<Visit> visit, std::shared_ptr<Strands> strands, std::shared_ptr<Visits> visits,
              Whose whose)
      : visit_(std::move(visit)), strands_(std::move(strands)), visits_(std::move(visits)), whose_(whose) {}
  ~HandedVisit() override {
    visit_.reset();
    visits_->End(whose_);
  }
  void Do(std::vector<Step> steps, Done done) override {
    visit_->Do(std::move(steps), OnStrand<Result<std::vector<uint64_t>>>(strands_, whose_, std::move(done)));
  }
  bool holds_thread() const override { return visit_->holds_thread(); }
  void Leave(int32_t result) override { visit_->Leave(result); }

 private:
  std::unique_ptr<Visit> visit_;
  const std::shared_ptr<Strands> strands_;
  const std::shared_ptr<Visits> visits_;
  const Whose whose_;
};

class HandedDelivery final : public Delivery {
 public:
  explicit HandedDelivery(std::unique_ptr<Delivery> delivery) : delivery_(std::move(delivery)) {}
  ~HandedDelivery() override { Stop(); }
  void Stop() override {
    visits_->Stop();
    copies_->Stop();
    delivery_->Stop();  // ends what waits, which goes on on the strands
    strands_->Stop();
  }

  void Enter(const Waiting& at, const Identity& process, std::function<void()> answer,
             Entered entered) override {
    using Came = Result<std::unique_ptr<Visit>>;
    auto handed = [strands = strands_, visits = visits_, whose = Whose(process),
                   entered = std::move(entered)](Came came) {
      if (!came.ok()) {
        entered(std::move(came));
        return visits->End(whose);
      }
      entered(
          std::unique_ptr<Visit>(std::make_unique<HandedVisit>(*std::move(came), strands, visits, whose)));
    };
    // By what it needs and not by `this`: it may wait for its turn longer than this lives.
    visits_->Begin(Whose(process), [weak = std::weak_ptr(delivery_), strands = strands_, at, process,
                                    answer = std::move(answer), handed = std::move(handed)](bool may) {
      const auto delivery = weak.lock();
      if (!may || !delivery) return handed(Status::Refuse(EIO, "the device ends"));
      delivery->Enter(at, process, answer, OnStrand<Came>(strands, Whose(process), handed));
    });
  }
  uint64_t TokenOfOpener(pid_t tid) override { return delivery_->TokenOfOpener(tid); }
  void Identify(const Waiting& at, const Identity& process, int descriptor,
                std::function<void(uint64_t)> done) override {
    copies_->Begin(Whose(process), [weak = std::weak_ptr(delivery_), strands = strands_, copies = copies_, at,
                                    process, descriptor, done = std::move(done)](bool may) {
      auto copied = Copied(strands, copies, Whose(process), done);
      const auto delivery = weak.lock();
      if (!may || !delivery) return copied(0);
      delivery->Identify(at, process, descriptor, std::move(copied));
    });
  }
  bool IsIdentifyCall(pid_t tid, uint32_t code, uint64_t argument, uint64_t file) override {
    return delivery_->IsIdentifyCall(tid, code, argument, file);
  }
  void TakeEventFile(const Waiting& at, const Identity& process, int descriptor,
                     TookEventFile done) override {
    copies_->Begin(Whose(process), [weak = std::weak_ptr(delivery_), strands = strands_, copies = copies_, at,
                                    process, descriptor, done = std::move(done)](bool may) {
      auto copied = Copied(strands, copies, Whose(process), done);
      const auto delivery = weak.lock();
      if (!may || !delivery) return copied(Status::Refuse(EIO, "the device ends"));
      delivery->TakeEventFile(at, process, descriptor, std::move(copied));
    });
  }

 private:
  // A descriptor was copied, or is not: the next one may be, and the call goes on.
  template <class T>
  static std::function<void(T)> Copied(const std::shared_ptr<Strands>& strands,
                                       const std::shared_ptr<Visits>& copies, Whose whose,
                                       std::function<void(T)> done) {
    auto go_on = OnStrand<T>(strands, whose, std::move(done));
    return [copies, whose, go_on = std::move(go_on)](T value) {
      copies->End(whose);
      go_on(std::move(value));
    };
  }

  const std::shared_ptr<Strands> strands_ = std::make_shared<Strands>();
  const std::shared_ptr<Visits> visits_ = std::make_shared<Visits>(strands_);
  const std::shared_ptr<Visits> copies_ = std::make_shared<Visits>(strands_);  // of descriptors
  std::shared_ptr<Delivery> delivery_;  // others hold it only while they begin something
};

}  // namespace

std::unique_ptr<Delivery> HandOver(std::unique_ptr<Delivery> delivery) {
  return std::make_unique<HandedDelivery>(std::move(delivery));
}

}  // namespace dxg::client
