// When and where a task will fit. Each node is looked at by itself: its running tasks end one after
// the other, and after each end we count how many members fit. The members' earliest times over all
// nodes, sorted, give the earliest time of the whole.
//
// What the running tasks leave is the same for all tasks of one demand, whatever their length,
// since room only grows as they end. So it is kept by demand. Only the few nodes on which a
// reservation lies are looked at for each task.
#include <algorithm>
#include <utility>

#include "scheduling/devices.hpp"
#include "scheduling/scheduler_state.hpp"

namespace trackbed {
namespace {

constexpr size_t kMostKept = 64;

// What holds room on one node from `from` to `to`.
struct Interval {
  Time from;
  Time to;
  const Demand* demand;
  const Placement* placement;
};

// True when the room of the reservation is not for the task to take.
bool InTheWay(const SchedulerState& state, const Reservation& reservation, const TaskState& task,
              bool behind_all, Time now) {
  if (behind_all) return &state.tasks[reservation.task] != &task;
  return state.Binds(reservation, task, now);
}

std::vector<Interval> IntervalsOn(const SchedulerState& state, const TaskState& task,
                                  NodeIndex node, bool behind_all, Time now) {
  std::vector<Interval> intervals;
  state.ForEachOn(node, [&](const TaskState& other, const Placement& placement) {
    intervals.push_back(
        {Time::min(), state.ExpectedEnd(other, now), &other.request.demand, &placement});
  });
  for (const Reservation& reservation : state.reservations) {
    if (!InTheWay(state, reservation, task, behind_all, now)) continue;
    const TaskState& holder = state.tasks[reservation.task];
    for (const Placement& placement : reservation.members) {
      if (placement.node != node) continue;
      intervals.push_back({reservation.start, Later(reservation.start, holder.expected),
                           &holder.request.demand, &placement});
    }
  }
  return intervals;
}

// What is free at every moment from `from` to `to`: less than the truth where intervals that do
// not overlap each other both overlap this time, never more.
NodeState RoomBetween(const SchedulerState& state, NodeIndex node, Time from, Time to,
                      const std::vector<Interval>& intervals) {
  NodeState room = EmptyRoom(state.cluster.capacity(node));
  for (const Interval& interval : intervals) {
    if (interval.to <= from || interval.from >= to) continue;
    SubtractRoom(*interval.demand, *interval.placement, &room);
  }
  return room;
}

// What the running tasks and the reservations that bind the holder leave for this reservation.
NodeState RoomFor(const SchedulerState& state, const Reservation& reservation, NodeIndex node,
                  Time now) {
  const TaskState& holder = state.tasks[reservation.task];
  const Time end = Later(reservation.start, holder.expected);
  NodeState room = EmptyRoom(state.cluster.capacity(node));
  state.ForEachOn(node, [&](const TaskState& other, const Placement& placement) {
    if (state.ExpectedEnd(other, now) <= reservation.start) return;
    SubtractRoom(other.request.demand, placement, &room);
  });
  for (const Reservation& other : state.reservations) {
    const TaskState& other_holder = state.tasks[other.task];
    if (other.start >= end || Later(other.start, other_holder.expected) <= reservation.start ||
        !state.Binds(other, holder, now)) {
      continue;
    }
    for (const Placement& member : other.members) {
      if (member.node == node) SubtractRoom(other_holder.request.demand, member, &room);
    }
  }
  return room;
}

// Takes the reservation's own members on the node; false when one finds no room.
bool TakeMembers(const SchedulerState& state, const Reservation& reservation, NodeIndex node,
                 NodeState* room) {
  const Demand& demand = state.tasks[reservation.task].request.demand;
  for (const Placement& member : reservation.members) {
    if (member.node != node) continue;
    if (!HasRoom(demand, member, *room)) return false;
    SubtractRoom(demand, member, room);
  }
  return true;
}

// Looks at one node anew: the earliest times of up to `most` members.
void Renew(const SchedulerState& state, const Demand& demand, NodeIndex node, Time now,
           LookAhead* kept) {
  LookAhead::OnNode& members = kept->on_node[node];
  for (uint32_t i = 0; i < members.size(); ++i) {
    kept->earliest.erase({members[i].first, node, i});
  }
  members.clear();
  if (kept->expires[node] != kNever) kept->expiring.erase({kept->expires[node], node});
  kept->expires[node] = kNever;
  if (!state.cluster.state(node).open || !state.cluster.FitsEmpty(node, demand)) return;
  struct End {
    Time time;
    const Demand* demand;
    const Placement* placement;
  };
  absl::InlinedVector<End, 32> ends;
  state.ForEachOn(node, [&](const TaskState& other, const Placement& placement) {
    ends.push_back({state.ExpectedEnd(other, now), &other.request.demand, &placement});
  });
  std::sort(ends.begin(), ends.end(), [](const End& a, const End& b) { return a.time < b.time; });
  const NodeCapacity& capacity = state.cluster.capacity(node);
  NodeState room = state.cluster.state(node);
  Placement placement;
  placement.node = node;
  auto end = ends.begin();
  for (Time start = now; start != kNever; start = end->time) {
    for (; end != ends.end() && end->time <= start; ++end) {
      ReturnRoom(*end->demand, *end->placement, &room);
    }
    if (start == now && end != ends.end() && end->time != kNever) {
      kept->expires[node] = end->time;
      kept->expiring.emplace(end->time, node);
    }
    while (members.size() < kept->most && TakeRoom(capacity, demand, &room, &placement)) {
      const Time time = start == now ? Time::min() : start;
      kept->earliest.emplace(time, node, static_cast<uint32_t>(members.size()));
      members.emplace_back(time, placement);
    }
    if (members.size() == kept->most || end == ends.end()) return;
  }
}

// The same for one task, with the reservations on the node.
LookAhead::OnNode MembersBeside(const SchedulerState& state, const TaskState& task, NodeIndex node,
                                size_t most, bool behind_all, Time now) {
  LookAhead::OnNode members;
  if (!state.cluster.state(node).open || !state.cluster.FitsEmpty(node, task.request.demand)) {
    return members;
  }
  const std::vector<Interval> intervals = IntervalsOn(state, task, node, behind_all, now);
  std::vector<Time> starts = {now};
  for (const Interval& interval : intervals) {
    if (interval.to > now && interval.to != kNever) starts.push_back(interval.to);
  }
  std::sort(starts.begin(), starts.end());
  starts.erase(std::unique(starts.begin(), starts.end()), starts.end());
  for (const Time start : starts) {
    NodeState room = RoomBetween(state, node, start, Later(start, task.expected), intervals);
    for (const auto& [time, placement] : members) {
      SubtractRoom(task.request.demand, placement, &room);
    }
    Placement placement;
    placement.node = node;
    while (members.size() < most &&
           TakeRoom(state.cluster.capacity(node), task.request.demand, &room, &placement)) {
      members.emplace_back(start == now ? Time::min() : start, placement);
    }
    if (members.size() == most) break;
  }
  return members;
}

}  // namespace

LookAhead& LookAheads::Follow(const SchedulerState& state, const Demand& demand, size_t most,
                              Time now) {
  auto found = kept_.find(demand);
  if (found == kept_.end()) {
    if (kept_.size() >= kMostKept) {
      // The one not asked for longest.
      auto oldest = kept_.begin();
      for (auto entry = kept_.begin(); entry != kept_.end(); ++entry) {
        if (entry->second->asked < oldest->second->asked) oldest = entry;
      }
      kept_.erase(oldest);
    }
    found = kept_.emplace(demand, std::make_unique<LookAhead>()).first;
  }
  LookAhead& kept = *found->second;
  const Cluster& cluster = state.cluster;
  if (kept.on_node.size() != cluster.size() || kept.most < most ||
      kept.seen < cluster.first_change()) {
    most = std::max(most, kept.most);
    kept = LookAhead();
    kept.most = most;
    kept.on_node.resize(cluster.size());
    kept.expires.resize(cluster.size(), kNever);
    for (NodeIndex node = 0; node < cluster.size(); ++node) Renew(state, demand, node, now, &kept);
  } else {
    std::vector<NodeIndex> stale = std::exchange(kept.stopped, {});
    for (uint64_t i = kept.seen; i < cluster.end_change(); ++i) stale.push_back(cluster.Changed(i));
    for (const auto& [time, node] : kept.expiring) {
      if (time > now) break;
      stale.push_back(node);
    }
    std::sort(stale.begin(), stale.end());
    stale.erase(std::unique(stale.begin(), stale.end()), stale.end());
    for (const NodeIndex node : stale) Renew(state, demand, node, now, &kept);
  }
  kept.seen = cluster.end_change();
  kept.asked = ++asked_;
  return kept;
}

void LookAheads::Stops(NodeIndex node) {
  for (auto& [demand, kept] : kept_) kept->stopped.push_back(node);
}

std::optional<Reservation> LookAheads::EarliestStart(const SchedulerState& state,
                                                     const TaskState& task, Time now,
                                                     bool behind_all) {
  const size_t members = task.request.members;
  const size_t most = task.request.on_different_nodes ? 1 : members;
  const LookAhead& kept = Follow(state, task.request.demand, most, now);
  std::vector<NodeIndex> beside;
  for (const Reservation& reservation : state.reservations) {
    if (!InTheWay(state, reservation, task, behind_all, now)) continue;
    for (const Placement& member : reservation.members) beside.push_back(member.node);
  }
  std::sort(beside.begin(), beside.end());
  beside.erase(std::unique(beside.begin(), beside.end()), beside.end());
  std::vector<std::pair<LookAhead::Member, Placement>> others;
  for (const NodeIndex node : beside) {
    uint32_t number = 0;
    for (const auto& [time, placement] : MembersBeside(state, task, node, most, behind_all, now)) {
      others.emplace_back(LookAhead::Member{time, node, number++}, placement);
    }
  }
  std::sort(others.begin(), others.end(),
            [](const auto& a, const auto& b) { return a.first < b.first; });
  Reservation reservation;
  reservation.start = now;
  auto other = others.begin();
  auto first = kept.earliest.begin();
  while (reservation.members.size() < members) {
    while (first != kept.earliest.end() &&
           (std::get<2>(*first) >= most ||
            std::binary_search(beside.begin(), beside.end(), std::get<1>(*first)))) {
      ++first;
    }
    if (other != others.end() && (first == kept.earliest.end() || other->first < *first)) {
      reservation.start = std::max(reservation.start, std::get<0>(other->first));
      reservation.members.push_back(other->second);
      ++other;
    } else if (first != kept.earliest.end()) {
      const auto& [time, node, number] = *first;
      reservation.start = std::max(reservation.start, time);
      reservation.members.push_back(kept.on_node[node][number].second);
      ++first;
    } else {
      return std::nullopt;
    }
  }
  return reservation;
}

bool Holds(const SchedulerState& state, const Reservation& reservation, Time now) {
  if (reservation.start <= now) return false;
  for (size_t i = 0; i < reservation.members.size(); ++i) {
    const NodeIndex node = reservation.members[i].node;
    if (!state.cluster.state(node).open) return false;
    bool looked_at = false;
    for (size_t j = 0; j < i; ++j) looked_at |= reservation.members[j].node == node;
    if (looked_at) continue;
    NodeState room = RoomFor(state, reservation, node, now);
    if (!TakeMembers(state, reservation, node, &room)) return false;
  }
  return true;
}

NodeState RoomBesideClaims(const SchedulerState& state, NodeIndex node, size_t claims,
                           const TaskState* holder) {
  NodeState room = state.cluster.state(node);
  for (size_t i = 0; i < claims; ++i) {
    const TaskState& other = state.tasks[state.reservations[i].task];
    if (&other == holder) continue;
    for (const Placement& member : state.reservations[i].members) {
      if (member.node == node) SubtractRoom(other.request.demand, member, &room);
    }
  }
  return room;
}

bool LeavesReservations(const SchedulerState& state, const TaskState& task,
                        const Placements& earlier, const Placement& placement, Time now,
                        TaskId* delayed) {
  const Time end = Later(now, task.expected);
  for (const Reservation& reservation : state.reservations) {
    if (end <= reservation.start) continue;
    const bool here =
        std::any_of(reservation.members.begin(), reservation.members.end(),
                    [&](const Placement& member) { return member.node == placement.node; });
    if (!here || !state.Binds(reservation, task, now)) continue;
    if (reservation.claim) {
      // The members before this one are taken already.
      const size_t claims = state.Claims();
      if (HasRoom(task.request.demand, placement,
                  RoomBesideClaims(state, placement.node, claims, &task))) {
        continue;
      }
      *delayed = state.tasks[reservation.task].request.id;
      return false;
    }
    NodeState room = RoomFor(state, reservation, placement.node, now);
    for (const Placement& other : earlier) {
      if (other.node == placement.node) SubtractRoom(task.request.demand, other, &room);
    }
    SubtractRoom(task.request.demand, placement, &room);
    if (!TakeMembers(state, reservation, placement.node, &room)) {
      *delayed = state.tasks[reservation.task].request.id;
      return false;
    }
  }
  return true;
}

std::optional<NodeState> WhatMayBeShared(const SchedulerState& state, NodeIndex node, Time now) {
  const Reservation& reservation = state.reservations.front();
  const NodeState& free = state.cluster.state(node);
  NodeState room = RoomFor(state, reservation, node, now);
  if (!TakeMembers(state, reservation, node, &room)) return std::nullopt;
  room.cpu = std::min(room.cpu, free.cpu);
  room.memory = std::min(room.memory, free.memory);
  for (size_t i = 0; i < kMaxCounted; ++i) {
    room.counted[i] = std::min(room.counted[i], free.counted[i]);
  }
  for (size_t i = 0; i < kMaxDevices; ++i) {
    room.device[i] = std::min(room.device[i], free.device[i]);
  }
  return room;
}

bool MayShare(const std::optional<NodeState>& room, const NodeCapacity& capacity,
              const Demand& demand) {
  return !room || (HasUnscored(*room, demand) && HasRoom(capacity, *room, demand));
}

bool RoomBesideReservations(const SchedulerState& state, const TaskState& task, NodeIndex node,
                            Time now, Placement* placement) {
  NodeState room = state.cluster.state(node);
  const Time end = Later(now, task.expected);
  for (const Reservation& reservation : state.reservations) {
    if (end <= reservation.start || !state.Binds(reservation, task, now)) continue;
    const TaskState& holder = state.tasks[reservation.task];
    for (const Placement& member : reservation.members) {
      if (member.node == node) SubtractRoom(holder.request.demand, member, &room);
    }
  }
  return TakeRoom(state.cluster.capacity(node), task.request.demand, &room, placement);
}

}  // namespace trackbed
