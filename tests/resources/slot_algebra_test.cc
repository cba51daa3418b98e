// Sums and comparisons of lists of slots.
#include "trackbed/resources/slot_algebra.hpp"

#include <limits>

#include "support/catch.hpp"

namespace trackbed {
namespace {

using Slots = std::vector<SlotRequest>;

SlotRequest Slot(const char* name, int64_t thousandths) {
  return {name, Quantity::FromThousandths(thousandths)};
}

const Quantity kMost = Quantity::FromThousandths(std::numeric_limits<int64_t>::max());

TEST_CASE("Slots are added and subtracted by name") {
  const Slots a = {Slot("mem", 5), Slot("cpu", 2), Slot("cpu", 1)};
  const Slots b = {Slot("cpu", 3), Slot("cuda.shares", 4)};
  CHECK(*AddSlots(a, b) == Slots{Slot("cpu", 6), Slot("cuda.shares", 4), Slot("mem", 5)});
  CHECK(*SubtractSlots(a, b) == Slots{Slot("cuda.shares", -4), Slot("mem", 5)});
  CHECK(AddSlots({}, {})->empty());
  CHECK(SubtractSlots(a, a)->empty());
}

TEST_CASE("An amount out of range is an error that names the slot") {
  const Slots most = {{"mem", kMost}};
  const Slots twice = {{"mem", kMost}, {"mem", kMost}};
  const Slots one = {Slot("mem", 1)};
  const Slots minus_two = {Slot("mem", -2)};
  for (const Status& status :
       {AddSlots(most, one).status(), SubtractSlots(most, minus_two).status(),
        AddSlots(twice, {}).status(), SlotsFit(twice, most).status(),
        FindDominantShare(one, twice).status()}) {
    CHECK(status.code() == StatusCode::kInvalidArgument);
    CHECK(Message(status) == "the amount of mem is out of range");
  }
}

TEST_CASE("A request fits when every slot does") {
  const Slots there = {Slot("cpu", 4000), Slot("mem", 100)};
  CHECK(*SlotsFit(Slots{Slot("cpu", 4000)}, there));
  CHECK(*SlotsFit({}, there));
  CHECK(*SlotsFit(Slots{Slot("tpu.device", 0)}, there));
  CHECK_FALSE(*SlotsFit(Slots{Slot("cpu", 2000), Slot("cpu", 2001)}, there));
  CHECK_FALSE(*SlotsFit(Slots{Slot("tpu.device", 1)}, there));
}

TEST_CASE("The dominant share is the largest part of what there is") {
  const Slots there = {Slot("cpu", 4000), Slot("cuda.device", 2000), Slot("mem", 0)};
  const auto dominant =
      FindDominantShare(Slots{Slot("cpu", 1000), Slot("cuda.device", 1000), Slot("mem", 9)}, there);
  CHECK(dominant->slot == "cuda.device");
  CHECK(dominant->share == 0.5);
  CHECK(FindDominantShare({}, there)->slot.empty());
  CHECK(FindDominantShare(Slots{Slot("cpu", 2000), Slot("cuda.device", 1000)}, there)->slot ==
        "cpu");
}

}  // namespace
}  // namespace trackbed
