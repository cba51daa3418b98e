// What the result of a task depends on, and so when an earlier result may stand for a new one.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "trackbed/base/status.hpp"
#include "trackbed/engine/event.hpp"
#include "trackbed/engine/run_state.hpp"
#include "trackbed/executors/executor.hpp"

namespace trackbed {

// "sha256:…" over the fields, in their order, each length-prefixed.
std::string CacheKeyOf(const CacheFields& fields);

// The fields of a task about to run: its rendered command and environment (secrets by reference,
// never by value), image, the digests of the code it sees, of each input and of each folder it
// reads, its declared outputs and the machine's architecture. Resources, retries, timeouts and
// names are left out: they do not change a result. Everything is named by what the task sees, so
// equal tasks of different pipelines share results. In `spec`, secrets must still stand
// as references.
//
// When the task must not be cached, the reason in `off` and no fields. kTaskSaysNoCache is the one
// that the task itself gives.
struct CachePlan {
  CacheFields fields;
  std::string off;
};
CachePlan PlanCaching(const RunState& run, TaskIndex task, const AttemptSpec& spec,
                      std::string_view architecture);

inline constexpr std::string_view kTaskSaysNoCache = "the task says cache: false";
// Why the latest attempt at a task, which has no key, was not cached.
std::string WhyNotCached(const RunState& run, TaskIndex task);

// Why the folders that a task of the run mounts rule out reuse; "" when they do not.
std::string SharedFolderReason(const RunState& run, const Task& task);

// How two keys differ, field by field.
struct CacheFieldDifference {
  std::string name;
  std::string before;  // empty: the field is new
  std::string after;   // empty: the field is gone
  friend bool operator==(const CacheFieldDifference&, const CacheFieldDifference&) = default;
};
std::vector<CacheFieldDifference> CompareCacheFields(const CacheFields& before,
                                                     const CacheFields& after);

}  // namespace trackbed
