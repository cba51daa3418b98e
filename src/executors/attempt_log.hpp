// The log file of an attempt whose output comes through the executor: masked, and written so that
// the stream may begin anew.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "executors/secret_mask.hpp"

namespace trackbed {

class AttemptLog {
 public:
  AttemptLog() = default;
  ~AttemptLog() { Close(); }
  AttemptLog(const AttemptLog&) = delete;
  AttemptLog& operator=(const AttemptLog&) = delete;

  // What to mask: before the first byte.
  void SetMask(SecretMask mask) { fresh_mask_ = std::move(mask); }

  // What comes next is the log from its beginning. What the file holds already is written over,
  // with the same bytes where the stream is the same, so that who reads along sees no change.
  // `path` is made when missing.
  void Begin(const std::string& path);
  void Write(std::string_view bytes);
  // The stream has brought less so far than the file held when it began.
  bool FallsShort() const { return position_ < held_; }
  bool IsEmpty() const { return position_ == 0; }
  // The stream has ended, and this was all of it: cuts off what else the file held.
  void Finish();

  // The errno of the first write that failed, or 0. The log then goes on without what failed.
  int error() const { return error_; }
  const SecretMask& mask() const { return fresh_mask_; }

 private:
  void Close();
  void Put(std::string_view text);

  int file_ = -1;
  int64_t position_ = 0;
  int64_t held_ = 0;  // bytes of the file when the stream began
  int error_ = 0;
  SecretMask fresh_mask_;
  SecretMask mask_;
};

}  // namespace trackbed
