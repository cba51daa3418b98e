// A clock that stands still until it is told otherwise.
#pragma once

#include "trackbed/base/time.hpp"

namespace trackbed {

class FakeClock final : public Clock {
 public:
  Time Now() override { return now_; }
  Time now() const { return now_; }
  void Advance(Duration by) { now_ += by; }
  void AdvanceTo(Time time) {
    if (time > now_) now_ = time;
  }

 private:
  Time now_ = Time(std::chrono::hours(24 * 365 * 50));
};

}  // namespace trackbed
