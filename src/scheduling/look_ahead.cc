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

struct MemberTime {
  Time start;
  Placement placement;
};

// The earliest times of up to `most` members on one node.
void AddMemberTimes(const SchedulerState& state, const TaskState& task, NodeIndex node, Time now,
                    size_t most, std::vector<MemberTime>* times) {
  const NodeCapacity& capacity = state.cluster.capacity(node);
  const std::vector<Interval> intervals = IntervalsOn(state, task, node, now);
  std::vector<Time> starts = {now};
  for (const Interval& interval : intervals) {
    if (interval.to > now && interval.to != kNever) starts.push_back(interval.to);
  }
  std::sort(starts.begin(), starts.end());
  starts.erase(std::unique(starts.begin(), starts.end()), starts.end());
  size_t placed = 0;
  std::vector<Placement> earlier;  // members that are counted already
  for (const Time start : starts) {
    NodeState room = RoomBetween(state, node, start, EndOf(start, task.expected), intervals);
    for (const Placement& placement : earlier) {
      SubtractRoom(task.request.demand, placement, &room);
    }
    Placement placement;
    placement.node = node;
    while (placed < most && TakeRoom(capacity, task.request.demand, &room, &placement)) {
      times->push_back({start, placement});
      earlier.push_back(placement);
      ++placed;
    }
    if (placed == most) return;
  }
}

}  // namespace

std::optional<Reservation> EarliestStart(const SchedulerState& state, const TaskState& task,
                                         Time now) {
  const size_t members = task.request.members;
  std::vector<MemberTime> times;
  for (NodeIndex node = 0; node < state.cluster.size(); ++node) {
    if (!state.cluster.state(node).open || !state.cluster.FitsEmpty(node, task.request.demand)) {
      continue;
    }
    AddMemberTimes(state, task, node, now, task.request.on_different_nodes ? 1 : members, &times);
  }
  if (times.size() < members) return std::nullopt;
  std::nth_element(times.begin(), times.begin() + static_cast<ptrdiff_t>(members) - 1, times.end(),
                   [](const MemberTime& a, const MemberTime& b) {
                     return a.start != b.start ? a.start < b.start
                                               : a.placement.node < b.placement.node;
                   });
  Reservation reservation;
  reservation.start = now;
  for (size_t i = 0; i < members; ++i) {
    reservation.start = std::max(reservation.start, times[i].start);
    reservation.members.push_back(times[i].placement);
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
