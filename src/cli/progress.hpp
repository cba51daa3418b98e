// What `trackbed run` shows while a run goes on.
#pragma once

#include <memory>
#include <string>

#include "trackbed/engine/engine.hpp"

namespace trackbed::cli {

class Progress {
 public:
  virtual ~Progress() = default;
  // Each durable event, in order.
  virtual void OnEvent(const RunState& run, const Event& event) = 0;
  // Now and then, while the run is active.
  virtual void Refresh(const Engine& /*engine*/, const RunState& /*run*/, Time /*now*/) {}
  // A word to the user that is not about an event: "stopping; again to leave it running".
  virtual void Say(const std::string& text) = 0;
  // After the last event; `run` is in its final state, or as far as it came.
  virtual void Finish(const RunState& run, Time now) = 0;
  // How long Refresh may wait.
  virtual Duration RefreshInterval() const { return std::chrono::seconds(3600); }
};

// One JSON object a line on standard output; words to the user on standard error.
std::unique_ptr<Progress> NewJsonProgress();
// One plain line an event on standard output.
std::unique_ptr<Progress> NewPlainProgress();
// A line a task, kept up to date in place; standard output must be a terminal.
std::unique_ptr<Progress> NewLiveProgress();

// What the user wants to know of a task's state: "exit code 3", "not: params.x > 1",
// "from run digits-7kq2m4", "next try in 5s".
std::string Note(const RunState& run, TaskIndex task, Time now);

}  // namespace trackbed::cli
