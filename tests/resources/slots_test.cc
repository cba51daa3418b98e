// What a machine has, what is taken of it, and what is said when it is not enough.
#include "trackbed/resources/slots.hpp"

#include <limits>
#include <map>
#include <string>
#include <vector>

#include "support/catch.hpp"
#include "support/pipelines.hpp"
#include "trackbed/base/random.hpp"

namespace trackbed {
namespace {

Quantity Bytes(std::string_view text) { return *Quantity::ParseBytes(text); }

SlotPool Machine() {
  return SlotPool({{"mem", Bytes("16g")}, Slot("cpu", 4), Slot("cuda.device", 2)});
}

TEST_CASE("Capacity is sorted, and what is named twice is added up") {
  const SlotPool pool({Slot("mem", 1), Slot("cpu", 2), Slot("mem", 3)});
  CHECK(pool.capacity() == std::vector<SlotRequest>{Slot("cpu", 2), Slot("mem", 4)});
}

TEST_CASE("A claim is taken as a whole or not at all") {
  SlotPool pool = Machine();
  const auto large = pool.Claim(std::vector{Slot("cpu", 3), {"mem", Bytes("10g")}});
  REQUIRE(large.ok());
  CHECK(pool.Fits(*large));
  CHECK(pool.Take(*large));
  CHECK_FALSE(pool.Fits(*large));
  CHECK_FALSE(pool.Take(*large));
  // The failed try took nothing: the last cpu is there.
  const auto last = pool.Claim(std::vector{Slot("cpu", 1), {"mem", Bytes("6g")}});
  CHECK(pool.Take(*last));
  pool.Give(*large);
  CHECK(pool.Take(*large));
}

TEST_CASE("Fractions are exact") {
  SlotPool pool({Slot("cuda.shares", 1)});
  const std::vector<SlotRequest> tenth = {{"cuda.shares", Quantity::FromThousandths(100)}};
  const auto claim = pool.Claim(tenth);
  for (int i = 0; i < 10; ++i) CHECK(pool.Take(*claim));
  CHECK_FALSE(pool.Take(*claim));
  for (int i = 0; i < 10; ++i) pool.Give(*claim);
  const auto whole = pool.Claim(std::vector{Slot("cuda.shares", 1)});
  CHECK(pool.Take(*whole));
}

TEST_CASE("What even the empty machine does not have is refused with the numbers") {
  const SlotPool pool = Machine();
  const auto refusal = [&](const std::vector<SlotRequest>& request) {
    const Status status = pool.Claim(request).status();
    CHECK(status.code() == StatusCode::kResourceExhausted);
    return std::string(Message(status));
  };
  CHECK(refusal({Slot("cpu", 8)}) == "needs 8 cpu, there is 4");
  CHECK(refusal({{"cpu", Quantity::FromThousandths(4001)}}) == "needs 4.001 cpu, there is 4");
  CHECK(refusal({{"mem", Bytes("20g")}}) == "needs 20g mem, there is 16g");
  CHECK(refusal({Slot("cpu", 1), Slot("rocm.device", 1)}) == "needs 1 rocm.device, there is none");
  CHECK(refusal({Slot("cpu", 3), Slot("cpu", 2)}) == "needs 5 cpu, there is 4");
  constexpr Quantity kMost = Quantity::FromThousandths(std::numeric_limits<int64_t>::max());
  refusal({{"cpu", kMost}, {"cpu", kMost}});
}

TEST_CASE("A request may name a slot twice, or nothing of one") {
  SlotPool pool = Machine();
  const auto twice = pool.Claim(std::vector{Slot("cpu", 2), Slot("cpu", 2)});
  REQUIRE(twice.ok());
  CHECK(pool.Take(*twice));
  CHECK_FALSE(pool.Take(*pool.Claim(std::vector{Slot("cpu", 1)})));
  // Nothing of a slot that is not there is no reason to refuse.
  const auto nothing = pool.Claim(std::vector{Slot("rocm.device", 0)});
  REQUIRE(nothing.ok());
  CHECK(nothing->empty());
  CHECK(pool.Take(*nothing));
}

TEST_CASE("Less than nothing is refused") {
  const Status status = Machine().Claim(std::vector{Slot("cpu", -1)}).status();
  CHECK(status.code() == StatusCode::kInvalidArgument);
  CHECK(Message(status) == "needs -1 cpu, expected no less than 0");
}

TEST_CASE("Work found running holds what it has, and nothing fits until enough is given back") {
  SlotPool pool({Slot("cpu", 2)});
  const auto two = *pool.Claim(std::vector{Slot("cpu", 2)});
  const auto one = *pool.Claim(std::vector{Slot("cpu", 1)});
  pool.Occupy(two);
  pool.Occupy(two);
  CHECK(pool.ExplainShortage(one) == "needs 1 cpu, 0 of 2 free");
  pool.Give(two);
  CHECK_FALSE(pool.Fits(one));
  pool.Give(two);
  CHECK(pool.Fits(two));
}

TEST_CASE("A shortage is explained by its first slot") {
  SlotPool pool = Machine();
  const auto claim = *pool.Claim(std::vector{{"mem", Bytes("10g")}, Slot("cpu", 2)});
  CHECK(pool.ExplainShortage(claim).empty());
  REQUIRE(pool.Take(claim));
  CHECK(pool.ExplainShortage(claim) == "needs 10g mem, 6g of 16g free");
  const auto cpus = *pool.Claim(std::vector{Slot("cpu", 3)});
  CHECK(pool.ExplainShortage(cpus) == "needs 3 cpu, 2 of 4 free");
}

TEST_CASE("Whatever is taken and given, a slot is never overdrawn and nothing is lost") {
  for (uint64_t seed = 0; seed < 200; ++seed) {
    CAPTURE(seed);
    SeededRandom random(seed);
    const auto roll = [&](uint64_t n) { return static_cast<int64_t>(random.Next() % n); };
    SlotPool pool({Slot("cpu", 8), Slot("cuda.device", 2), Slot("mem", 100)});
    std::map<std::string, int64_t> used;
    std::vector<std::pair<std::vector<SlotRequest>, SlotClaim>> held;
    for (int step = 0; step < 200; ++step) {
      if (roll(2) == 0 && !held.empty()) {
        const size_t which = static_cast<size_t>(roll(held.size()));
        pool.Give(held[which].second);
        for (const SlotRequest& slot : held[which].first) {
          used[slot.slot] -= slot.amount.thousandths();
        }
        held.erase(held.begin() + static_cast<ptrdiff_t>(which));
        continue;
      }
      std::vector<SlotRequest> request;
      if (roll(2) == 0) request.push_back({"cpu", Quantity::FromThousandths(roll(4000))});
      if (roll(3) == 0) request.push_back(Slot("cuda.device", 1));
      if (roll(2) == 0) request.push_back(Slot("mem", roll(60)));
      const auto claim = pool.Claim(request);
      REQUIRE(claim.ok());
      const std::map<std::string, int64_t> most = {
          {"cpu", 8000}, {"cuda.device", 2000}, {"mem", 100'000}};
      bool fits = true;
      for (const SlotRequest& slot : request) {
        fits = fits && used[slot.slot] + slot.amount.thousandths() <= most.at(slot.slot);
      }
      CHECK(pool.Fits(*claim) == fits);
      CHECK(pool.ExplainShortage(*claim).empty() == fits);
      REQUIRE(pool.Take(*claim) == fits);
      if (!fits) continue;
      for (const SlotRequest& slot : request) used[slot.slot] += slot.amount.thousandths();
      held.emplace_back(request, *claim);
    }
    for (const auto& [request, claim] : held) pool.Give(claim);
    CHECK(pool.Fits(*pool.Claim(pool.capacity())));
  }
}

TEST_CASE("This machine has a processor and memory") {
  const std::vector<SlotRequest> slots = DetectLocalSlots();
  REQUIRE(slots.size() == 2);
  CHECK(slots[0].slot == "cpu");
  CHECK(slots[0].amount > Quantity());
  CHECK(slots[1].slot == "mem");
  CHECK(slots[1].amount >= Units(1 << 20));
}

}  // namespace
}  // namespace trackbed
