// An executor that runs nothing: attempts end as a script says. It outlives engines, as real
// attempts do, and remembers everything that was asked of it.
#pragma once

#include <algorithm>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "support/fake_clock.hpp"
#include "trackbed/executors/executor.hpp"
#include "trackbed/resources/node.hpp"

namespace trackbed {

// What becomes of one attempt.
struct Outcome {
  enum class End : uint8_t {
    exits,    // after `takes`
    waits,    // until the test calls Finish, or it is stopped
    is_lost,  // vanishes after `takes`
  };
  End end = End::exits;
  Duration takes{0};
  int exit_code = 0;
  int signal = 0;
  bool out_of_memory = false;
  std::string message;
  std::string output_text;
  std::string output_digest;
  bool ignores_terminate = false;     // only a kill ends it …
  std::optional<int> on_terminate;    // … else it ends by SIGTERM, or by itself with this exit code
  int reports = 1;                    // how often its end is told
  std::optional<Status> start_error;  // Start fails with this; nothing runs

  static Outcome Success(std::string output_text = "") {
    Outcome outcome;
    outcome.output_text = std::move(output_text);
    return outcome;
  }
  static Outcome Files(std::string digest) {
    Outcome outcome;
    outcome.output_digest = std::move(digest);
    return outcome;
  }
  static Outcome Failure(int exit_code = 1) {
    Outcome outcome;
    outcome.exit_code = exit_code;
    return outcome;
  }
  static Outcome Waits() {
    Outcome outcome;
    outcome.end = End::waits;
    return outcome;
  }
  static Outcome Lost() {
    Outcome outcome;
    outcome.end = End::is_lost;
    return outcome;
  }
  static Outcome StartFails(Status status) {
    Outcome outcome;
    outcome.start_error = std::move(status);
    return outcome;
  }
};

class FakeExecutor final : public Executor {
 public:
  explicit FakeExecutor(FakeClock* clock) : clock_(clock) {}

  struct Attempt {
    AttemptSpec spec;
    Outcome outcome;
    Time started{};
    std::optional<AttemptReport> ended;
    bool watched = true;
    int start_calls = 1;
  };
  struct StopCall {
    AttemptKey key;
    StopMode mode;
    friend bool operator==(const StopCall&, const StopCall&) = default;
  };

  // ---- The script ----------------------------------------------------------------------------

  // What the n-th attempt of a task does, in every run; attempts not scripted succeed at once.
  void Script(const std::string& task, uint32_t attempt, Outcome outcome) {
    script_[{task, attempt}] = std::move(outcome);
  }
  // What every attempt of a task does that is not scripted by number.
  void Script(const std::string& task, Outcome outcome) { Script(task, 0, std::move(outcome)); }
  // Asked first, when set; nothing: the script decides.
  std::function<std::optional<Outcome>(const AttemptSpec&)> decide;
  // Called when an attempt really starts.
  std::function<void(const AttemptSpec&)> on_start;
  // Tells the ends of attempts in the reverse order.
  bool newest_first = false;

  // Nodes that do not answer: nothing is heard of what runs there.
  std::vector<std::string> silent;
  std::vector<std::string> added;  // nodes, by AddNode

  // Ends an attempt that waits.
  void Finish(const AttemptKey& key, Outcome outcome = {}) {
    Attempt& attempt = attempts_.at(key);
    attempt.outcome = std::move(outcome);
    End(attempt);
  }
  // Tells of something that nobody asked about.
  void Report(AttemptReport report) { extra_.push_back(std::move(report)); }

  // ---- What happened -------------------------------------------------------------------------

  // Every attempt that really started, by key.
  const std::map<AttemptKey, Attempt>& attempts() const { return attempts_; }
  // Their keys, in the order of their starts.
  const std::vector<AttemptKey>& started() const { return started_; }
  // The same without the run: "task/attempt".
  std::vector<std::string> StartedTasks() const {
    std::vector<std::string> names;
    for (const AttemptKey& key : started_) names.push_back(key.substr(key.find('/') + 1));
    return names;
  }
  const AttemptSpec& spec(const AttemptKey& key) const { return attempts_.at(key).spec; }
  const std::vector<StopCall>& stops() const { return stops_; }
  // How many run now, and the most that ever ran at once.
  int running() const { return running_; }
  int most_running() const { return most_running_; }
  // The most of a slot that was ever in use at once, in thousandths.
  int64_t MostUsed(const std::string& slot) const {
    const auto found = most_used_.find(slot);
    return found == most_used_.end() ? 0 : found->second;
  }
  // When the next attempt ends by itself; kNever when none does.
  Time NextEnd() const {
    Time next = kNever;
    for (const auto& [key, attempt] : attempts_) {
      if (!attempt.ended && attempt.outcome.end != Outcome::End::waits) {
        next = std::min(next, attempt.started + attempt.outcome.takes);
      }
    }
    return next;
  }
  // The engine is gone: nobody watches any more.
  void Forget() {
    for (auto& [key, attempt] : attempts_) attempt.watched = false;
    to_report_.clear();
  }

  // ---- Executor ------------------------------------------------------------------------------

  Status Start(const AttemptSpec& spec) override {
    if (auto found = attempts_.find(spec.key); found != attempts_.end()) {
      ++found->second.start_calls;
      Watch(found->second);
      return absl::OkStatus();
    }
    if (forbidden_.contains(spec.key)) {
      return FailedPrecondition(spec.key + " was given up before it started");
    }
    Outcome outcome = OutcomeOf(spec);
    if (outcome.start_error) return *outcome.start_error;
    if (on_start) on_start(spec);
    started_.push_back(spec.key);
    Attempt& attempt = attempts_[spec.key];
    attempt.spec = spec;
    attempt.outcome = std::move(outcome);
    attempt.started = clock_->Now();
    live_.push_back(spec.key);
    most_running_ = std::max(most_running_, ++running_);
    for (const SlotRequest& slot : Resources(spec)) {
      int64_t& used = used_[slot.slot];
      used += slot.amount.thousandths();
      most_used_[slot.slot] = std::max(most_used_[slot.slot], used);
    }
    return absl::OkStatus();
  }

  Status Adopt(const AttemptKey& key, const std::string& /*folder*/) override {
    auto found = attempts_.find(key);
    if (found == attempts_.end()) {
      forbidden_[key] = true;
      return NotFound(key + " was never started");
    }
    Watch(found->second);
    return absl::OkStatus();
  }

  Status Observe(const AttemptKey& key, const std::string& /*folder*/) override {
    auto found = attempts_.find(key);
    if (found == attempts_.end()) return NotFound(key + " was never started");
    Watch(found->second);
    return absl::OkStatus();
  }

  Status AddNode(const NodeDescription& node) override {
    added.push_back(node.name);
    return absl::OkStatus();
  }
  std::vector<std::string> SilentNodes() const override { return silent; }

  // It goes on until its node answers.
  Status GiveUp(const AttemptKey& key) override {
    given_up_.push_back(key);
    auto found = attempts_.find(key);
    if (found == attempts_.end() || !found->second.watched) return NotFound(key);
    found->second.watched = false;
    forbidden_[key] = true;
    return absl::OkStatus();
  }
  const std::vector<AttemptKey>& given_up() const { return given_up_; }
  bool IsSilent(const Attempt& attempt) const {
    const auto has = [&](const std::string& node) {
      return std::find(silent.begin(), silent.end(), node) != silent.end();
    };
    return has(attempt.spec.node) ||
           std::any_of(attempt.spec.gang.begin(), attempt.spec.gang.end(),
                       [&](const GangMember& member) { return has(member.node); });
  }

  Status Poll(std::vector<AttemptReport>* reports) override {
    for (const AttemptKey& key : given_up_) {
      if (!IsSilent(attempts_.at(key))) End(attempts_.at(key));
    }
    for (const AttemptKey& key : std::vector<AttemptKey>(live_)) {
      Attempt& attempt = attempts_.at(key);
      const bool ends_by_itself = attempt.outcome.end != Outcome::End::waits;
      if (ends_by_itself && attempt.started + attempt.outcome.takes <= clock_->Now()) End(attempt);
    }
    if (newest_first) std::reverse(to_report_.begin(), to_report_.end());
    for (const AttemptKey& key : std::exchange(to_report_, {})) {
      Attempt& attempt = attempts_.at(key);
      if (IsSilent(attempt)) {
        unheard_.push_back(key);
        continue;
      }
      attempt.watched = false;  // its end is told once to each who watches it
      AttemptReport started;
      started.key = key;
      started.kind = AttemptReport::Kind::started;
      reports->push_back(started);
      for (int i = 0; i < attempt.outcome.reports; ++i) reports->push_back(*attempt.ended);
    }
    to_report_ = std::exchange(unheard_, {});
    for (AttemptReport& report : extra_) reports->push_back(std::move(report));
    extra_.clear();
    return absl::OkStatus();
  }

  Status Stop(const AttemptKey& key, StopMode mode) override {
    stops_.push_back({key, mode});
    auto found = attempts_.find(key);
    if (found == attempts_.end() || !found->second.watched || found->second.ended) {
      return NotFound(key + " is not being watched");
    }
    Attempt& attempt = found->second;
    if (mode == StopMode::terminate && attempt.outcome.ignores_terminate) return absl::OkStatus();
    const bool exits = mode == StopMode::terminate && attempt.outcome.on_terminate.has_value();
    attempt.outcome.end = Outcome::End::exits;
    attempt.outcome.exit_code = exits ? *attempt.outcome.on_terminate : 0;
    attempt.outcome.signal = exits ? 0 : mode == StopMode::terminate ? 15 : 9;
    End(attempt);
    return absl::OkStatus();
  }

  int WakeDescriptor() const override { return -1; }
  int MaxClusterSize() const override { return 2; }

 private:
  static std::vector<SlotRequest> Resources(const AttemptSpec& spec) {
    if (!spec.resources.empty()) return spec.resources;
    return {{"cpu", Quantity::FromThousandths(1000)}};
  }

  Outcome OutcomeOf(const AttemptSpec& spec) const {
    if (decide) {
      if (std::optional<Outcome> outcome = decide(spec)) return *std::move(outcome);
    }
    const size_t first = spec.key.find('/');
    const size_t last = spec.key.rfind('/');
    const std::string task = spec.key.substr(first + 1, last - first - 1);
    const auto attempt = static_cast<uint32_t>(std::stoul(spec.key.substr(last + 1)));
    auto found = script_.find({task, attempt});
    if (found == script_.end()) found = script_.find({task, 0});
    return found == script_.end() ? Outcome() : found->second;
  }

  void Watch(Attempt& attempt) {
    const bool was_watched = std::exchange(attempt.watched, true);
    if (!was_watched && attempt.ended) to_report_.push_back(attempt.spec.key);
  }

  void End(Attempt& attempt) {
    if (attempt.ended) return;
    AttemptReport report;
    report.key = attempt.spec.key;
    const Outcome& outcome = attempt.outcome;
    report.kind = outcome.end == Outcome::End::is_lost ? AttemptReport::Kind::lost
                                                       : AttemptReport::Kind::exited;
    report.exit_code = outcome.exit_code;
    report.signal = outcome.signal;
    report.out_of_memory = outcome.out_of_memory;
    report.message = outcome.message;
    report.output_text = outcome.output_text;
    report.output_digest = outcome.output_digest;
    report.wall_time = clock_->Now() - attempt.started;
    attempt.ended = std::move(report);
    --running_;
    std::erase(live_, attempt.spec.key);
    for (const SlotRequest& slot : Resources(attempt.spec)) {
      used_[slot.slot] -= slot.amount.thousandths();
    }
    if (attempt.watched) to_report_.push_back(attempt.spec.key);
  }

  FakeClock* clock_;
  std::map<std::pair<std::string, uint32_t>, Outcome> script_;
  std::map<AttemptKey, Attempt> attempts_;
  std::map<AttemptKey, bool> forbidden_;
  std::vector<AttemptKey> started_;
  std::vector<AttemptKey> live_;
  std::vector<AttemptKey> to_report_;
  std::vector<AttemptKey> unheard_;
  std::vector<AttemptKey> given_up_;
  std::vector<AttemptReport> extra_;
  std::vector<StopCall> stops_;
  int running_ = 0;
  int most_running_ = 0;
  std::map<std::string, int64_t> used_;
  std::map<std::string, int64_t> most_used_;
};

}  // namespace trackbed
