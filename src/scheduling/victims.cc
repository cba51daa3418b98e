// Which running tasks make room for one that waits.
//
// Two rules, which cannot turn in circles. By priority: the victim's priority is strictly lower,
// and it is not below its guarantee while the other borrows. By guarantee: the task stays within
// what is guaranteed to its tenant, and the victim's tenant keeps all that is guaranteed to it.
// An eviction for a guarantee raises what is met of guarantees; one for a priority raises the
// priorities that run, compared from the highest down. So no two tasks evict each other for ever.
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
      : state_(state), task_(task), now_(now) {
    // What stops already is as good as gone, and what it stops for as good as there: else the same
    // guarantee would be counted for several.
    for (const TaskSlot slot : state.stopping) Stop(state.tasks[slot]);
    UseChange claimed;
    for (const Reservation& reservation : state.reservations) {
      if (!reservation.claim || &state.tasks[reservation.task] == &task) continue;
      const TaskRequest& request = state.tasks[reservation.task].request;
      claimed.Starts(state.tenancy, request.tenant, state.Charge(request));
    }
    borrows_ = state.tenancy.WouldBorrow(task.request.tenant, state.Charge(task.request), claimed);
  }

  bool borrows() const { return borrows_; }

  bool MayStop(const TaskState& victim, Eviction::Cause* cause) const {
    if (victim.stopping || !victim.request.preemptible || victim.request.kind == WorkKind::system ||
        now_ - victim.started < state_.policy.minimum_run_time) {
      return false;
    }
    const bool spare =
        state_.tenancy.CanGiveBack(victim.request.tenant, state_.Charge(victim.request), change_);
    if (state_.policy.preempt_by_priority && victim.request.priority < task_.request.priority &&
        (spare || !borrows_)) {
      *cause = Eviction::Cause::priority;
      return true;
    }
    if (state_.policy.reclaim && !borrows_ && spare) {
      *cause = Eviction::Cause::reclaim;
      return true;
    }
    return false;
  }

  void Stop(const TaskState& victim) {
    change_.Ends(state_.tenancy, victim.request.tenant, state_.Charge(victim.request));
  }

  bool MayStartNow() const {
    QuotaRefusal refusal;
    return state_.tenancy.MayStart(task_.request.tenant, state_.Charge(task_.request), change_,
                                   &refusal);
  }

 private:
  const SchedulerState& state_;
  const TaskState& task_;
  const Time now_;
  UseChange change_;
  bool borrows_ = true;
};

// Who goes first: the least important, then who has lost least by it.
bool GoesBefore(const TaskState& a, const TaskState& b) {
  if (a.request.priority != b.request.priority) return a.request.priority < b.request.priority;
  if (a.started != b.started) return a.started > b.started;
  return a.rank.order > b.rank.order;
}

}  // namespace

std::optional<Victims> ChooseVictims(const SchedulerState& state, const TaskState& task, Time now) {
  Draft draft(state, task, now);
  Victims chosen;
  std::set<TaskSlot> gone;
  const Demand& demand = task.request.demand;
  // What is free on a node once the victims so far are gone and the members so far are there.
  const auto room_of = [&](NodeIndex node) {
    NodeState room = state.cluster.state(node);
    const TaskState* last = nullptr;
    for (const TaskSlot slot : state.on_node[node]) {
      const TaskState& other = state.tasks[slot];
      if (&other == last || (!gone.contains(slot) && !other.stopping)) continue;
      last = &other;
      for (const Placement& placement : other.members) {
        if (placement.node == node) ReturnRoom(other.request.demand, placement, &room);
      }
    }
    // What is stopping already stops for somebody.
    for (const Reservation& reservation : state.reservations) {
      if (!reservation.claim) continue;
      for (const Placement& member : reservation.members) {
        if (member.node != node) continue;
        SubtractRoom(state.tasks[reservation.task].request.demand, member, &room);
      }
    }
    for (const Placement& member : chosen.members) {
      if (member.node == node) SubtractRoom(demand, member, &room);
    }
    return room;
  };

  for (uint32_t member = 0; member < task.request.members; ++member) {
    struct Choice {
      std::vector<TaskSlot> victims;
      Placement placement;
      int32_t priority = 0;  // of the most important victim
      size_t stopped = 0;    // members in all
      Duration lost{0};      // of work, by all members
    };
    std::optional<Choice> best;
    for (NodeIndex node = 0; node < state.cluster.size(); ++node) {
      if (!state.cluster.state(node).open || !state.cluster.FitsEmpty(node, demand)) continue;
      if (task.request.on_different_nodes &&
          std::any_of(chosen.members.begin(), chosen.members.end(),
                      [&](const Placement& other) { return other.node == node; })) {
        continue;
      }
      const NodeCapacity& capacity = state.cluster.capacity(node);
      std::vector<TaskSlot> candidates;
      for (const TaskSlot slot : state.on_node[node]) {
        Eviction::Cause cause;
        if (gone.contains(slot) || !draft.MayStop(state.tasks[slot], &cause)) continue;
        if (candidates.empty() || candidates.back() != slot) candidates.push_back(slot);
      }
      std::sort(candidates.begin(), candidates.end(),
                [&](TaskSlot a, TaskSlot b) { return GoesBefore(state.tasks[a], state.tasks[b]); });
      candidates.erase(std::unique(candidates.begin(), candidates.end()), candidates.end());
      NodeState room = room_of(node);
      Choice choice;
      choice.placement.node = node;
      const auto fits = [&](NodeState with) {
        return TakeRoom(capacity, demand, &with, &choice.placement);
      };
      const auto members_here = [&](TaskSlot slot, auto&& act) {
        for (const Placement& placement : state.tasks[slot].members) {
          if (placement.node == node) act(state.tasks[slot].request.demand, placement);
        }
      };
      // Each victim so far changes who else may be one: a draft for this node.
      Draft local = draft;
      for (const TaskSlot slot : candidates) {
        if (fits(room)) break;
        Eviction::Cause cause;
        if (!local.MayStop(state.tasks[slot], &cause)) continue;
        local.Stop(state.tasks[slot]);
        members_here(slot, [&](const Demand& d, const Placement& p) { ReturnRoom(d, p, &room); });
        choice.victims.push_back(slot);
      }
      if (!fits(room)) continue;
      // Whoever is not needed is spared, the most important first.
      for (size_t i = choice.victims.size(); i-- > 0;) {
        NodeState without = room;
        members_here(choice.victims[i],
                     [&](const Demand& d, const Placement& p) { SubtractRoom(d, p, &without); });
        if (!fits(without)) continue;
        room = without;
        choice.victims.erase(choice.victims.begin() + static_cast<ptrdiff_t>(i));
      }
      fits(room);
      choice.priority = INT32_MIN;
      for (const TaskSlot slot : choice.victims) {
        choice.priority = std::max(choice.priority, state.tasks[slot].request.priority);
        choice.stopped += state.tasks[slot].members.size();
        choice.lost += now - state.tasks[slot].started;
      }
      if (!best ||
          std::pair(choice.priority, choice.stopped) < std::pair(best->priority, best->stopped)) {
        best = std::move(choice);
      }
    }
    if (!best) return std::nullopt;
    for (const TaskSlot slot : best->victims) {
      Eviction::Cause cause;
      if (!draft.MayStop(state.tasks[slot], &cause)) return std::nullopt;
      chosen.cause = cause;
      draft.Stop(state.tasks[slot]);
      gone.insert(slot);
      chosen.tasks.push_back(slot);
    }
    chosen.members.push_back(best->placement);
  }
  if (chosen.tasks.empty() || !draft.MayStartNow()) return std::nullopt;
  return chosen;
}

std::optional<Victims> ChooseQuotaVictims(const SchedulerState& state, const TaskState& task,
                                          const QuotaRefusal& refusal, Time now) {
  if (!state.policy.reclaim || refusal.rule != QuotaRefusal::Rule::limit) return std::nullopt;
  Draft draft(state, task, now);
  if (draft.borrows()) return std::nullopt;
  std::vector<TaskSlot> candidates;
  for (TaskSlot slot = 0; slot < state.tasks.size(); ++slot) {
    const TaskState& other = state.tasks[slot];
    if (!other.known || !other.running || other.stopping) continue;
    if (IsBelow(state.tenancy, other.request.tenant, refusal.tenant)) candidates.push_back(slot);
  }
  if (draft.MayStartNow()) return std::nullopt;  // those that stop already are enough
  std::sort(candidates.begin(), candidates.end(),
            [&](TaskSlot a, TaskSlot b) { return GoesBefore(state.tasks[a], state.tasks[b]); });
  Victims chosen;
  chosen.cause = Eviction::Cause::reclaim;
  for (const TaskSlot slot : candidates) {
    Eviction::Cause cause;
    if (!draft.MayStop(state.tasks[slot], &cause) || cause != Eviction::Cause::reclaim) continue;
    draft.Stop(state.tasks[slot]);
    chosen.tasks.push_back(slot);
    if (draft.MayStartNow()) return chosen;
  }
  return std::nullopt;
}

}  // namespace trackbed
