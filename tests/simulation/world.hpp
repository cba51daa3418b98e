// What lies outside the engines of a simulation and outlives each of them: time, and the attempts
// that run on the host.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "support/random_pipeline.hpp"
#include "trackbed/base/time.hpp"
#include "trackbed/executors/executor.hpp"

namespace trackbed {

// The members of an attempt, of a single process one.
std::vector<GangMember> MembersOf(const AttemptSpec& spec);

using SlotAmounts = std::map<std::string, int64_t>;  // by slot, in thousandths
// Of what each member of a task takes.
int64_t AmountOf(const std::vector<SlotRequest>& resources, const std::string& slot);

// Around `mean`, as gaps between independent events are (exponential), at least a millisecond.
Duration Gap(Dice& dice, Duration mean);

// The time that the simulation has, and the time that clocks show, which people set.
class SimulatedClock final : public Clock {
 public:
  Time Now() override { return now_ + set_; }
  Time now() const { return now_; }
  Duration set() const { return set_; }
  void AdvanceTo(Time time) {
    if (time > now_) now_ = time;
  }
  void Set(Duration by) { set_ += by; }

 private:
  Time now_ = Time(std::chrono::hours(24 * 365 * 50));
  Duration set_{0};
};

// An attempt that was started, and what becomes of it.
struct SimulatedAttempt {
  AttemptSpec spec;
  Time started{};
  Time ends{};  // kNever: it hangs
  AttemptReport end;
  bool on_its_way = false;  // that it is to start has not been heard yet, until `started`
  bool over = false;
  Time told_from{};  // its end is told from then on, late
  int told = 1;      // how often
  bool heeds_terminate = true;
  bool given_up = false;  // it ends as soon as its node answers, and nobody hears of it
  // What else was said to its node and has not been heard yet, in this order.
  std::vector<std::pair<Time, StopMode>> stops;
};

// The host: what runs on it, by keys that are used once. Checks what must hold of it.
class World {
 public:
  explicit World(uint64_t seed) : seed_(seed) {}

  SimulatedClock clock;
  std::map<std::string, SlotAmounts> capacity;  // by node
  // Of the tenant of a run, which is what a key starts with; and how much cpu each may have.
  std::function<std::string(const std::string& run)> tenant_of;
  std::map<std::string, int64_t> cpu_limit;
  // Whether it is durable that the attempt is to be, and on these nodes.
  std::function<bool(const AttemptSpec&)> is_intended;
  // Whether it is durable that the attempt is to be stopped.
  std::function<bool(const AttemptKey&)> may_be_stopped;
  // How many members the attempt has to have.
  std::function<size_t(const AttemptSpec&)> size_of;
  // The first thing that did not hold; "" while everything does.
  std::string violation;
  void Violate(const std::string& what) {
    if (violation.empty()) violation = what;
  }

  Status Start(const AttemptSpec& spec);
  // Gives up an attempt that has not started; true when it has.
  bool Adopt(const AttemptKey& key);
  SimulatedAttempt* Find(const AttemptKey& key);
  void Stop(SimulatedAttempt& attempt, StopMode mode);

  // What is said by now is heard, and what ends by now ends.
  void Advance();
  // When that is next; kNever when nothing is on its way and nothing ends.
  Time NextChange() const;
  // Everything that runs dies without a word, as when the power goes.
  void LoseAll();
  // Whatever has a member there does. Nothing starts there until the node returns.
  void LoseNode(const std::string& node);
  void ReturnNodes() { away_.clear(); }
  // What is said to the node takes a while to get there.
  void SlowDown(const std::string& node) { slow_.insert(node); }
  void SpeedUp() { slow_.clear(); }
  // What is on its way gets nowhere.
  void LoseMessages();
  // What runs there goes on, and nothing is heard of it until the node answers.
  void Silence(const std::string& node) { silent_.insert(node); }
  void Answer();
  const std::set<std::string>& silent() const { return silent_; }
  bool IsSilent(const AttemptSpec& spec) const { return HasMemberOn(spec, silent_); }
  void GiveUp(SimulatedAttempt& attempt);
  bool IsAway(const AttemptSpec& spec) const { return HasMemberOn(spec, away_); }
  // From now on what hangs ends, and nothing is told late.
  void Heal();

  size_t started() const { return attempts_.size(); }
  const std::map<AttemptKey, SimulatedAttempt>& attempts() const { return attempts_; }
  size_t running() const { return live_.size() + on_their_way_.size(); }
  int64_t messages_delayed() const { return messages_delayed_; }

 private:
  void Decide(SimulatedAttempt* attempt) const;
  Time Arrival(const AttemptSpec& spec);
  void Begin(SimulatedAttempt& attempt);
  void Heed(SimulatedAttempt& attempt, StopMode mode);
  void End(SimulatedAttempt& attempt);
  void Lose(const AttemptKey& key);
  void Count(const SimulatedAttempt& attempt, int sign);
  void CountTenant(const SimulatedAttempt& attempt, int sign);
  void CheckGang(const AttemptSpec& spec);
  static bool HasMemberOn(const AttemptSpec& spec, const std::set<std::string>& nodes);

  uint64_t seed_;
  bool is_healed_ = false;
  std::map<AttemptKey, SimulatedAttempt> attempts_;
  std::set<AttemptKey> live_;
  std::set<AttemptKey> on_their_way_;
  std::set<AttemptKey> given_up_;
  std::set<std::string> away_;
  std::set<std::string> silent_;
  std::set<std::string> slow_;
  int64_t messages_delayed_ = 0;
  std::map<std::string, SlotAmounts> used_;
  std::map<std::string, int64_t> cpu_of_tenant_;
};

// The executor of one process of an engine.
class SimulatedExecutor final : public Executor {
 public:
  explicit SimulatedExecutor(World* world) : world_(world) {}

  // While set, nothing starts: kUnavailable.
  bool unavailable = false;
  // Called once, before the next attempt is started, which may take long.
  std::function<void()> before_start;
  // Says something that nobody asked about.
  void Babble(AttemptReport report) { babble_.push_back(std::move(report)); }
  // When Poll will have something to say; kNever when not by itself.
  Time NextReport() const;
  // Whether no node is silent, and that is known.
  bool HearsAllNodes() const { return silent_.empty() && world_->silent().empty(); }

  Status Start(const AttemptSpec& spec) override;
  Status Adopt(const AttemptKey& key, const std::string& folder) override;
  Status Observe(const AttemptKey& key, const std::string& folder) override;
  Status Poll(std::vector<AttemptReport>* reports) override;
  Status Stop(const AttemptKey& key, StopMode mode) override;
  int WakeDescriptor() const override { return -1; }
  int MaxClusterSize() const override { return 3; }
  std::vector<std::string> SilentNodes() const override {
    return {world_->silent().begin(), world_->silent().end()};
  }
  Status GiveUp(const AttemptKey& key) override;

 private:
  World* world_;
  std::map<AttemptKey, int> watched_;  // how often its end has been told
  std::vector<AttemptReport> babble_;
  std::set<std::string> silent_;  // as of the last Poll
};

}  // namespace trackbed
