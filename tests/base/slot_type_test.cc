// Slots known by the table, and amounts in each kind's notation.
#include "trackbed/base/slot_type.hpp"

#include <set>

#include "support/catch.hpp"

namespace trackbed {
namespace {

TEST_CASE("Slots are found by name and by pattern") {
  CHECK(FindSlotType("cpu")->kind == SlotKind::count);
  CHECK(FindSlotType("mem")->kind == SlotKind::bytes);
  CHECK(FindSlotType("cuda.shares")->kind == SlotKind::share);
  CHECK(FindSlotType("tt-n300.device")->kind == SlotKind::discrete);
  CHECK(FindSlotType("cuda.device:1g.5gb-mig")->kind == SlotKind::unique);
  CHECK(FindSlotType("cuda.device:-mig") == nullptr);
  CHECK(FindSlotType("cuda.device:1g.5gb") == nullptr);
  CHECK(FindSlotType("CPU") == nullptr);
  CHECK(FindSlotType("") == nullptr);
}

TEST_CASE("Slot names are unique and described") {
  std::set<std::string_view> names;
  for (const SlotType& type : KnownSlotTypes()) {
    CHECK(names.insert(type.name).second);
    CHECK_FALSE(type.description.empty());
  }
}

TEST_CASE("The three ways to hand out an NVIDIA GPU exclude each other") {
  for (const char* slot : {"cuda.device", "cuda.shares", "cuda.device:2g.10gb-mig"}) {
    CHECK(FindSlotType(slot)->exclusive_set == "cuda");
  }
  CHECK(FindSlotType("rocm.device")->exclusive_set.empty());
  CHECK(FindSlotType("cuda.mem")->exclusive_set.empty());
}

TEST_CASE("Each slot says how it is enforced and in which steps it is given") {
  CHECK(FindSlotType("cpu")->enforcement == Enforcement::accounting);
  CHECK(FindSlotType("cuda.shares")->enforcement == Enforcement::advisory);
  CHECK(FindSlotType("cuda.device:1g.5gb-mig")->enforcement == Enforcement::hardware);
  CHECK(FindSlotType("tpu.device")->enforcement == Enforcement::hardware);
  CHECK(ToString(Enforcement::accounting) == "accounting");
  CHECK(ToString(Enforcement::advisory) == "advisory");
  CHECK(ToString(Enforcement::hardware) == "hardware");
  CHECK_FALSE(FindSlotType("cuda.device:1g.5gb-mig")->spans_devices);
  CHECK(FindSlotType("cuda.shares")->quantum.thousandths() == 10);
  for (const SlotType& type : KnownSlotTypes()) CHECK(type.quantum > Quantity());
}

TEST_CASE("Amounts follow the kind of the slot") {
  CHECK(ParseSlotAmount("cpu", "1.5")->thousandths() == 1500);
  CHECK(ParseSlotAmount("mem", "1g")->units() == 1 << 30);
  CHECK(ParseSlotAmount("cuda.shares", "0.25")->thousandths() == 250);
  CHECK(ParseSlotAmount("cuda.device", "2")->units() == 2);
  CHECK(ParseSlotAmount("cuda.device:1g.5gb-mig", "1")->units() == 1);
}

TEST_CASE("Wrong amounts say what was expected") {
  struct Case {
    std::string_view slot, text, message;
  };
  const Case cases[] = {
      {"mem", "-1g", "found \"-1g\", expected an amount that is not negative"},
      {"cuda.device", "1.5", "found \"1.5\", expected a whole number of devices"},
      {"cuda.device:1g.5gb-mig", "2",
       "found \"2\", expected 1, because the slot is a single instance"},
      {"cpu", "many", "found \"many\", expected an amount such as 2, 1.5 or 500m"},
      {"mem", "1.5", "found \"1.5\", expected a whole number of bytes"},
  };
  for (const Case& c : cases) {
    const auto amount = ParseSlotAmount(c.slot, c.text);
    CHECK(amount.status().code() == StatusCode::kInvalidArgument);
    CHECK(Message(amount.status()) == c.message);
  }
}

TEST_CASE("An unknown slot names the nearest") {
  const auto amount = ParseSlotAmount("cuda.share", "1");
  CHECK(amount.status().code() == StatusCode::kNotFound);
  CHECK(Message(amount.status()) == "unknown slot \"cuda.share\"; did you mean \"cuda.shares\"?");
  CHECK(Message(ParseSlotAmount("quantum.qubits", "1").status()) ==
        "unknown slot \"quantum.qubits\"");
}

TEST_CASE("Amounts print in the notation of their slot") {
  CHECK(FormatSlotAmount("mem", *Quantity::FromUnits(1 << 30)) == "1g");
  CHECK(FormatSlotAmount("cpu", Quantity::FromThousandths(1500)) == "1.5");
  CHECK(FormatSlotAmount("cpu", *Quantity::FromUnits(1024)) == "1024");
}

}  // namespace
}  // namespace trackbed
