// The protocol of the lease, small enough to try every order of events: two engines that acquire,
// commit, start, adopt and crash, each standing still for as long as it likes between any two of
// these, a clock each that people set, a store and an executor. The rule that grants a lease is the
// real one (engine/lease.hpp); the fence of commits and the promises of an executor are those that
// their headers state.
#include <algorithm>
#include <array>
#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "engine/lease.hpp"
#include "support/catch.hpp"

namespace trackbed {
namespace {

constexpr int kEngines = 2;
constexpr int kAttempts = 3;  // of the one task there is
constexpr int kFences = 4;    // leases that are granted; then a story ends
constexpr int8_t kLeaseSeconds = 2;
constexpr int8_t kLongExpired = -3;  // older is the same
constexpr std::array<int8_t, 3> kClockErrors = {-1, 0, 1};

// A rule left out: what the model has to notice.
enum class Flaw : uint8_t {
  none,
  commits_without_fence,  // the store does not look at the fence
  adopts_without_trace,   // an executor that adopts in vain still starts that attempt later
  starts_before_commit,   // an engine starts first and writes down after
};

enum class Phase : uint8_t {
  down,      // not there, or without the store
  taking,    // has the lease and looks at each attempt that the log leaves open
  idle,      // nothing is under way
  starting,  // it is durable that the attempt is to be; it is not started yet
  watching,
  failed,  // the executor says that the attempt will never run
};

enum class Logged : uint8_t { nothing, intended, ended, lost };
enum class Executed : uint8_t { nothing, runs, over, given_up };

struct EngineModel {
  Phase phase = Phase::down;
  int8_t fence = 0;
  int8_t attempt = 0;  // that it starts or watches
  int8_t clock_error = 0;
  friend auto operator<=>(const EngineModel&, const EngineModel&) = default;
};

struct State {
  std::array<EngineModel, kEngines> engines;
  int8_t fence = 0;  // of the lease
  int8_t holder = -1;
  int8_t expires = 0;  // in seconds from now
  std::array<Logged, kAttempts> log{};
  std::array<Executed, kAttempts> executor{};
  friend auto operator<=>(const State&, const State&) = default;

  bool IsDone() const { return std::find(log.begin(), log.end(), Logged::ended) != log.end(); }
  // The first attempt that is open in the log, or the first that is not there; kAttempts: none.
  int Open() const {
    for (int i = 0; i < kAttempts; ++i) {
      if (log[static_cast<size_t>(i)] == Logged::intended) return i;
    }
    return kAttempts;
  }
  int Next() const {
    for (int i = 0; i < kAttempts; ++i) {
      if (log[static_cast<size_t>(i)] == Logged::nothing) return i;
    }
    return kAttempts;
  }
};

class Model {
 public:
  Model(Flaw flaw, bool is_gone_known) : flaw_(flaw), is_gone_known_(is_gone_known) {}

  std::string violation;
  size_t states() const { return seen_.size(); }

  // Every state that can be reached, and whether the task can be finished from each.
  void Explore() {
    Add(State{});
    while (!queue_.empty() && violation.empty()) {
      at_ = queue_.front();
      queue_.pop_front();
      const State state = states_[at_];
      CheckTakeOver(state);
      Steps(state);
    }
    if (violation.empty()) CheckThatItEnds();
  }

 private:
  static Time Now() { return Time(std::chrono::seconds(1000)); }
  Lease LeaseOf(const State& state) const {
    Lease lease;
    lease.fence = static_cast<uint64_t>(state.fence);
    lease.holder.process = state.holder;
    lease.expires = Now() + std::chrono::seconds(state.expires);
    return lease;
  }
  bool IsFree(const State& state, Time now) const {
    const auto is_gone = [&](const LeaseHolder& holder) {
      return is_gone_known_ && holder.process >= 0 &&
             state.engines[static_cast<size_t>(holder.process)].phase == Phase::down;
    };
    return CheckLeaseIsFree(LeaseOf(state), now, is_gone).ok();
  }
  static Time ClockOf(const EngineModel& engine) {
    return Now() + std::chrono::seconds(engine.clock_error);
  }

  void Add(const State& state) {
    const auto [entry, is_new] = seen_.try_emplace(state, states_.size());
    if (is_new) {
      states_.push_back(state);
      before_.emplace_back();
      queue_.push_back(entry->second);
    }
    before_[entry->second].push_back(at_);
  }
  void Violate(const std::string& what) {
    if (violation.empty()) violation = what;
  }

  void Steps(const State& state) {
    if (state.expires > kLongExpired) {
      State later = state;
      --later.expires;
      Add(later);
    }
    for (size_t i = 0; i < kAttempts; ++i) {
      if (state.executor[i] != Executed::runs) continue;
      State ended = state;
      ended.executor[i] = Executed::over;
      Add(ended);
    }
    for (size_t i = 0; i < kEngines; ++i) StepsOf(state, i);
  }

  void StepsOf(const State& state, size_t index) {
    const EngineModel& engine = state.engines[index];
    for (const int8_t error : kClockErrors) {
      State set = state;
      set.engines[index].clock_error = error;
      Add(set);
    }
    if (engine.phase == Phase::down) {
      if (state.fence < kFences && IsFree(state, ClockOf(engine))) Acquire(state, index);
      return;
    }
    Stop(state, index);                                 // it crashes
    Commit(state, index, [](State*) {}, engine.phase);  // it renews its lease
    switch (engine.phase) {
      case Phase::taking:
        TakeUp(state, index);
        break;
      case Phase::idle:
        Intend(state, index);
        break;
      case Phase::starting:
        Start(state, index);
        break;
      case Phase::watching:
        if (state.executor[static_cast<size_t>(engine.attempt)] == Executed::over) {
          Commit(
              state, index,
              [&](State* next) { next->log[static_cast<size_t>(engine.attempt)] = Logged::ended; },
              Phase::idle);
        }
        break;
      case Phase::failed:
        Commit(
            state, index,
            [&](State* next) { next->log[static_cast<size_t>(engine.attempt)] = Logged::lost; },
            Phase::idle);
        break;
      case Phase::down:
        break;
    }
  }

  void Stop(State state, size_t index) {
    const int8_t error = state.engines[index].clock_error;
    state.engines[index] = EngineModel{};
    state.engines[index].clock_error = error;
    Add(state);
  }

  void Acquire(State state, size_t index) {
    EngineModel& engine = state.engines[index];
    engine.fence = state.fence = static_cast<int8_t>(state.fence + 1);
    state.holder = static_cast<int8_t>(index);
    state.expires = static_cast<int8_t>(kLeaseSeconds + engine.clock_error);
    engine.phase = Phase::taking;
    Add(state);
  }

  // A transaction of the store. An engine that is refused gives up.
  template <typename Change>
  void Commit(const State& before, size_t index, const Change& change, Phase then) {
    const EngineModel& engine = before.engines[index];
    if (engine.fence != before.fence && flaw_ != Flaw::commits_without_fence) {
      Stop(before, index);
      return;
    }
    if (before.holder != static_cast<int8_t>(index)) {
      Violate("an engine commits that another has taken the store from");
    }
    State after = before;
    change(&after);
    after.expires = static_cast<int8_t>(kLeaseSeconds + engine.clock_error);
    after.engines[index].phase = then;
    Add(after);
  }

  void TakeUp(State state, size_t index) {
    EngineModel& engine = state.engines[index];
    const int open = state.Open();
    if (open == kAttempts) {
      engine.phase = Phase::idle;
      Add(state);
      return;
    }
    engine.attempt = static_cast<int8_t>(open);
    Executed& executed = state.executor[static_cast<size_t>(open)];
    engine.phase = Phase::watching;
    if (executed == Executed::nothing || executed == Executed::given_up) {
      if (flaw_ != Flaw::adopts_without_trace) executed = Executed::given_up;
      engine.phase = Phase::failed;
    }
    Add(state);
  }

  void Intend(State state, size_t index) {
    const int next = state.Next();
    if (state.IsDone() || next == kAttempts) return;
    if (flaw_ == Flaw::starts_before_commit) Execute(&state, next);
    state.engines[index].attempt = static_cast<int8_t>(next);
    Commit(
        state, index,
        [&](State* after) { after->log[static_cast<size_t>(next)] = Logged::intended; },
        Phase::starting);
  }

  void Start(State state, size_t index) {
    EngineModel& engine = state.engines[index];
    engine.phase = Execute(&state, engine.attempt) ? Phase::watching : Phase::failed;
    Add(state);
  }

  // What an executor does; false when the attempt will never run.
  bool Execute(State* state, int attempt) {
    Executed& executed = state->executor[static_cast<size_t>(attempt)];
    if (executed == Executed::given_up) return false;
    if (executed != Executed::nothing) return true;  // it watches the one that there is
    if (state->log[static_cast<size_t>(attempt)] == Logged::nothing) {
      Violate("an attempt starts, and that it is to is not durable");
    }
    if (state->log[static_cast<size_t>(attempt)] == Logged::lost) {
      Violate("an attempt starts that was given up");
    }
    for (const Executed other : state->executor) {
      if (other == Executed::runs || other == Executed::over) {
        Violate("the task is started a second time");
      }
    }
    executed = Executed::runs;
    return true;
  }

  // When the holder does nothing more, the lease is free for everybody at some time.
  void CheckTakeOver(const State& state) {
    const auto longest = std::chrono::seconds(kLeaseSeconds + 2 * kClockErrors.back());
    for (const EngineModel& engine : state.engines) {
      if (!IsFree(state, ClockOf(engine) + longest)) Violate("the lease is never free");
    }
  }

  // From every state in which not everything is used up there is a way to the end of the task.
  void CheckThatItEnds() {
    std::vector<bool> ends(states_.size());
    std::deque<size_t> queue;
    for (size_t i = 0; i < states_.size(); ++i) {
      const State& state = states_[i];
      if (state.IsDone() || state.fence == kFences ||
          (state.Next() == kAttempts && state.Open() == kAttempts)) {
        ends[i] = true;
        queue.push_back(i);
      }
    }
    while (!queue.empty()) {
      const size_t state = queue.front();
      queue.pop_front();
      for (const size_t earlier : before_[state]) {
        if (ends[earlier]) continue;
        ends[earlier] = true;
        queue.push_back(earlier);
      }
    }
    if (std::find(ends.begin(), ends.end(), false) != ends.end()) {
      Violate("there is a state from which the task never ends");
    }
  }

  Flaw flaw_;
  bool is_gone_known_;
  std::map<State, size_t> seen_;
  std::vector<State> states_;
  std::vector<std::vector<size_t>> before_;
  std::deque<size_t> queue_;
  size_t at_ = 0;
};

TEST_CASE("In no order of events does a lease let a task start twice, or an old engine write") {
  const bool is_gone_known = GENERATE(false, true);
  Model model(Flaw::none, is_gone_known);
  model.Explore();
  CAPTURE(model.violation);
  CHECK(model.violation.empty());
  CHECK(model.states() > 10'000);
  WARN(model.states() << " states");
}

TEST_CASE("The model of the lease notices each rule that is left out") {
  const auto violation = [](Flaw flaw) {
    Model model(flaw, false);
    model.Explore();
    return model.violation;
  };
  CHECK(violation(Flaw::commits_without_fence) ==
        "an engine commits that another has taken the store from");
  CHECK(violation(Flaw::adopts_without_trace) == "an attempt starts that was given up");
  CHECK(violation(Flaw::starts_before_commit) ==
        "an attempt starts, and that it is to is not durable");
}

}  // namespace
}  // namespace trackbed
