#include "cli/progress.hpp"

#include <absl/strings/str_cat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <utility>
#include <vector>

#include "cli/terminal.hpp"
#include "trackbed/base/slot_type.hpp"
#include "trackbed/engine/event_json.hpp"
#include "trackbed/engine/explain.hpp"

namespace trackbed::cli {
namespace {

void Write(std::FILE* file, const std::string& text) {
  std::fwrite(text.data(), 1, text.size(), file);
  std::fflush(file);
}

std::string DescribeFailure(const AttemptEnded& ended) {
  std::string what;
  switch (ended.reason) {
    case FailureReason::exit_code:
      what = absl::StrCat("exit code ", ended.exit_code);
      break;
    case FailureReason::signal:
      what = absl::StrCat("ended by signal ", ended.signal);
      break;
    case FailureReason::out_of_memory:
      what = "out of memory";
      break;
    case FailureReason::lost:
      what = "lost";
      break;
    case FailureReason::preempted:
      what = "preempted";
      break;
    default:
      break;
  }
  if (!ended.message.empty()) {
    absl::StrAppend(&what, what.empty() ? "" : ": ", Printable(ended.message));
  }
  return what.empty() ? std::string(ToString(ended.reason)) : what;
}

std::string Resources(const Task& task) {
  std::string text;
  for (const SlotRequest& slot : task.resources) {
    absl::StrAppend(&text, text.empty() ? "" : " ", slot.slot, "=",
                    FormatSlotAmount(slot.slot, slot.amount));
  }
  return text;
}

std::string Count(const RunState& run) {
  size_t counts[7] = {};
  size_t cached = 0;
  size_t unknown = 0;
  for (TaskIndex task = 0; task < run.pipeline().tasks.size(); ++task) {
    ++counts[static_cast<size_t>(run.task(task).state)];
    if (run.task(task).cached) ++cached;
    if (run.task(task).unknown) ++unknown;
  }
  std::string text;
  for (TaskState state :
       {TaskState::succeeded, TaskState::failed, TaskState::skipped, TaskState::cancelled,
        TaskState::running, TaskState::waiting, TaskState::pending}) {
    const size_t count = counts[static_cast<size_t>(state)];
    if (count == 0) continue;
    absl::StrAppend(&text, text.empty() ? "" : ", ", count, " ", AbslView(ToString(state)));
    if (state == TaskState::succeeded && cached > 0)
      absl::StrAppend(&text, " (", cached, " cached)");
    if (state == TaskState::running && unknown > 0)
      absl::StrAppend(&text, " (", unknown, " unknown)");
  }
  return text;
}

std::string Heading(const RunState& run) {
  return absl::StrCat("run ", run.id(), "  ", CountOfTasks(run.pipeline().tasks.size()));
}

std::string LastLine(const RunState& run, Time now) {
  const Time end = run.finished_at() == Time{} ? now : run.finished_at();
  const bool ended = run.status() != RunStatus::running;
  return absl::StrCat("run ", run.id(), " ",
                      ended ? std::string(ToString(run.status())) : "is not finished", " after ",
                      ShortDuration(end - run.submitted_at()), ": ", Count(run));
}

class JsonProgress final : public Progress {
 public:
  ~JsonProgress() override { Write(stdout, lines_); }

  void OnEvent(const RunState& run, const Event& event) override {
    absl::StrAppend(&lines_, EventToJson(run, event), "\n");
  }
  // Who reads along is woken once a step.
  void Refresh(const Engine& /*engine*/, const RunState& /*run*/, Time /*now*/) override {
    Write(stdout, std::exchange(lines_, {}));
  }
  void Say(const std::string& text) override { Write(stderr, text + "\n"); }
  void Finish(const RunState& /*run*/, Time /*now*/) override {}

 private:
  std::string lines_;  // not written yet
};

class PlainProgress final : public Progress {
 public:
  ~PlainProgress() override { Write(stdout, lines_); }

  void OnEvent(const RunState& run, const Event& event) override {
    if (event.task == kNoTask) {
      OnRunEvent(run, event);
      return;
    }
    const Task& task = run.pipeline().tasks[event.task];
    if (const MapBinding* map = run.map()) {
      OnBatchEvent(*map, run, event);
      return;
    }
    std::string what;
    switch (event.type) {
      case EventType::attempt_intended:
        what = "started";
        if (event.attempt > 1) absl::StrAppend(&what, ", attempt ", event.attempt);
        break;
      case EventType::attempt_succeeded:
        what =
            absl::StrCat("succeeded in ", ShortDuration(event.time - run.task(event.task).started));
        break;
      // The state may be further.
      case EventType::attempt_preempting: {
        AttemptPreempting preempting;
        if (Decode(event.detail, &preempting).ok()) what = DescribePreemption(preempting);
        break;
      }
      case EventType::approval_requested: {
        ApprovalRequested asked;
        if (Decode(event.detail, &asked).ok()) what = "waits for approval: " + asked.message;
        break;
      }
      case EventType::approval_decided: {
        ApprovalDecided decision;
        if (Decode(event.detail, &decision).ok()) what = DescribeDecision(decision);
        break;
      }
      case EventType::attempt_preempted:
        what = "has ended for it, and waits for its turn";
        break;
      case EventType::attempt_known:
        what = "its node answers again";
        break;
      default:
        what = absl::StrCat(AbslView(StateName(run.task(event.task))), ": ",
                            Note(run, event.task, event.time));
    }
    if (event.type == EventType::attempt_failed &&
        run.task(event.task).state != TaskState::failed) {
      what = absl::StrCat("failed: ", Note(run, event.task, event.time));
    }
    Line(event.time, task.name, Printable(what));
    if (event.type == EventType::approval_requested) {
      Line(
          event.time, "",
          absl::StrCat("answer it: trackbed approve ", run.id(), " ", task.name, "   (or reject)"));
    }
  }

  // Of a run of many short tasks, lines come faster than anybody reads; each would wake the reader.
  void Refresh(const Engine& /*engine*/, const RunState& /*run*/, Time now) override {
    if (lines_.empty() || now - written_ < kLongestDelay) return;
    Write(stdout, std::exchange(lines_, {}));
    written_ = now;
  }

  Duration RefreshInterval() const override {
    return lines_.empty() ? Progress::RefreshInterval() : kLongestDelay;
  }

  void Say(const std::string& text) override {
    absl::StrAppend(&lines_, text, "\n");
    Write(stdout, std::exchange(lines_, {}));
  }

  void Finish(const RunState& run, Time now) override { Say(LastLine(run, now)); }

 private:
  static constexpr Duration kLongestDelay = std::chrono::milliseconds(50);

  // There may be a million: only what goes wrong is told.
  void OnBatchEvent(const MapBinding& map, const RunState& run, const Event& event) {
    if (event.type != EventType::attempt_failed && event.type != EventType::task_failed) return;
    Line(event.time, absl::StrCat(map.task, "[", event.task, "]"),
         absl::StrCat("failed: ", Note(run, event.task, event.time)));
  }

  void OnRunEvent(const RunState& run, const Event& event) {
    if (run.map() != nullptr) return;
    switch (event.type) {
      case EventType::run_submitted:
        absl::StrAppend(&lines_, Heading(run), "\n");
        return;
      case EventType::run_resumed:
        absl::StrAppend(&lines_, Heading(run), ", resumed: ", Count(run), "\n");
        return;
      case EventType::run_retried:
        absl::StrAppend(&lines_, Heading(run), ", again: ", Count(run), "\n");
        return;
      case EventType::run_cancel_requested:
        Line(event.time, "", "cancelling");
        return;
      default:
        return;
    }
  }

  void Line(Time time, const std::string& task, const std::string& what) {
    absl::StrAppend(&lines_, ClockTime(time), "  ", task.empty() ? "" : Pad(task, 20) + "  ", what,
                    "\n");
  }

  std::string lines_;  // not written yet
  Time written_{};
};

class LiveProgress final : public Progress {
 public:
  ~LiveProgress() override {
    if (drawn_ > 0) Write(stdout, "\x1b[?25h");
  }

  void OnEvent(const RunState& run, const Event& event) override {
    if (event.task != kNoTask) changed_ = true;
    if (heading_.empty() && run.map() == nullptr) heading_ = Heading(run);
  }

  Duration RefreshInterval() const override { return std::chrono::milliseconds(100); }

  void Refresh(const Engine& engine, const RunState& run, Time now) override {
    if (!changed_ && now - last_ < std::chrono::milliseconds(100)) return;
    changed_ = false;
    last_ = now;
    Draw(run, now, &engine);
  }

  void Say(const std::string& text) override { said_ = text; }

  void Finish(const RunState& run, Time now) override {
    said_.clear();
    heading_ = Heading(run);
    Draw(run, now, nullptr);
    Write(stdout, LastLine(run, now) + "\n");
  }

 private:
  // Redraws over what was drawn last. Too many tasks for the screen: those that run or failed
  // come first, the others are counted.
  void Draw(const RunState& run, Time now, const Engine* engine) {
    const TerminalSize size = SizeOfTerminal(STDOUT_FILENO);
    const size_t room = size.rows > 6 ? size.rows - 4 : 2;
    const std::vector<TaskIndex> shown = Choose(run, room);
    size_t name_width = 8;
    for (TaskIndex task : shown) {
      name_width = std::max(name_width, Width(run.pipeline().tasks[task].name));
    }
    name_width = std::min(name_width, size.columns / 3);

    std::string screen = drawn_ == 0 ? "\x1b[?25l" : absl::StrCat("\x1b[", drawn_, "A");
    size_t lines = 0;
    const auto add = [&](const std::string& line) {
      absl::StrAppend(&screen, "\r\x1b[2K", line, "\n");
      ++lines;
    };
    add(Fit(heading_, size.columns - 1));
    for (TaskIndex task : shown) add(TaskLine(run, task, now, engine, name_width, size.columns));
    if (shown.size() < run.pipeline().tasks.size()) {
      add(Fit(absl::StrCat("  … ", Count(run)), size.columns - 1));
    }
    if (!said_.empty()) add(Fit(said_, size.columns - 1));
    absl::StrAppend(&screen, "\x1b[J");
    if (engine == nullptr) absl::StrAppend(&screen, "\x1b[?25h");
    Write(stdout, screen);
    drawn_ = engine == nullptr ? 0 : lines;
  }

  static std::vector<TaskIndex> Choose(const RunState& run, size_t room) {
    const auto count = static_cast<TaskIndex>(run.pipeline().tasks.size());
    std::vector<TaskIndex> all(count);
    for (TaskIndex i = 0; i < count; ++i) all[i] = i;
    if (count <= room) return all;
    const auto rank = [&](TaskIndex task) {
      switch (run.task(task).state) {
        case TaskState::failed:
          return 0;
        case TaskState::waiting:
        case TaskState::running:
          return 1;
        case TaskState::pending:
          return run.task(task).attempt > 0 ? 2 : 3;
        default:
          return 4;
      }
    };
    std::partial_sort(
        all.begin(), all.begin() + static_cast<std::ptrdiff_t>(room), all.end(),
        [&](TaskIndex a, TaskIndex b) { return std::pair(rank(a), a) < std::pair(rank(b), b); });
    all.resize(room);
    std::sort(all.begin(), all.end());
    return all;
  }

  std::string TaskLine(const RunState& run, TaskIndex index, Time now, const Engine* engine,
                       size_t name_width, size_t columns) const {
    const Task& task = run.pipeline().tasks[index];
    const TaskStatus& status = run.task(index);
    std::string elapsed;
    if (status.state == TaskState::running || status.state == TaskState::waiting) {
      elapsed = ShortDuration(std::max(now - status.started, Duration(0)));
    } else if (IsFinal(status.state) && status.attempt > 0 && !status.cached) {
      elapsed = ShortDuration(status.finished - status.started);
    }
    std::string note = Note(run, index, now);
    if (note.empty() && engine != nullptr) note = engine->ExplainWait(run.id(), index);
    if (status.state == TaskState::running && task.map && engine != nullptr) {
      note = BatchesDone(engine->Find(run.MapRun(index)));
    }
    std::string rest = absl::StrCat(Pad(StateName(status), 9), "  ", Pad(elapsed, 6), "  ");
    if (status.attempt > 1 && !task.approval)
      absl::StrAppend(&rest, "attempt ", status.attempt, "  ");
    const std::string resources = Resources(task);
    if (!resources.empty()) absl::StrAppend(&rest, resources, "  ");
    absl::StrAppend(&rest, note);
    const std::string line =
        absl::StrCat(AbslView(Mark(status)), " ", Pad(task.name, name_width), "  ", rest);
    return Coloured(status, Fit(line, columns - 1), colour_);
  }

  static std::string BatchesDone(const RunState* batches) {
    if (batches == nullptr) return "";
    const size_t count = batches->graph().task_count();
    return absl::StrCat(count - batches->unfinished(), " of ", count, " batches done");
  }

  bool colour_ = UseColour(STDOUT_FILENO);
  bool changed_ = true;
  Time last_{};
  size_t drawn_ = 0;
  std::string heading_;
  std::string said_;
};

}  // namespace

std::string Note(const RunState& run, TaskIndex task, Time now) {
  const TaskStatus& status = run.task(task);
  if (const TaskSkipped* skip = run.Skip(task)) return Printable(skip->message);
  if (const ApprovalDecided* decision = run.Decision(task)) {
    return Printable(DescribeDecision(*decision));
  }
  if (status.state == TaskState::waiting) {
    const Time until = run.ApprovalExpires(task);
    return absl::StrCat(Printable(run.Asked(task)->message),
                        until == kNever ? "" : absl::StrCat(" (until ", LocalTime(until), ")"));
  }
  if (status.state == TaskState::succeeded) {
    std::string note;
    const TaskResult* result = run.Result(task);
    if (result == nullptr) return note;
    for (const auto& [name, value] : result->outputs) {
      absl::StrAppend(&note, note.empty() ? "" : "  ", name, "=", Printable(ToText(value)));
    }
    if (status.cached) absl::StrAppend(&note, note.empty() ? "" : "  ", "from run ", result->run);
    return note;
  }
  if (status.state == TaskState::running) {
    if (run.pipeline().tasks[task].map) return "in batches: run " + run.MapRun(task);
    if (status.unknown) return DescribeUnknown(run, task);
    const std::string devices = DescribeDevices(run, task);
    std::string note = devices.empty() ? "" : "on " + devices;
    if (status.preempting) {
      absl::StrAppend(&note, note.empty() ? "" : "  ", DescribePreemption(*run.Preemption(task)));
    }
    return note;
  }
  const AttemptEnded* failure = run.Failure(task);
  if (failure == nullptr) return "";
  std::string note = DescribeFailure(*failure);
  if (const Time retry_at = run.RetryAt(task); retry_at != Time{}) {
    absl::StrAppend(&note, retry_at > now ? "; next try in " + ShortDuration(retry_at - now)
                                          : "; to be tried again");
  }
  return note;
}

std::unique_ptr<Progress> NewJsonProgress() { return std::make_unique<JsonProgress>(); }
std::unique_ptr<Progress> NewPlainProgress() { return std::make_unique<PlainProgress>(); }
std::unique_ptr<Progress> NewLiveProgress() { return std::make_unique<LiveProgress>(); }

}  // namespace trackbed::cli
