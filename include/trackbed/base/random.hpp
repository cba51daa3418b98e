// The port through which every random number comes.
#pragma once

#include <cstdint>

namespace trackbed {

class RandomSource {
 public:
  virtual ~RandomSource() = default;
  virtual uint64_t Next() = 0;
};

// The operating system's random numbers. Never destroyed; any thread.
RandomSource& SystemRandom();

// A sequence that follows from its seed alone (SplitMix64; Steele, Lea, Flood: "Fast splittable
// pseudorandom number generators", OOPSLA 2014).
class SeededRandom final : public RandomSource {
 public:
  explicit SeededRandom(uint64_t seed) : state_(seed) {}
  uint64_t Next() override {
    uint64_t z = (state_ += 0x9e3779b97f4a7c15U);
    z = (z ^ (z >> 30U)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27U)) * 0x94d049bb133111ebU;
    return z ^ (z >> 31U);
  }

 private:
  uint64_t state_;
};

}  // namespace trackbed
