// Which running tasks make room for one that waits.
//
// A guarantee is met by a tenant's most important tasks first; what the others use is borrowed. A
// task is *spare* when without it the tasks of its tenant that are at least as important still use
// all that is guaranteed. There are two rules:
//
//   by guarantee  the task stays within what is guaranteed to its tenant, beside all that runs for
//                 it, and the victim is spare;
//   by priority   the victim's priority is strictly lower, and it is spare or the task stays within
//                 its guarantee beside what is at least as important.
//
// They cannot turn in circles. Let G(p) be what is met of all guarantees by tasks of priority p or
// more. A task within its guarantee raises G at its own priority; a spare victim lowers G nowhere,
// and one of lower priority only below that of the task. So an eviction raises the G's, compared
// from the highest priority down, or it leaves none of them lower and raises the priorities that
// run, compared in the same way. This counts what was told to stop as gone and what it was told to
// stop for as there: nothing else may take the room or the quota of a claim.
#include <algorithm>
#include <set>
#include <tuple>

#include "scheduling/scheduler_state.hpp"

namespace trackbed {
namespace {

bool IsBelow(const Tenancy& tenancy, TenantIndex tenant, TenantIndex ancestor) {
  while (tenant != ancestor && tenant != kRootTenant) tenant = tenancy.parent(tenant);
  return tenant == ancestor;
}

// Who may be stopped once the victims chosen so far are gone.
class Draft {
 public:
  Draft(const SchedulerState& state, const TaskState& task, Time now)
      : state_(state),
        task_(task),
        charge_(state.Charge(task.request)),
        now_(now),
        quota_(state.Claimed(state.Claims())) {
    for (const TaskSlot slot : state.stopping) Stop(state.tasks[slot]);
    for (const Reservation& reservation : state.reservations) {
      if (!reservation.claim) break;
      Count(state.tasks[reservation.task].request, 1);
    }
    Count(task.request, 1);
    within_guarantee_ = StaysWithin(INT32_MIN);
    within_with_important_ = StaysWithin(task.request.priority);
  }

  bool MayStop(const TaskState& victim, Eviction::Cause* cause) const {
    if (victim.stopping || !SchedulerState::MayBeStopped(victim.request) ||
        victim.started_in == state_.schedules ||
        now_ - victim.started < state_.policy.minimum_run_time) {
      return false;
    }
    const bool lower =
        state_.policy.preempt_by_priority && victim.request.priority < task_.request.priority;
    const bool reclaims = state_.policy.reclaim && within_guarantee_;
    if (!lower && !reclaims) return false;
    *cause = lower ? Eviction::Cause::priority : Eviction::Cause::reclaim;
    return (lower && within_with_important_) || IsSpare(victim.request);
  }

  void Stop(const TaskState& victim) {
    quota_.Ends(state_.tenancy, victim.request.tenant, state_.Charge(victim.request));
    Count(victim.request, -1);
  }

  // Whether the quotas admit the task then.
  bool MayStart(QuotaRefusal* refusal) const {
    return state_.tenancy.MayStart(task_.request.tenant, charge_, quota_, refusal);
  }

 private:
  void Count(const TaskRequest& request, int64_t times) {
    change_.Count(state_.tenancy, request.tenant, request.priority, state_.Charge(request), times);
  }

  int64_t Use(TenantIndex tenant, int32_t priority, size_t resource) const {
    return state_.use.AtLeast(tenant, priority, resource) +
           change_.AtLeast(tenant, priority, resource);
  }

  // Whether some of what the task takes is guaranteed, and no more at any level beside the tasks
  // of at least this priority.
  bool StaysWithin(int32_t priority) const {
    bool guaranteed = false;
    for (TenantIndex at = task_.request.tenant; at != kRootTenant; at = state_.tenancy.parent(at)) {
      const Amounts& limits = state_.tenancy.quota(at).guaranteed;
      for (size_t i = 0; i < kMaxResources; ++i) {
        if (charge_[i] == 0 || limits[i] == 0) continue;
        guaranteed = true;
        if (Use(at, priority, i) > limits[i]) return false;
      }
    }
    return guaranteed;
  }

  bool IsSpare(const TaskRequest& victim) const {
    const Amounts amounts = state_.Charge(victim);
    for (TenantIndex at = victim.tenant; at != kRootTenant; at = state_.tenancy.parent(at)) {
      const Amounts& guaranteed = state_.tenancy.quota(at).guaranteed;
      for (size_t i = 0; i < kMaxResources; ++i) {
        if (amounts[i] == 0 || guaranteed[i] == 0) continue;
        if (Use(at, victim.priority, i) - amounts[i] < guaranteed[i]) return false;
      }
    }
    return true;
  }

  const SchedulerState& state_;
  const TaskState& task_;
  const Amounts charge_;
  const Time now_;
  UseChange quota_;
  UseByPriority change_;  // with the task as if it ran
  bool within_guarantee_ = false;
  bool within_with_important_ = false;
};

// Who goes first: the least important, then who has lost least by it.
bool GoesBefore(const TaskState& a, const TaskState& b) {
  if (a.request.priority != b.request.priority) return a.request.priority < b.request.priority;
  if (a.started != b.started) return a.started > b.started;
  return a.rank.order > b.rank.order;
}

class Search {
 public:
  Search(const SchedulerState& state, const TaskState& task, Time now)
      : state_(state), task_(task), now_(now), draft_(state, task, now) {}

  std::optional<Victims> Run() {
    if (!SatisfyQuotas()) return std::nullopt;
    while (chosen_.members.size() < task_.request.members) {
      if (!PlaceMember()) return std::nullopt;
    }
    SpareWhomItCan();
    if (chosen_.tasks.empty()) return std::nullopt;
    return std::move(chosen_);
  }

 private:
  // One way to place a member.
  struct Choice {
    std::vector<Victims::Victim> victims;
    Placement placement;
    int32_t priority = INT32_MIN;  // of the most important victim
    size_t stopped = 0;            // members in all
    Duration lost{0};              // of work, by all members

    auto Harm() const { return std::tuple(priority, stopped, lost); }
  };

  bool IsGone(TaskSlot slot) const { return state_.tasks[slot].stopping || gone_.contains(slot); }

  std::vector<TaskSlot> InOrder(std::vector<TaskSlot> slots) const {
    std::sort(slots.begin(), slots.end(),
              [&](TaskSlot a, TaskSlot b) { return GoesBefore(state_.tasks[a], state_.tasks[b]); });
    slots.erase(std::unique(slots.begin(), slots.end()), slots.end());
    return slots;
  }

  void Stop(const Victims::Victim& victim) {
    draft_.Stop(state_.tasks[victim.task]);
    gone_.insert(victim.task);
    chosen_.tasks.push_back(victim);
  }

  // Stops tasks of those tenants whose limits are in the way, as far as these are no others'.
  bool SatisfyQuotas() {
    std::vector<TaskSlot> running;
    QuotaRefusal refusal;
    while (!draft_.MayStart(&refusal)) {
      if (running.empty()) {
        for (TaskSlot slot = 0; slot < state_.tasks.size(); ++slot) {
          const TaskState& other = state_.tasks[slot];
          if (other.known && other.running) running.push_back(slot);
        }
        running = InOrder(std::move(running));
      }
      Eviction::Cause cause;
      const auto helps = [&](TaskSlot slot) {
        const TaskState& other = state_.tasks[slot];
        return !gone_.contains(slot) &&
               IsBelow(state_.tenancy, other.request.tenant, refusal.tenant) &&
               (refusal.rule != QuotaRefusal::Rule::limit ||
                state_.Charge(other.request)[refusal.resource] > 0) &&
               draft_.MayStop(other, &cause);
      };
      const auto victim = std::find_if(running.begin(), running.end(), helps);
      if (victim == running.end()) return false;
      Stop({*victim, cause});
    }
    return true;
  }

  // What is free on a node once the victims so far are gone, without the members so far.
  NodeState RoomOf(NodeIndex node) const {
    NodeState room = state_.cluster.state(node);
    const std::vector<TaskSlot>& there = state_.on_node[node];
    for (auto slot = there.begin(); slot != there.end(); ++slot) {
      // A gang is listed once for each member here.
      if (!IsGone(*slot) || std::find(there.begin(), slot, *slot) != slot) continue;
      ForEachMemberOn(node, *slot, [&](const Demand& of, const Placement& placement) {
        ReturnRoom(of, placement, &room);
      });
    }
    // What is stopping already stops for somebody.
    for (const Reservation& reservation : state_.reservations) {
      if (!reservation.claim) break;
      const Demand& demand = state_.tasks[reservation.task].request.demand;
      for (const Placement& member : reservation.members) {
        if (member.node == node) SubtractRoom(demand, member, &room);
      }
    }
    return room;
  }

  template <typename Act>
  void ForEachMemberOn(NodeIndex node, TaskSlot slot, Act&& act) const {
    const TaskState& task = state_.tasks[slot];
    for (uint32_t member = 0; member < task.members.size(); ++member) {
      if (task.members[member].node != node || task.IsLost(member)) continue;
      act(task.request.demand, task.members[member]);
    }
  }

  // The next member, on the node where it does least harm.
  bool PlaceMember() {
    std::optional<Choice> best;
    for (NodeIndex node = 0; node < state_.cluster.size(); ++node) {
      std::optional<Choice> choice = PlaceOn(node);
      if (choice && (!best || choice->Harm() < best->Harm())) best = std::move(choice);
    }
    if (!best) return false;
    for (const Victims::Victim& victim : best->victims) Stop(victim);
    chosen_.members.push_back(best->placement);
    return true;
  }

  std::optional<Choice> PlaceOn(NodeIndex node) const {
    const Demand& demand = task_.request.demand;
    if (!state_.cluster.state(node).open || !state_.cluster.FitsEmpty(node, demand)) {
      return std::nullopt;
    }
    const auto here = [&](const Placement& other) { return other.node == node; };
    if (task_.request.on_different_nodes &&
        std::any_of(chosen_.members.begin(), chosen_.members.end(), here)) {
      return std::nullopt;
    }
    NodeState room = RoomOf(node);
    for (const Placement& member : chosen_.members) {
      if (member.node == node) SubtractRoom(demand, member, &room);
    }
    const std::vector<TaskSlot> there = InOrder(state_.on_node[node]);
    std::optional<Choice> best = StopInOrder(node, room, there);
    if (!best || best->victims.size() > 1) {
      // One may do where those that go before it do not, or do only together.
      for (const TaskSlot slot : there) {
        std::optional<Choice> choice = StopInOrder(node, room, {slot});
        if (choice && (!best || choice->Harm() < best->Harm())) best = std::move(choice);
      }
    }
    return best;
  }

  // Stops one after the other until a member fits into what is then left of `room`.
  std::optional<Choice> StopInOrder(NodeIndex node, NodeState room,
                                    const std::vector<TaskSlot>& candidates) const {
    Choice choice;
    choice.placement.node = node;
    const auto fits = [&](NodeState with) {
      return TakeRoom(state_.cluster.capacity(node), task_.request.demand, &with,
                      &choice.placement);
    };
    if (fits(room)) return choice;
    // Each victim so far changes who else may be one: a draft for this node.
    Draft local = draft_;
    for (const TaskSlot slot : candidates) {
      if (fits(room)) break;
      Eviction::Cause cause{};
      if (IsGone(slot) || !local.MayStop(state_.tasks[slot], &cause)) continue;
      local.Stop(state_.tasks[slot]);
      ForEachMemberOn(node, slot, [&](const Demand& of, const Placement& placement) {
        ReturnRoom(of, placement, &room);
      });
      choice.victims.push_back({slot, cause});
    }
    if (!fits(room)) return std::nullopt;
    // Whoever is not needed is spared, the most important first.
    for (size_t i = choice.victims.size(); i-- > 0;) {
      NodeState without = room;
      ForEachMemberOn(node, choice.victims[i].task,
                      [&](const Demand& of, const Placement& placement) {
                        SubtractRoom(of, placement, &without);
                      });
      if (!fits(without)) continue;
      room = without;
      choice.victims.erase(choice.victims.begin() + static_cast<ptrdiff_t>(i));
    }
    fits(room);
    for (const auto& [slot, cause] : choice.victims) {
      const TaskState& victim = state_.tasks[slot];
      choice.priority = std::max(choice.priority, victim.request.priority);
      choice.stopped += victim.members.size();
      choice.lost += (now_ - victim.started) * static_cast<int64_t>(victim.members.size());
    }
    return choice;
  }

  // Whom later choices have made needless goes on, the last chosen first. With fewer gone, all
  // others are as spare as before.
  void SpareWhomItCan() {
    for (size_t i = chosen_.tasks.size(); i-- > 0;) {
      const TaskSlot spared = chosen_.tasks[i].task;
      gone_.erase(spared);
      if (StillFits(spared)) {
        chosen_.tasks.erase(chosen_.tasks.begin() + static_cast<ptrdiff_t>(i));
      } else {
        gone_.insert(spared);
      }
    }
  }

  // Whether the members keep their places, and the quotas admit the task, now that this one stays.
  bool StillFits(TaskSlot stays) const {
    Draft draft(state_, task_, now_);
    for (const TaskSlot slot : gone_) draft.Stop(state_.tasks[slot]);
    QuotaRefusal refusal;
    if (!draft.MayStart(&refusal)) return false;
    for (const Placement& place : state_.tasks[stays].members) {
      NodeState room = RoomOf(place.node);
      for (const Placement& member : chosen_.members) {
        if (member.node != place.node) continue;
        if (!HasRoom(task_.request.demand, member, room)) return false;
        SubtractRoom(task_.request.demand, member, &room);
      }
    }
    return true;
  }

  const SchedulerState& state_;
  const TaskState& task_;
  const Time now_;
  Draft draft_;
  std::set<TaskSlot> gone_;  // the victims so far
  Victims chosen_;
};

}  // namespace

std::optional<Victims> ChooseVictims(const SchedulerState& state, const TaskState& task, Time now) {
  return Search(state, task, now).Run();
}

}  // namespace trackbed
