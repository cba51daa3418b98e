// Random stories for tests: what the draw gives follows from the seed alone.
#pragma once

#include <cstdint>
#include <cstdlib>

#include "trackbed/base/random.hpp"
#include "trackbed/base/time.hpp"

namespace trackbed {

inline const Time kStoryStart = FromNanoseconds(1'700'000'000'000'000'000);

inline uint64_t NumberFromEnvironment(const char* name, uint64_t usual) {
  const char* text = std::getenv(name);
  return text == nullptr ? usual : std::strtoull(text, nullptr, 10);
}

inline size_t StorySteps(size_t usual) {
  return NumberFromEnvironment("TRACKBED_SCHEDULER_STEPS", usual);
}

inline uint64_t FirstSeed() { return NumberFromEnvironment("TRACKBED_SCHEDULER_SEED", 1); }

class Draw {
 public:
  explicit Draw(uint64_t seed) : random_(seed) {}
  int Below(int end) { return static_cast<int>(random_.Next() % static_cast<uint64_t>(end)); }
  bool OneIn(int count) { return Below(count) == 0; }

 private:
  SeededRandom random_;
};

}  // namespace trackbed
