#include "tests/golden/fake_delivery.h"

namespace dxg::golden {
namespace {

class FakeVisit final : public client::Visit {
 public:
  explicit FakeVisit(FakeDelivery& delivery) : delivery_(delivery) {}
  void Do(std::vector<client::Step> steps, Done done) override {
    std::vector<uint64_t> results;
    for (const auto& step : steps) {
      auto result = delivery_.Do(step);
      if (!result.ok()) return done(std::move(result).status());
      results.push_back(*result);
    }
    done(std::move(results));
  }
  bool holds_thread() const override { return false; }
  void Leave(int32_t) override {}

 private:
  FakeDelivery& delivery_;
};

class FakeEventFile final : public client::EventFile {
 public:
  explicit FakeEventFile(uint64_t* signals) : signals_(signals) {}
  void Signal() override { ++*signals_; }

 private:
  uint64_t* signals_;
};

}  // namespace

void FakeDelivery::TakeEventFile(const client::Waiting&, const client::Identity&, int descriptor,
                                 TookEventFile done) {
  if (descriptor != eventfd_) return done(client::NoEventFile(descriptor));
  done(std::shared_ptr<client::EventFile>(std::make_shared<FakeEventFile>(&signals_)));
}

void FakeDelivery::Enter(const client::Waiting&, const client::Identity& process, std::function<void()>,
                         Entered entered) {
  tgid_ = process.tgid;
  entered(std::unique_ptr<client::Visit>(std::make_unique<FakeVisit>(*this)));
}

Result<uint64_t> FakeDelivery::Do(const client::Step& step) {
  switch (step.kind) {
    case client::Step::Kind::kMap:
      return next_address_ += step.size;
    case client::Step::Kind::kGiveNode: {
      token_ = step.token;
      const uint64_t file = open_();
      token_ = 0;
      if (file == 0) return Status::Refuse(EBADF, "the open was refused");
      objects_[{tgid_, next_descriptor_}] = file;
      return static_cast<uint64_t>(next_descriptor_);
    }
    case client::Step::Kind::kCloseFile:
      Close(tgid_, static_cast<int>(step.address));
      return uint64_t{0};
    default:
      return uint64_t{0};
  }
}

uint64_t FakeDelivery::Object(pid_t tgid, int number) const {
  if (const auto own = objects_.find({tgid, number}); own != objects_.end()) return own->second;
  // Neither fork() nor SCM_RIGHTS is recorded: the number leads to what another process had under it.
  for (const auto& [key, file] : objects_) {
    if (key.second == number) return file;
  }
  return 0;
}

void FakeDelivery::Identify(const client::Waiting&, const client::Identity& process, int descriptor,
                            std::function<void(uint64_t)> done) {
  done(Object(process.tgid, descriptor));
}

}  // namespace dxg::golden
