#include "trackbed/base/random.hpp"

#include <random>

namespace trackbed {
namespace {

class DeviceRandom final : public RandomSource {
 public:
  uint64_t Next() override {
    std::random_device device;
    return (static_cast<uint64_t>(device()) << 32U) | device();
  }
};

}  // namespace

RandomSource& SystemRandom() {
  static auto* const random = new DeviceRandom;
  return *random;
}

}  // namespace trackbed
