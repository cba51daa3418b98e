#include "engine/ready_queue.hpp"

#include <algorithm>

namespace trackbed {

StatusOr<ReadyQueue::Line> ReadyQueue::LineFor(const std::vector<SlotRequest>& request) {
  static const std::vector<SlotRequest> one_cpu = {{"cpu", Quantity::FromThousandths(1000)}};
  TRACKBED_ASSIGN_OR_RETURN(SlotClaim claim, pool_.Claim(request.empty() ? one_cpu : request));
  const auto [place, added] = by_claim_.try_emplace(claim, static_cast<Line>(lines_.size()));
  if (added) lines_.push_back({std::move(claim), {}});
  return place->second;
}

void ReadyQueue::Push(Line line, ReadyTask task, Time now) {
  lines_[line].tasks.push_back({task, next_order_++, now});
}

std::optional<ReadyTask> ReadyQueue::Take(Time now,
                                          absl::FunctionRef<bool(const ReadyTask&)> wanted) {
  // The oldest head that fits; an older one that does not fit and is out of patience forbids it.
  LineState* best = nullptr;
  uint64_t oldest_blocked = UINT64_MAX;
  for (LineState& line : lines_) {
    while (!line.tasks.empty() && !wanted(line.tasks.front().task)) line.tasks.pop_front();
    if (line.tasks.empty()) continue;
    const Waiting& head = line.tasks.front();
    if (!pool_.Fits(line.claim)) {
      if (now - head.since >= patience_) oldest_blocked = std::min(oldest_blocked, head.order);
    } else if (best == nullptr || head.order < best->tasks.front().order) {
      best = &line;
    }
  }
  if (best == nullptr || best->tasks.front().order > oldest_blocked) return std::nullopt;
  if (!pool_.Take(best->claim)) return std::nullopt;
  const ReadyTask taken = best->tasks.front().task;
  best->tasks.pop_front();
  return taken;
}

}  // namespace trackbed
