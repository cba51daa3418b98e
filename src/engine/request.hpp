// What a task that names no slots takes.
#pragma once

#include <vector>

#include "trackbed/pipeline/pipeline.hpp"

namespace trackbed {

inline const std::vector<SlotRequest>& RequestOrDefault(const std::vector<SlotRequest>& request) {
  static const std::vector<SlotRequest> one_cpu = {{"cpu", Quantity::FromThousandths(1000)}};
  return request.empty() ? one_cpu : request;
}

}  // namespace trackbed
