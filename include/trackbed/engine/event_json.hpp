// Events and runs as JSON, for programs that follow along.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "trackbed/engine/engine.hpp"

namespace trackbed {

// One line, without the newline:
//   {"time":"2026-11-23T15:36:02Z","run":"digits-7kq2m4","event":"attempt_succeeded",
//    "task":"train","attempt":1,"outputs":{"accuracy":0.95},"wall_seconds":1.2, …}
// Members with nothing to say are left out. `run` must be the run of the event.
std::string EventToJson(const RunState& run, const Event& event);
// The same, with "sequence", where the state of the run is not at hand.
std::string EventToJson(std::string_view run, std::string_view task, uint64_t sequence,
                        const Event& event);

// The whole run: its record and the state of every task, indented.
std::string RunToJson(const RunRecord& record, const RunState& run);

}  // namespace trackbed
