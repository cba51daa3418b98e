#include "trackbed/scheduling/resource_groups.hpp"

#include <string>

#include "scheduling/first_fit.hpp"
#include "support/catch.hpp"

namespace trackbed {
namespace {

using Names = std::vector<std::string>;
constexpr Time kNow{};

// Two domains, "research" with the project "vision" and its user "ada", and "sales"; a group for
// everybody and one that is research's.
struct Organisation {
  Organisation() {
    const Principal host = Principal::Host();
    research = *groups.AddTenant(host, kRootTenant, "research");
    vision = *groups.AddTenant(host, research, "vision");
    ada = *groups.AddTenant(host, vision, "ada");
    REQUIRE(groups.AddGroup(host, "common", {}, Options()).ok());
    GroupRules rules;
    rules.allowed = {research};
    rules.architectures = 1;
    SchedulerOptions options = Options();
    options.policy.kinds = 1U << static_cast<unsigned>(WorkKind::batch);
    REQUIRE(groups.AddGroup(host, "lab", rules, std::move(options)).ok());
    sales = *groups.AddTenant(host, kRootTenant, "sales");  // groups learn of later tenants too
    for (const char* group : {"common", "lab"}) {
      NodeCapacity capacity;
      capacity.cpu = 8000;
      REQUIRE(groups.AddNode(host, group, std::string(group) + "-1", capacity).ok());
    }
  }

  static SchedulerOptions Options() {
    SchedulerOptions options;
    options.placer = std::make_unique<FirstFit>();
    return options;
  }

  static Principal User(TenantIndex tenant) {
    Principal who;
    who.tenant = tenant;
    return who;
  }

  static TaskRequest Task(TaskId id, TenantIndex tenant) {
    TaskRequest task;
    task.id = id;
    task.tenant = tenant;
    task.demand.cpu = 1000;
    return task;
  }

  std::string Refusal(const Status& status) {
    REQUIRE(status.code() == StatusCode::kPermissionDenied);
    return std::string(Message(status));
  }

  ResourceGroups groups;
  TenantIndex research = 0;
  TenantIndex vision = 0;
  TenantIndex ada = 0;
  TenantIndex sales = 0;
};

TEST_CASE("A group says whom and what it is for") {
  Organisation o;
  CHECK(o.groups.Usable(o.User(o.ada), WorkKind::batch) == Names{"common", "lab"});
  CHECK(o.groups.Usable(o.User(o.ada), WorkKind::inference) == Names{"common"});
  CHECK(o.groups.Usable(o.User(o.sales), WorkKind::batch) == Names{"common"});
  CHECK(o.groups.Submit(o.User(o.ada), "lab", o.Task(1, o.ada), kNow).ok());
  CHECK_THAT(o.Refusal(o.groups.Submit(o.User(o.sales), "lab", o.Task(2, o.sales), kNow)),
             Catch::Matchers::Equals(
                 "task 2: the resource group \"lab\" is for \"research\", not for \"sales\""));
  TaskRequest service = o.Task(2, o.ada);
  service.kind = WorkKind::inference;
  CHECK(o.groups.Submit(o.User(o.ada), "lab", service, kNow).code() ==
        StatusCode::kInvalidArgument);
  CHECK(Message(o.groups.Submit(o.User(o.ada), "labs", service, kNow)) ==
        "there is no resource group \"labs\"; did you mean \"lab\"?");
}

TEST_CASE("One acts for oneself and for those below, nobody else") {
  Organisation o;
  CHECK(o.groups.Submit(o.User(o.vision), "common", o.Task(1, o.ada), kNow).ok());
  CHECK_THAT(o.Refusal(o.groups.Submit(o.User(o.ada), "common", o.Task(2, o.vision), kNow)),
             Catch::Matchers::Equals(
                 "task 2: \"research/vision/ada\" may not act for \"research/vision\""));
  CHECK(o.groups.Withdraw(o.User(o.sales), "common", 1, kNow).code() == StatusCode::kNotFound);
  CHECK(o.groups.Withdraw(o.User(o.ada), "common", 1, kNow).ok());
  CHECK(o.groups.Submit(o.User(o.ada), "common", o.Task(3, o.ada), kNow).ok());
  CHECK(o.groups.Find("common")->Schedule(kNow).starts.size() == 1);
  CHECK(o.groups.Withdraw(o.User(o.ada), "common", 3, kNow).code() ==
        StatusCode::kFailedPrecondition);
}

TEST_CASE("Who uses a group does not operate it") {
  Organisation o;
  const Principal user = o.User(o.research);
  CHECK_THAT(o.Refusal(o.groups.AddNode(user, "lab", "x", {}).status()),
             Catch::Matchers::Equals("needs the right to operate nodes"));
  CHECK_THAT(o.Refusal(o.groups.DrainNode(user, "lab", "lab-1")),
             Catch::Matchers::Equals("needs the right to operate nodes"));
  CHECK_THAT(o.Refusal(o.groups.SetRules(user, "lab", {})),
             Catch::Matchers::Equals("needs the right to set policies"));
  CHECK_THAT(o.Refusal(o.groups.SetQuota(user, "lab", o.vision, {})),
             Catch::Matchers::Equals("needs the right to manage tenants"));
  CHECK_THAT(o.Refusal(o.groups.AddTenant(user, o.research, "x").status()),
             Catch::Matchers::Equals("needs the right to manage tenants"));
  // And who operates the nodes does not set quotas.
  Principal technician = user;
  technician.operates_nodes = true;
  CHECK(o.groups.DrainNode(technician, "lab", "lab-1").ok());
  CHECK(o.groups.Find("lab")->cluster().state(0).open == false);
  CHECK(o.groups.OpenNode(technician, "lab", "lab-1").ok());
  CHECK(o.groups.SetQuota(technician, "lab", o.vision, {}).code() == StatusCode::kPermissionDenied);
}

TEST_CASE("An administrator manages what is below, not his own quota nor others'") {
  Organisation o;
  Principal head = o.User(o.research);
  head.manages_tenants = true;
  Quota quota;
  quota.limit[kCpu] = 500;
  CHECK(o.groups.SetQuota(head, "common", o.vision, quota).ok());
  CHECK_THAT(
      o.Refusal(o.groups.SetQuota(head, "common", o.research, quota)),
      Catch::Matchers::Equals("may set quotas of tenants below \"research\", not of \"research\""));
  CHECK(o.groups.SetQuota(head, "common", o.sales, quota).code() == StatusCode::kPermissionDenied);
  CHECK(o.groups.AddTenant(head, o.sales, "spy").status().code() == StatusCode::kPermissionDenied);
  CHECK(o.groups.AddTenant(head, o.vision, "bob").ok());
  const Status status = o.groups.Submit(o.User(o.ada), "common", o.Task(1, o.ada), kNow);
  CHECK(Message(status) ==
        "task 1: needs 1 cpu; \"research/vision\" may use 0.5 cpu and uses 0 cpu");
  CHECK(o.groups.Submit(o.User(o.ada), "lab", o.Task(1, o.ada), kNow).ok());
}

TEST_CASE("Mistakes of operators are told and change nothing") {
  Organisation o;
  const Principal host = Principal::Host();
  NodeCapacity arm;
  arm.architecture = 1;
  CHECK(Message(o.groups.AddNode(host, "lab", "arm", arm).status()) ==
        "node \"arm\": the resource group \"lab\" takes no nodes of its architecture");
  CHECK(Message(o.groups.AddNode(host, "common", "lab-1", {}).status()) ==
        "node \"lab-1\" is in the resource group \"lab\" already");
  CHECK(o.groups.AddGroup(host, "lab", {}, o.Options()).code() == StatusCode::kAlreadyExists);
  CHECK(o.groups.AddGroup(host, "new", {}, {}).code() == StatusCode::kInvalidArgument);
  CHECK(o.groups.Find("new") == nullptr);
  GroupRules rules;
  rules.allowed = {99};
  CHECK(o.groups.SetRules(host, "lab", rules).code() == StatusCode::kInvalidArgument);
  CHECK(o.groups.AddTenant(host, kRootTenant, "sales").status().code() ==
        StatusCode::kAlreadyExists);
  CHECK(o.groups.AddTenant(host, 99, "x").status().code() == StatusCode::kNotFound);
  CHECK(o.groups.DrainNode(host, "lab", "nowhere").code() == StatusCode::kNotFound);
  // A task for an unknown tenant.
  CHECK(o.groups.Submit(host, "lab", o.Task(1, 99), kNow).code() == StatusCode::kInvalidArgument);
}

TEST_CASE("Each change asks for its right, whoever is asked for it") {
  Organisation o;
  const auto all_but = [](bool Principal::* right) {
    Principal who = Principal::Host();
    who.*right = false;
    return who;
  };
  const Principal no_operator = all_but(&Principal::operates_nodes);
  CHECK(o.Refusal(o.groups.OpenNode(no_operator, "lab", "lab-1")) ==
        "needs the right to operate nodes");
  CHECK(o.Refusal(o.groups.AddGroup(all_but(&Principal::sets_policies), "new", {}, o.Options())) ==
        "needs the right to set policies");
  CHECK(o.groups.Find("new") == nullptr);
  const Principal no_manager = all_but(&Principal::manages_tenants);
  CHECK(o.Refusal(o.groups.SetQuota(no_manager, "lab", o.sales, {})) ==
        "needs the right to manage tenants");
  // Nobody but the host sets what all may use together.
  Quota quota;
  quota.limit[kCpu] = 500;
  Principal head = o.User(o.research);
  head.manages_tenants = true;
  CHECK(o.Refusal(o.groups.SetQuota(head, "common", kRootTenant, quota)) ==
        "may set quotas of tenants below \"research\", not of everybody");
  CHECK(o.groups.SetQuota(Principal::Host(), "common", kRootTenant, quota).ok());
  CHECK(
      absl::IsResourceExhausted(o.groups.Submit(o.User(o.ada), "common", o.Task(1, o.ada), kNow)));
}

TEST_CASE("Who is of no tenant may nothing, and asking says so") {
  Organisation o;
  const Principal stranger = o.User(77);
  CHECK(o.groups.Usable(stranger, WorkKind::batch).empty());
  CHECK(o.Refusal(o.groups.Submit(stranger, "common", o.Task(1, o.ada), kNow)) ==
        "task 1: tenant 77 may not act for \"research/vision/ada\"");
  CHECK(absl::IsInvalidArgument(o.groups.Submit(stranger, "common", o.Task(1, 77), kNow)));
  CHECK(absl::IsNotFound(o.groups.Withdraw(stranger, "common", 1, kNow)));
  Principal head = stranger;
  head.manages_tenants = true;
  CHECK(absl::IsPermissionDenied(o.groups.AddTenant(head, o.research, "x").status()));
  CHECK(absl::IsPermissionDenied(o.groups.SetQuota(head, "common", o.research, {})));
  CHECK(absl::IsNotFound(o.groups.SetQuota(head, "common", 77, {})));
}

TEST_CASE("What is asked about a group that there is not is refused, whatever it is") {
  Organisation o;
  const Principal host = Principal::Host();
  const TaskRequest task = o.Task(1, o.ada);
  const std::string none = "there is no resource group \"warehouse\"";
  CHECK(Message(o.groups.SetQuota(host, "warehouse", o.ada, {})) == none);
  CHECK(Message(o.groups.SetRules(host, "warehouse", {})) == none);
  CHECK(Message(o.groups.AddNode(host, "warehouse", "x", {}).status()) == none);
  CHECK(Message(o.groups.DrainNode(host, "warehouse", "x")) == none);
  CHECK(Message(o.groups.OpenNode(host, "warehouse", "x")) == none);
  CHECK(Message(o.groups.Submit(host, "warehouse", task, kNow)) == none);
  CHECK(Message(o.groups.Withdraw(host, "warehouse", 1, kNow)) == none);
  CHECK(Message(o.groups.Predict(host, "warehouse", task, kNow).status()) == none);
  CHECK(Message(o.groups.DrainNode(host, "lab", "x")) == "there is no node \"x\"");
  CHECK(Message(o.groups.OpenNode(host, "lab", "x")) == "there is no node \"x\"");
}

TEST_CASE("A group with wrong rules is not made, and rules that are wrong are not taken") {
  Organisation o;
  const Principal host = Principal::Host();
  GroupRules wrong;
  wrong.allowed = {o.ada, 77};
  const std::string unknown = "found the tenant 77 among the allowed, which does not exist";
  CHECK(Message(o.groups.AddGroup(host, "new", wrong, o.Options())) == unknown);
  CHECK(Message(o.groups.SetRules(host, "lab", wrong)) == unknown);
  CHECK(Message(o.groups.AddGroup(host, "", {}, o.Options())) ==
        "found an empty name, expected that of a group");
  CHECK(o.groups.Find("new") == nullptr);
  GroupRules two;
  two.allowed = {o.vision, o.sales};
  REQUIRE(o.groups.SetRules(host, "lab", two).ok());
  const std::string refused =
      "task 1: the resource group \"lab\" is for \"research/vision\", \"sales\", not for "
      "\"research\"";
  CHECK(o.Refusal(o.groups.Submit(host, "lab", o.Task(1, o.research), kNow)) == refused);
  CHECK(o.Refusal(o.groups.Predict(host, "lab", o.Task(1, o.research), kNow).status()) == refused);
  CHECK(o.groups.Predict(o.User(o.ada), "lab", o.Task(1, o.ada), kNow).ok());
  // What a scheduler refuses is refused here.
  CHECK(absl::IsAlreadyExists(o.groups.AddTenant(host, o.vision, "ada").status()));
  NodeCapacity capacity;
  capacity.architecture = 32;
  CHECK(absl::IsInvalidArgument(o.groups.AddNode(host, "common", "x", capacity).status()));
  capacity = NodeCapacity();
  capacity.cpu = -1;
  CHECK(absl::IsInvalidArgument(o.groups.AddNode(host, "common", "x", capacity).status()));
}

}  // namespace
}  // namespace trackbed
