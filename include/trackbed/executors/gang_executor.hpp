// Runs gangs by an executor that runs single processes: each member is an attempt of its own there.
//
// The first member, main1, has the key and the folder of the attempt; the others have KEY/sub1,
// KEY/sub2, … and the folders members/sub1, members/sub2, … below it. What main1 leaves (outputs,
// the file of NAME=VALUE lines) is what the attempt leaves.
//
// The attempt succeeds when every member does. The first member that ends otherwise ends the
// others: they are asked to, and killed after the grace period. The attempt then ends as that
// member did, and its message names it: "member sub1: exited with code 3". It is reported once
// nothing of it runs any more, so nothing of one try meets the next.
//
// A gang that is given up (GiveUp) is given up member by member where nodes are silent, and killed
// elsewhere; it is reported as lost once what can end has ended. The engine counts on that.
//
// Attempts that are no gangs are passed on as they are. What holds for the other executor holds
// here: no thread, no signal handler, and a key starts at most once, whoever asks how often.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "trackbed/base/time.hpp"
#include "trackbed/executors/executor.hpp"

namespace trackbed {

class GangExecutor : public Executor {
 public:
  static constexpr int kMaxMembers = 1024;

  // `members` runs them; not owned, and must outlive this one. `clock` tells when the grace is
  // over; null: a clock that is never set.
  static StatusOr<std::unique_ptr<GangExecutor>> Create(Executor* members, Clock* clock = nullptr);
  ~GangExecutor() override;

  Status Start(const AttemptSpec& spec) override;
  Status Adopt(const AttemptKey& key, const std::string& folder) override;
  Status Observe(const AttemptKey& key, const std::string& folder) override;
  Status Poll(std::vector<AttemptReport>* reports) override;
  Status Stop(const AttemptKey& key, StopMode mode) override;
  Status AddNode(const NodeDescription& node) override { return members_.AddNode(node); }
  std::vector<std::string> SilentNodes() const override { return members_.SilentNodes(); }
  Status GiveUp(const AttemptKey& key) override;
  int WakeDescriptor() const override { return wake_; }
  int MaxClusterSize() const override { return kMaxMembers; }

 private:
  struct Member {
    std::string host;
    std::string node;
    AttemptKey key;
    std::string folder;
    bool watched = false;  // the other executor reports it
    bool ended = false;
    AttemptReport end;
  };
  struct Gang {
    std::vector<Member> members;  // main1 first
    Duration grace_period{0};
    bool started = false;      // reported
    size_t failed = SIZE_MAX;  // the member that ended first otherwise than well
    Time kill_at = kNever;     // those that do not end by themselves
    bool given_up = false;
  };

  GangExecutor(Executor* members, Clock* clock) : members_(*members), clock_(*clock) {}
  Status Initialize();

  // The members of an attempt that somebody started, as its folder has them; of one that is no
  // gang, none.
  static std::vector<Member> MembersIn(const AttemptKey& key, const std::string& folder);
  // Watches what was started of them; who adopts sees to it that the others never are.
  Status Take(const AttemptKey& key, const std::string& folder, bool adopt);
  void Add(const AttemptKey& key, Gang gang);
  void End(Gang* gang, size_t member, AttemptReport report);
  void StopOthers(Gang* gang, StopMode mode);
  void GiveUpSilent(Gang* gang);
  AttemptReport ReportOf(const AttemptKey& key, const Gang& gang) const;
  // Reports those that have ended, kills what outstays its grace, and sees to being called again.
  void Settle(std::vector<AttemptReport>* reports);

  Executor& members_;
  Clock& clock_;
  int wake_ = -1;
  int timer_ = -1;
  Time due_ = kNever;  // of the timer
  std::map<AttemptKey, Gang> gangs_;
  std::map<AttemptKey, AttemptKey> by_member_;
  std::vector<AttemptReport> reports_;
};

}  // namespace trackbed
