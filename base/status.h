#pragma once

#include <fmt/format.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <utility>

namespace dxg {

// The kernel's MAX_ERRNO: a result from -1 down to this is an error, whoever the caller.
inline constexpr int kErrnoMax = 4095;
// The kernel's own error of a call that a signal ended: it restarts the call, or makes EINTR of it. No header
// for programs has it.
inline constexpr int kErestartsys = 512;

// What an ioctl returns: 0 or a positive NTSTATUS when it worked, -errno when it was refused. A refusal also
// carries the sentence that explains it, because users of the real device see nothing more than "Invalid
// argument".
//
// One value is outside both ranges: CreateAllocation may return a raw NTSTATUS (a negative number below
// -kErrnoMax), which C libraries hand out as an ordinary return value. `Status(int)` takes it as it is.
class [[nodiscard]] Status {
 public:
  Status() = default;
  explicit Status(int32_t value) : value_(value) {}
  Status(Status&&) noexcept = default;
  Status& operator=(Status&&) noexcept = default;
  Status(const Status& other)
      : value_(other.value_), why_(other.why_ ? std::make_unique<std::string>(*other.why_) : nullptr) {}
  Status& operator=(const Status& other) { return *this = Status(other); }

  static Status Ok() { return Status(); }

  // `error` is a positive errno.
  template <typename... Args>
  static Status Refuse(int error, fmt::format_string<Args...> format, Args&&... args) {
    Status status(-error);
    status.why_ = std::make_unique<std::string>(fmt::format(format, std::forward<Args>(args)...));
    return status;
  }

  // A raw NTSTATUS, with its sentence.
  static Status Raw(int32_t nt_status, const char* why) {
    Status status(nt_status);
    status.why_ = std::make_unique<std::string>(why);
    return status;
  }

  bool ok() const { return value_ >= 0; }
  int32_t value() const { return value_; }
  const std::string& why() const {
    static const std::string none;
    return why_ ? *why_ : none;
  }

 private:
  int32_t value_ = 0;
  std::unique_ptr<const std::string>
      why_;  // elsewhere: calls that wait hold several Statuses, and few are refusals
};

// A T, or the Status that says why there is none.
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : value_(std::move(value)) {}          // NOLINT: implicit by intent
  Result(Status status) : status_(std::move(status)) {}  // NOLINT
  bool ok() const { return value_.has_value(); }
  const Status& status() const& { return status_; }
  Status status() && { return std::move(status_); }
  T& operator*() & { return *value_; }
  T operator*() && { return *std::move(value_); }
  T* operator->() { return &*value_; }

 private:
  Status status_;
  std::optional<T> value_;
};

}  // namespace dxg

// A broken invariant of ours ends the process with the place and the condition; whatever a client or a host
// can cause is a Status instead.
#define DXG_CHECK(condition)                                                             \
  do {                                                                                   \
    if (!(condition)) {                                                                  \
      std::fprintf(stderr, "%s:%d: bug: expected %s\n", __FILE__, __LINE__, #condition); \
      std::abort();                                                                      \
    }                                                                                    \
  } while (0)

// DXG_TRY(expression) returns from the function when the Status is a refusal; DXG_ASSIGN(declaration,
// expression) takes the value out of a Result or returns its Status. The CO_ forms are for coroutines.
#define DXG_TRY(expression)                                                              \
  do {                                                                                   \
    if (::dxg::Status dxg_status_ = (expression); !dxg_status_.ok()) return dxg_status_; \
  } while (0)
#define DXG_CO_TRY(expression)                                                              \
  do {                                                                                      \
    if (::dxg::Status dxg_status_ = (expression); !dxg_status_.ok()) co_return dxg_status_; \
  } while (0)
#define DXG_CONCAT_(a, b) a##b
#define DXG_CONCAT(a, b) DXG_CONCAT_(a, b)
#define DXG_ASSIGN_IMPL_(ret, tmp, declaration, expression) \
  auto tmp = (expression);                                  \
  if (!tmp.ok()) ret std::move(tmp).status();               \
  declaration = *std::move(tmp)
#define DXG_ASSIGN(declaration, expression) \
  DXG_ASSIGN_IMPL_(return, DXG_CONCAT(dxg_result_, __LINE__), declaration, expression)
#define DXG_CO_ASSIGN(declaration, expression) \
  DXG_ASSIGN_IMPL_(co_return, DXG_CONCAT(dxg_result_, __LINE__), declaration, expression)
