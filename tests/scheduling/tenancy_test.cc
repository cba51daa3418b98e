#include "trackbed/scheduling/tenancy.hpp"

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
}

TEST_CASE("What runs counts at every level above it") {
  Tenancy tenancy;
  Quota quota;
  quota.limit[kCpu] = 10;
  quota.max_running = 2;
  const TenantIndex domain = *tenancy.Add(kRootTenant, "domain", quota);
  const TenantIndex a = *tenancy.Add(domain, "a", {});
  const TenantIndex b = *tenancy.Add(domain, "b", {});
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

}  // namespace
}  // namespace trackbed
