#include "engine/ready_queue.hpp"

#include <algorithm>
#include <iterator>

#include "engine/request.hpp"

namespace trackbed {
namespace {

// Above all ids of allocations, which have a serial number in their upper bits.
constexpr uint64_t kCrowded = uint64_t{1} << 63U;

}  // namespace

StatusOr<ReadyQueue::Line> ReadyQueue::LineFor(const std::vector<SlotRequest>& request) {
  const std::vector<SlotRequest>& wanted = RequestOrDefault(request);
  TRACKBED_ASSIGN_OR_RETURN(const SlotDemand demand, allocator_.Prepare(wanted));
  std::map<std::string, Quantity> total;
  for (const SlotRequest& slot : wanted) {
    if (slot.amount == Quantity()) continue;
    Quantity& sum = total[slot.slot];
    (void)Quantity::Add(sum, slot.amount, &sum);  // Prepare has added them up before
  }
  const auto [place, added] =
      by_request_.try_emplace({total.begin(), total.end()}, static_cast<Line>(lines_.size()));
  if (added) lines_.push_back({demand, total.empty(), {}});
  return place->second;
}

void ReadyQueue::Push(Line line, ReadyTask task, Time now) {
  const uint64_t order = next_order_++;
  if (lines_[line].tasks.empty()) heads_.emplace(order, line);
  lines_[line].tasks.push_back({task, order, now});
}

ReadyTask ReadyQueue::Pop(std::set<std::pair<uint64_t, Line>>::iterator head) {
  const Line line = head->second;
  std::deque<Waiting>& tasks = lines_[line].tasks;
  const ReadyTask first = tasks.front().task;
  tasks.pop_front();
  heads_.erase(head);
  if (!tasks.empty()) heads_.emplace(tasks.front().order, line);
  return first;
}

bool ReadyQueue::TryTake(LineState* line, Allocation* held) {
  if (line->needs_nothing) {
    *held = Allocation();
    return true;
  }
  if (line->failed_after == releases_) return false;
  if (allocator_.TryAllocate(line->demand, held)) return true;
  line->failed_after = releases_;
  return false;
}

std::optional<ReadyTask> ReadyQueue::Take(Time now,
                                          absl::FunctionRef<bool(const ReadyTask&)> wanted,
                                          Allocation* held) {
  if (!crowded_.empty()) return std::nullopt;
  for (auto head = heads_.begin(); head != heads_.end();) {
    LineState& line = lines_[head->second];
    if (!wanted(line.tasks.front().task)) {
      // Its next one is behind this place, and so still to come.
      const uint64_t order = head->first;
      Pop(head);
      head = heads_.upper_bound({order, UINT32_MAX});
      continue;
    }
    if (TryTake(&line, held)) return Pop(head);
    if (now - line.tasks.front().since >= patience_) return std::nullopt;
    ++head;
  }
  return std::nullopt;
}

void ReadyQueue::Release(uint64_t held) {
  if (held == 0) return;  // it needed nothing
  if (held >= kCrowded) {
    if (crowded_.erase(held) > 0) return;
    const auto found = found_later_.find(held);
    held = found->second;
    found_later_.erase(found);
  }
  (void)allocator_.Release(held);
  ++releases_;
  for (auto entry = crowded_.begin(); entry != crowded_.end();) {
    Allocation allocation;
    if (allocator_.TryAllocate(lines_[entry->second].demand, &allocation)) {
      found_later_[entry->first] = allocation.id;
      entry = crowded_.erase(entry);
    } else {
      ++entry;
    }
  }
}

uint64_t ReadyQueue::Occupy(Line line, std::span<const AllocationPart> parts) {
  if (lines_[line].needs_nothing) return 0;
  Allocation allocation;
  const bool held_devices = !parts.empty() && allocator_.AllocateParts(parts, &allocation).ok();
  if (held_devices || allocator_.TryAllocate(lines_[line].demand, &allocation)) {
    return allocation.id;
  }
  const uint64_t held = kCrowded | next_crowded_++;
  crowded_.emplace(held, line);
  return held;
}

std::string ReadyQueue::Explain(Line line) const {
  const LineState& state = lines_[line];
  if (!crowded_.empty()) {
    return "attempts found running hold more than there is; nothing starts until some have ended";
  }
  if (state.needs_nothing) return "";
  if (std::string shortage = allocator_.Explain(state.demand).message; !shortage.empty()) {
    return shortage;
  }
  // It would fit: somebody who has waited longer than the patience is before it.
  return heads_.size() > 1 ? "an earlier task, which needs more, has waited so long that it is next"
                           : "";
}

}  // namespace trackbed
