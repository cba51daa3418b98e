// When and where a task will fit. Each node is looked at by itself: its running tasks end one after
// the other, and after each end we count how many members fit. The members' earliest times over all
// nodes, sorted, give the earliest time of the whole.
#include <algorithm>

#include "scheduling/scheduler_state.hpp"

namespace trackbed {
namespace {

// What holds room on one node from `from` to `to`.
struct Interval {
  Time from;
  Time to;
  const Demand* demand;
  const Placement* placement;
};

Time EndOf(Time start, Duration length) {
  return start > kNever - length ? kNever : start + length;
}

std::vector<Interval> IntervalsOn(const SchedulerState& state, const TaskState& task,
                                  NodeIndex node, Time now) {
  std::vector<Interval> intervals;
  const TaskState* last = nullptr;
  for (const TaskSlot slot : state.on_node[node]) {
    const TaskState& other = state.tasks[slot];
    if (&other == last) continue;  // a gang with several members here: they lie side by side
    last = &other;
    const Time end = state.ExpectedEnd(other, now);
    for (const Placement& placement : other.members) {
      if (placement.node != node) continue;
      intervals.push_back({Time::min(), end, &other.request.demand, &placement});
    }
  }
  for (const Reservation& reservation : state.reservations) {
    if (!state.Binds(reservation, task, now)) continue;
    const TaskState& holder = state.tasks[reservation.task];
    for (const Placement& placement : reservation.members) {
      if (placement.node != node) continue;
      intervals.push_back({reservation.start, EndOf(reservation.start, holder.expected),
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

// Looks at one node anew: the earliest times of up to `most` members.
void Renew(const SchedulerState& state, const TaskState& task, NodeIndex node, Time now,
           size_t most, LookAhead* kept) {
  auto& members = kept->on_node[node];
  for (uint32_t i = 0; i < members.size(); ++i) {
    kept->earliest.erase({members[i].first, node, i});
  }
  members.clear();
  if (kept->expires[node] != kNever) kept->expiring.erase({kept->expires[node], node});
  kept->expires[node] = kNever;
  if (!state.cluster.state(node).open || !state.cluster.FitsEmpty(node, task.request.demand)) {
    return;
  }
  const NodeCapacity& capacity = state.cluster.capacity(node);
  const std::vector<Interval> intervals = IntervalsOn(state, task, node, now);
  std::vector<Time> starts = {now};
  for (const Interval& interval : intervals) {
    // The times hold until a task should have ended, and never while one is overdue or a
    // reservation is near.
    if (interval.from != Time::min()) kept->expires[node] = now;
    if (interval.to <= now || interval.to == kNever) continue;
    starts.push_back(interval.to);
    kept->expires[node] = std::min(kept->expires[node], interval.to);
  }
  for (const TaskSlot slot : state.on_node[node]) {
    const TaskState& other = state.tasks[slot];
    if (!other.stopping && other.started + other.expected <= now) kept->expires[node] = now;
  }
  if (kept->expires[node] != kNever) kept->expiring.emplace(kept->expires[node], node);
  std::sort(starts.begin(), starts.end());
  starts.erase(std::unique(starts.begin(), starts.end()), starts.end());
  for (const Time start : starts) {
    NodeState room = RoomBetween(state, node, start, EndOf(start, task.expected), intervals);
    for (const auto& [time, placement] : members) {
      SubtractRoom(task.request.demand, placement, &room);
    }
    Placement placement;
    placement.node = node;
    while (members.size() < most && TakeRoom(capacity, task.request.demand, &room, &placement)) {
      const Time time = start == now ? Time::min() : start;
      kept->earliest.emplace(time, node, static_cast<uint32_t>(members.size()));
      members.emplace_back(time, placement);
    }
    if (members.size() == most) return;
  }
}

}  // namespace

std::optional<Reservation> EarliestStart(const SchedulerState& state, const TaskState& task,
                                         Time now, LookAhead* kept) {
  const size_t members = task.request.members;
  std::vector<NodeIndex> stale;
  const bool none = kept->on_node.size() != state.cluster.size() || kept->stops != state.stops ||
                    kept->seen < state.cluster.first_change();
  if (none) {
    *kept = LookAhead();
    kept->on_node.resize(state.cluster.size());
    kept->expires.resize(state.cluster.size(), kNever);
    kept->stops = state.stops;
    for (NodeIndex node = 0; node < state.cluster.size(); ++node) stale.push_back(node);
  } else {
    for (uint64_t i = kept->seen; i < state.cluster.end_change(); ++i) {
      stale.push_back(state.cluster.Changed(i));
    }
    for (const auto& [time, node] : kept->expiring) {
      if (time > now) break;
      stale.push_back(node);
    }
    for (const Reservation& reservation : state.reservations) {
      if (!state.Binds(reservation, task, now)) continue;
      for (const Placement& member : reservation.members) stale.push_back(member.node);
    }
    std::sort(stale.begin(), stale.end());
    stale.erase(std::unique(stale.begin(), stale.end()), stale.end());
  }
  kept->seen = state.cluster.end_change();
  const size_t most = task.request.on_different_nodes ? 1 : members;
  for (const NodeIndex node : stale) Renew(state, task, node, now, most, kept);
  if (kept->earliest.size() < members) return std::nullopt;
  Reservation reservation;
  reservation.start = now;
  for (const auto& [time, node, number] : kept->earliest) {
    if (reservation.members.size() == members) break;
    reservation.start = std::max(reservation.start, time);
    reservation.members.push_back(kept->on_node[node][number].second);
  }
  return reservation;
}

bool LeavesReservations(const SchedulerState& state, const TaskState& task,
                        const Placements& earlier, const Placement& placement, Time now,
                        TaskId* delayed) {
  const Time end = EndOf(now, task.expected);
  for (const Reservation& reservation : state.reservations) {
    if (!state.Binds(reservation, task, now) || end <= reservation.start) continue;
    const TaskState& holder = state.tasks[reservation.task];
    bool here = false;
    for (const Placement& member : reservation.members) here |= member.node == placement.node;
    if (!here) continue;
    NodeState room = EmptyRoom(state.cluster.capacity(placement.node));
    for (const Interval& interval : IntervalsOn(state, holder, placement.node, now)) {
      if (interval.to <= reservation.start ||
          interval.from >= EndOf(reservation.start, holder.expected)) {
        continue;
      }
      SubtractRoom(*interval.demand, *interval.placement, &room);
    }
    for (const Placement& other : earlier) {
      if (other.node == placement.node) SubtractRoom(task.request.demand, other, &room);
    }
    SubtractRoom(task.request.demand, placement, &room);
    for (const Placement& member : reservation.members) {
      if (member.node != placement.node) continue;
      if (!HasRoom(holder.request.demand, member, room)) {
        *delayed = holder.request.id;
        return false;
      }
      SubtractRoom(holder.request.demand, member, &room);
    }
  }
  return true;
}

bool RoomBesideReservations(const SchedulerState& state, const TaskState& task, NodeIndex node,
                            Time now, Placement* placement) {
  NodeState room = state.cluster.state(node);
  const Time end = EndOf(now, task.expected);
  for (const Reservation& reservation : state.reservations) {
    if (!state.Binds(reservation, task, now) || end <= reservation.start) continue;
    const TaskState& holder = state.tasks[reservation.task];
    for (const Placement& member : reservation.members) {
      if (member.node == node) SubtractRoom(holder.request.demand, member, &room);
    }
  }
  placement->node = node;
  return room.open && TakeRoom(state.cluster.capacity(node), task.request.demand, &room, placement);
}

}  // namespace trackbed
