// How the program ends, for scripts. Documented in README.md.
#pragma once

#include "trackbed/base/status.hpp"
#include "trackbed/engine/event.hpp"

namespace trackbed::cli {

inline constexpr int kSuccess = 0;
inline constexpr int kRunFailed = 1;
inline constexpr int kBadInput = 2;  // usage, a file with mistakes, an unknown run or task
inline constexpr int kCancelled = 3;
inline constexpr int kInterrupted = 4;  // the run can be resumed
inline constexpr int kStoreHeld = 5;    // another process holds the store
inline constexpr int kEnvironment = 6;  // disk full, unwritable store, missing program, damage

// The exit code for an error that ends a command.
inline int ExitCodeFor(const Status& status) {
  switch (status.code()) {
    case StatusCode::kInvalidArgument:
    case StatusCode::kNotFound:
    case StatusCode::kAlreadyExists:
      return kBadInput;
    default:
      return kEnvironment;
  }
}

inline int ExitCodeFor(RunStatus status) {
  switch (status) {
    case RunStatus::succeeded:
      return kSuccess;
    case RunStatus::failed:
      return kRunFailed;
    case RunStatus::cancelled:
      return kCancelled;
    case RunStatus::running:
      return kInterrupted;
  }
  return kEnvironment;
}

}  // namespace trackbed::cli
