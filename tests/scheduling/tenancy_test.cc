#include "trackbed/scheduling/tenancy.hpp"

#include <cmath>
#include <string>

#include "support/catch.hpp"
#include "trackbed/base/random.hpp"

namespace trackbed {
namespace {

using std::chrono::hours;

Amounts Of(int64_t cpu, int64_t devices = 0) {
  Amounts amounts{};
  amounts[kCpu] = cpu;
  amounts[kFirstDeviceResource] = devices;
  return amounts;
}

// A domain that may use 10 processors and run 2 tasks, and two tenants below it.
struct TwoOfADomain {
  TwoOfADomain() {
    quota.limit[kCpu] = 10;
    quota.max_running = 2;
    domain = *tenancy.Add(kRootTenant, "domain", quota);
    a = *tenancy.Add(domain, "a", {});
    b = *tenancy.Add(domain, "b", {});
  }
  Tenancy tenancy;
  Quota quota;  // of the domain
  TenantIndex domain = 0;
  TenantIndex a = 0;
  TenantIndex b = 0;
};

TEST_CASE("Paths lead to tenants and back") {
  Tenancy tenancy;
  const TenantIndex research = *tenancy.Add(kRootTenant, "research", {});
  const TenantIndex ada = *tenancy.Add(research, "ada", {});
  CHECK(tenancy.Path(kRootTenant).empty());
  CHECK(tenancy.Path(ada) == "research/ada");
  CHECK(*tenancy.Find("research/ada") == ada);
  CHECK(*tenancy.Find("") == kRootTenant);
  CHECK(Message(tenancy.Find("research/bob").status()) ==
        "there is no tenant \"bob\" below \"research\"");
  CHECK(tenancy.Add(research, "ada", {}).status().code() == StatusCode::kAlreadyExists);
  CHECK(tenancy.Add(kRootTenant, "ada", {}).ok());
  CHECK(tenancy.Add(kRootTenant, "a/b", {}).status().code() == StatusCode::kInvalidArgument);
  CHECK(tenancy.Add(kRootTenant, "", {}).status().code() == StatusCode::kInvalidArgument);
  CHECK(tenancy.Add(99, "x", {}).status().code() == StatusCode::kNotFound);
}

TEST_CASE("Quotas that make no sense are refused") {
  Tenancy tenancy;
  Quota quota;
  quota.weight = -1;
  CHECK_FALSE(tenancy.Add(kRootTenant, "a", quota).ok());
  quota = {};
  quota.limit[kCpu] = -1;
  CHECK_FALSE(tenancy.Add(kRootTenant, "a", quota).ok());
  quota = {};
  quota.guaranteed[kCpu] = 5;
  quota.limit[kCpu] = 4;
  CHECK(Message(tenancy.Add(kRootTenant, "a", quota).status()) ==
        "tenant \"a\": found 5 guaranteed of resource 0, expected at most the limit, 4");
  CHECK(tenancy.size() == 1);
  CHECK(tenancy.SetQuota(7, {}).code() == StatusCode::kNotFound);
  CHECK(tenancy.SetQuota(1, {}).code() == StatusCode::kNotFound);
}

TEST_CASE_METHOD(TwoOfADomain, "What runs counts at every level above it") {
  QuotaRefusal refusal;
  CHECK(tenancy.MayStart(a, Of(10), &refusal));
  CHECK_FALSE(tenancy.MayStart(a, Of(11), &refusal));
  tenancy.Starts(a, Of(6), {});
  CHECK_FALSE(tenancy.MayStart(b, Of(5), &refusal));
  CHECK(refusal.tenant == domain);
  CHECK(refusal.rule == QuotaRefusal::Rule::limit);
  CHECK(refusal.used == 6);
  CHECK(refusal.allowed == 10);
  CHECK(tenancy.MayStart(b, Of(4), &refusal));
  tenancy.Starts(b, Of(4), {});
  CHECK_FALSE(tenancy.MayStart(b, Of(0), &refusal));
  CHECK(refusal.rule == QuotaRefusal::Rule::max_running);
  tenancy.Ends(a, Of(6), {});
  tenancy.Ends(b, Of(4), {});
  CHECK(tenancy.used(domain) == kNothing);
  CHECK(tenancy.running(kRootTenant) == 0);
}

TEST_CASE("A limit that was lowered below what runs admits nothing and breaks nothing") {
  Tenancy tenancy;
  const TenantIndex a = *tenancy.Add(kRootTenant, "a", {});
  tenancy.Starts(a, Of(6), {});
  Quota quota;
  quota.limit[kCpu] = 2;
  REQUIRE(tenancy.SetQuota(a, quota).ok());
  QuotaRefusal refusal;
  CHECK_FALSE(tenancy.MayStart(a, Of(1), &refusal));
  CHECK(tenancy.MayStart(a, Of(0, 1), &refusal));  // another resource
}

TEST_CASE("Borrowing is by the resources that are guaranteed") {
  Tenancy tenancy;
  Quota quota;
  quota.guaranteed[kFirstDeviceResource] = 2000;
  const TenantIndex a = *tenancy.Add(kRootTenant, "a", quota);
  const TenantIndex b = *tenancy.Add(kRootTenant, "b", {});
  CHECK_FALSE(tenancy.WouldBorrow(a, Of(8000, 2000)));
  CHECK(tenancy.WouldBorrow(a, Of(1, 2001)));
  CHECK(tenancy.WouldBorrow(a, Of(1)));  // nothing that is guaranteed
  CHECK(tenancy.WouldBorrow(b, Of(1, 1)));
  tenancy.Starts(a, Of(1, 1500), {});
  CHECK_FALSE(tenancy.WouldBorrow(a, Of(1, 500)));
  CHECK(tenancy.WouldBorrow(a, Of(1, 501)));
}

TEST_CASE("Past use grows with what runs and is halved each half-life") {
  Tenancy tenancy(hours(10));
  tenancy.SetCapacity(Of(1000));
  const TenantIndex a = *tenancy.Add(kRootTenant, "a", {});
  const Time start = FromNanoseconds(1'700'000'000'000'000'000);
  tenancy.Starts(a, Of(500), start);
  // Half of the group for an hour, little of it faded.
  CHECK(tenancy.PastUse(a, start + hours(1)) == Approx(1800).epsilon(0.04));
  tenancy.Ends(a, Of(500), start + hours(1));
  const double then = tenancy.PastUse(a, start + hours(1));
  CHECK(tenancy.PastUse(a, start + hours(11)) == Approx(then / 2));
  CHECK(tenancy.PastUse(a, start + hours(21)) == Approx(then / 4));
  CHECK(tenancy.PastUse(a, start + hours(10'000'0)) == Approx(0).margin(1e-9));
  Quota heavy;
  heavy.weight = 2;
  REQUIRE(tenancy.SetQuota(a, heavy).ok());
  CHECK(tenancy.PastUse(a, start + hours(1)) == Approx(then / 2));
}

TEST_CASE("Rivals are the siblings below what two tenants have in common") {
  Tenancy tenancy;
  const TenantIndex x = *tenancy.Add(kRootTenant, "x", {});
  const TenantIndex y = *tenancy.Add(kRootTenant, "y", {});
  const TenantIndex x1 = *tenancy.Add(x, "1", {});
  const TenantIndex x2 = *tenancy.Add(x, "2", {});
  const TenantIndex deep = *tenancy.Add(x1, "deep", {});
  using Pair = std::pair<TenantIndex, TenantIndex>;
  CHECK(tenancy.Rivals(x1, x2) == Pair{x1, x2});
  CHECK(tenancy.Rivals(deep, x2) == Pair{x1, x2});
  CHECK(tenancy.Rivals(deep, y) == Pair{x, y});
  CHECK(tenancy.Rivals(y, deep) == Pair{y, x});
  CHECK(tenancy.Rivals(x, deep).first == tenancy.Rivals(x, deep).second);
  CHECK(tenancy.Rivals(x, x).first == x);
}

TEST_CASE("Whatever starts and ends, the sums are right") {
  SeededRandom random(11);
  Tenancy tenancy;
  std::vector<TenantIndex> tenants = {kRootTenant};
  for (int i = 0; i < 20; ++i) {
    tenants.push_back(*tenancy.Add(tenants[random.Next() % tenants.size()], std::to_string(i), {}));
  }
  std::vector<std::pair<TenantIndex, Amounts>> running;
  for (int step = 0; step < 20'000; ++step) {
    if (running.empty() || random.Next() % 2 == 0) {
      const TenantIndex tenant = tenants[random.Next() % tenants.size()];
      const Amounts amounts =
          Of(static_cast<int64_t>(random.Next() % 100), static_cast<int64_t>(random.Next() % 100));
      tenancy.Starts(tenant, amounts, FromNanoseconds(step));
      running.emplace_back(tenant, amounts);
    } else {
      const size_t at = random.Next() % running.size();
      tenancy.Ends(running[at].first, running[at].second, FromNanoseconds(step));
      running[at] = running.back();
      running.pop_back();
    }
    if (step % 100 != 0) continue;
    for (const TenantIndex tenant : tenants) {
      Amounts sum = kNothing;
      for (const auto& [owner, amounts] : running) {
        TenantIndex at = owner;
        while (at != tenant && at != kRootTenant) at = tenancy.parent(at);
        if (at == tenant) REQUIRE(Add(sum, amounts, &sum));
      }
      REQUIRE(tenancy.used(tenant) == sum);
    }
  }
}

TEST_CASE(
    "A refusal says whose quota it is, what was asked for, what is used and what is allowed") {
  Tenancy tenancy;
  Quota quota;
  quota.limit[kCpu] = 10;
  quota.max_running = 3;
  quota.max_waiting = 2;
  const TenantIndex domain = *tenancy.Add(kRootTenant, "domain", quota);
  const TenantIndex user = *tenancy.Add(domain, "user", {});
  tenancy.Starts(user, Of(6), {});
  QuotaRefusal refusal;
  const auto says = [&](QuotaRefusal::Rule rule, int64_t needed, int64_t used, int64_t allowed) {
    CHECK(refusal.rule == rule);
    CHECK(refusal.tenant == domain);
    CHECK(refusal.resource == kCpu);
    CHECK(refusal.needed == needed);
    CHECK(refusal.used == used);
    CHECK(refusal.allowed == allowed);
    refusal = {};
  };
  CHECK_FALSE(tenancy.MayStart(user, Of(5), &refusal));
  says(QuotaRefusal::Rule::limit, 5, 6, 10);
  CHECK_FALSE(tenancy.CouldEverStart(user, Of(11), &refusal));
  says(QuotaRefusal::Rule::limit, 11, 0, 10);
  CHECK(tenancy.CouldEverStart(user, Of(10), &refusal));
  tenancy.Starts(domain, Of(1), {});
  tenancy.Starts(user, Of(1), {});
  CHECK_FALSE(tenancy.MayStart(user, Of(1), &refusal));
  says(QuotaRefusal::Rule::max_running, 1, 3, 3);
  CHECK(tenancy.MayWait(user, &refusal));
  tenancy.Waits(user);
  CHECK(tenancy.MayWait(user, &refusal));
  tenancy.Waits(domain);
  CHECK_FALSE(tenancy.MayWait(user, &refusal));
  says(QuotaRefusal::Rule::max_waiting, 1, 2, 2);
  tenancy.WaitsNoMore(user);
  CHECK(tenancy.MayWait(user, &refusal));
  quota.max_running = 0;
  REQUIRE(tenancy.SetQuota(domain, quota).ok());
  CHECK_FALSE(tenancy.CouldEverStart(user, Of(0), &refusal));
  says(QuotaRefusal::Rule::max_running, 1, 0, 0);
}

TEST_CASE_METHOD(TwoOfADomain,
                 "What would change is asked for without changing anything, at every level") {
  tenancy.Starts(a, Of(8, 1000), {});
  UseChange change;
  CHECK(change.amount(domain, kCpu) == 0);
  CHECK(change.tasks(domain) == 0);
  change.Ends(tenancy, a, Of(8, 1000));
  change.Starts(tenancy, b, Of(3));
  change.Starts(tenancy, b, Of(2));
  CHECK(change.amount(a, kCpu) == -8);
  CHECK(change.amount(b, kCpu) == 5);
  CHECK(change.amount(domain, kCpu) == -3);
  CHECK(change.amount(kRootTenant, kFirstDeviceResource) == -1000);
  CHECK(change.tasks(a) == -1);
  CHECK(change.tasks(b) == 2);
  CHECK(change.tasks(kRootTenant) == 1);
  QuotaRefusal refusal;
  CHECK(tenancy.MayStart(b, Of(2), &refusal));
  CHECK_FALSE(tenancy.MayStart(b, Of(2), change, &refusal));
  CHECK(refusal.rule == QuotaRefusal::Rule::max_running);
  CHECK(refusal.used == 2);
  quota.max_running = 3;
  REQUIRE(tenancy.SetQuota(domain, quota).ok());
  CHECK(tenancy.MayStart(b, Of(5), change, &refusal));
  CHECK_FALSE(tenancy.MayStart(b, Of(6), change, &refusal));
  CHECK(refusal.used == 5);
  CHECK(tenancy.used(domain) == Of(8, 1000));
}

TEST_CASE("The dominant share is the largest of what the group has, over the weight") {
  Tenancy tenancy;
  Quota heavy;
  heavy.weight = 2;
  const TenantIndex a = *tenancy.Add(kRootTenant, "a", heavy);
  tenancy.Starts(a, Of(100, 500), {});
  CHECK(tenancy.DominantShare(a) == 0);
  tenancy.SetCapacity(Of(1000));
  CHECK(tenancy.DominantShare(a) == 0.05);
  tenancy.SetCapacity(Of(1000, 2000));
  CHECK(tenancy.DominantShare(a) == 0.125);
  tenancy.SetCapacity(Of(200, 2000));
  CHECK(tenancy.DominantShare(a) == 0.25);
}

TEST_CASE("Past use fades evenly, grows to where as much fades, and counts resources by weight") {
  Tenancy tenancy(hours(10));
  tenancy.SetCapacity(Of(1000, 4000));
  tenancy.SetResourceWeights({1, 1, 3, 3, 3, 3, 3, 3});
  const TenantIndex a = *tenancy.Add(kRootTenant, "a", {});
  const TenantIndex below = *tenancy.Add(a, "below", {});
  const Time start = FromNanoseconds(1'700'000'000'000'000'000);
  CHECK(tenancy.PastUse(a, start) == 0);
  // (1 * 0.6 + 3 * 0.2) / 4 of the group.
  tenancy.Starts(below, Of(600, 800), start);
  const double steady = 0.3 * 36'000 / std::log(2.0);
  CHECK(tenancy.PastUse(a, start) == 0);
  CHECK(tenancy.PastUse(a, start + hours(10)) == Approx(steady / 2));
  CHECK(tenancy.PastUse(a, start + hours(10'000)) == Approx(steady));
  tenancy.Ends(below, Of(600, 800), start + hours(10'000));
  for (const double half_lives : {0.125, 0.25, 0.5, 0.75, 1.5, 3.0}) {
    const auto age = std::chrono::duration_cast<Duration>(hours(10) * half_lives);
    CHECK(tenancy.PastUse(a, start + hours(10'000) + age) ==
          Approx(steady * std::exp2(-half_lives)).epsilon(1e-7));
  }
  // A clock that goes back neither adds nor fades, also of what is counted then.
  const double then = tenancy.PastUse(a, start + hours(10'000));
  tenancy.Starts(below, Of(600, 800), start);
  CHECK(tenancy.PastUse(a, start + hours(1)) == then);
  tenancy.Ends(below, Of(600, 800), start + hours(2));
  CHECK(tenancy.PastUse(a, start + hours(10'000)) == then);
  CHECK(tenancy.PastUse(a, start + hours(10'010)) == Approx(then / 2));
}

TEST_CASE("A half-life is a second at least, and without capacity nothing is used") {
  Tenancy tenancy(Duration{0});
  const TenantIndex a = *tenancy.Add(kRootTenant, "a", {});
  const Time start = FromNanoseconds(1'700'000'000'000'000'000);
  tenancy.Starts(a, Of(1), start);
  CHECK(tenancy.PastUse(a, start + hours(1)) == 0);
  tenancy.SetCapacity(Of(1));
  CHECK(tenancy.DominantShare(a) == 1);
  CHECK(tenancy.PastUse(a, start + Duration{2}) > tenancy.PastUse(a, start + Duration{1}));
  CHECK(tenancy.PastUse(a, start + Duration{1}) > 0);
  const double steady = 1 / std::log(2.0);
  CHECK(tenancy.PastUse(a, start + std::chrono::seconds(2)) == Approx(steady * 3 / 4));
  // So many half-lives that they are no number of halvings any more.
  CHECK(tenancy.PastUse(a, start + hours(24 * 365 * 100)) == Approx(steady));
}

TEST_CASE("Guarantees, and who is on the way down to whom") {
  Tenancy tenancy;
  const TenantIndex a = *tenancy.Add(kRootTenant, "a", {});
  const TenantIndex b = *tenancy.Add(a, "b", {});
  const TenantIndex c = *tenancy.Add(b, "c", {});
  CHECK(tenancy.Towards(kRootTenant, c) == a);
  CHECK(tenancy.Towards(a, c) == b);
  CHECK_FALSE(tenancy.HasGuarantees());
  Quota quota;
  quota.guaranteed[kCpu] = 4;
  REQUIRE(tenancy.SetQuota(a, quota).ok());
  CHECK(tenancy.HasGuarantees());
  CHECK_FALSE(tenancy.WouldBorrow(c, Of(4)));  // what is guaranteed above
  CHECK(tenancy.WouldBorrow(c, Of(5)));
}

}  // namespace
}  // namespace trackbed
