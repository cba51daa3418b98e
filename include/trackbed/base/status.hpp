// Errors as values.
//
// Every function that can fail returns Status or StatusOr<T>; Trackbed throws nothing.
// The codes have one meaning each:
//
//   kInvalidArgument     the input is wrong: a specification, a parameter, a flag
//   kNotFound            no such run, task or file
//   kAlreadyExists       the name or key is taken
//   kFailedPrecondition  right request, wrong state (a finished run, a lease held by another)
//   kResourceExhausted   not possible with what there is (capacity, quota, a full disk)
//   kUnavailable         try again later
//   kDataLoss            stored bytes are not what was written
//   kInternal            a bug in Trackbed
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <absl/strings/string_view.h>

#include <string_view>
#include <utility>

namespace trackbed {

using absl::Status;
using absl::StatusCode;
using absl::StatusOr;

// Some distributions build Abseil with its own string_view. Call sites that hand a
// std::string_view to Abseil go through this one conversion.
inline absl::string_view AbslView(std::string_view text) { return {text.data(), text.size()}; }

inline Status InvalidArgument(std::string_view message) {
  return absl::InvalidArgumentError(AbslView(message));
}
inline Status NotFound(std::string_view message) { return absl::NotFoundError(AbslView(message)); }
inline Status AlreadyExists(std::string_view message) {
  return absl::AlreadyExistsError(AbslView(message));
}
inline Status FailedPrecondition(std::string_view message) {
  return absl::FailedPreconditionError(AbslView(message));
}
inline Status ResourceExhausted(std::string_view message) {
  return absl::ResourceExhaustedError(AbslView(message));
}
inline Status Unavailable(std::string_view message) {
  return absl::UnavailableError(AbslView(message));
}
inline Status DataLoss(std::string_view message) { return absl::DataLossError(AbslView(message)); }
inline Status Internal(std::string_view message) { return absl::InternalError(AbslView(message)); }

// The message of `status` as a standard view.
inline std::string_view Message(const Status& status) {
  return {status.message().data(), status.message().size()};
}

}  // namespace trackbed

// Leaves the enclosing function with the error of `expr`, if it has one.
#define TRACKBED_RETURN_IF_ERROR(expr)                                                             \
  do {                                                                                             \
    if (::absl::Status trackbed_status_ = (expr); !trackbed_status_.ok()) return trackbed_status_; \
  } while (false)

#define TRACKBED_CONCAT_INNER_(a, b) a##b
#define TRACKBED_CONCAT_(a, b) TRACKBED_CONCAT_INNER_(a, b)

// `TRACKBED_ASSIGN_OR_RETURN(auto x, F());` declares x from a StatusOr, or leaves with its error.
#define TRACKBED_ASSIGN_OR_RETURN(lhs, expr) \
  TRACKBED_ASSIGN_OR_RETURN_(TRACKBED_CONCAT_(trackbed_result_, __LINE__), lhs, expr)
#define TRACKBED_ASSIGN_OR_RETURN_(result, lhs, expr)  \
  auto result = (expr);                                \
  if (!result.ok()) return std::move(result).status(); \
  lhs = *std::move(result)
