// The thread that talks to Slurm for one executor: submits, asks, cancels, reads the attempts'
// records, and concludes from both how attempts ended.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "executors/attempt_records.hpp"
#include "executors/slurm_cluster.hpp"
#include "executors/slurm_jobs.hpp"
#include "trackbed/executors/executor.hpp"

namespace trackbed {

struct SlurmOrder {
  AttemptKey key;
  std::string folder;
  std::vector<std::string> arguments;  // of sbatch
  std::vector<std::string> gang;       // names of the members; empty: a single process
  bool fresh = false;                  // nobody can have submitted it yet
};

// Called by the executor's thread, but for what is private. Never waits for anything but its mutex,
// which is held for moments.
class SlurmWorker {
 public:
  SlurmWorker(std::unique_ptr<SlurmCluster> cluster, Duration poll_interval,
              Duration record_patience);
  // Jobs go on, but for those that are nobody's; commands under way are killed.
  ~SlurmWorker();
  SlurmWorker(const SlurmWorker&) = delete;
  SlurmWorker& operator=(const SlurmWorker&) = delete;

  Status Initialize();
  void Watch(SlurmOrder order);
  void Stop(const AttemptKey& key, StopMode mode);
  void TakeReports(std::vector<AttemptReport>* reports);
  // Readable when there are reports.
  int WakeDescriptor() const { return news_; }

 private:
  using Clock = std::chrono::steady_clock;

  struct Member {
    std::string name;  // empty: it is no gang's
    std::string folder;
    std::optional<ExitRecord> exit;
    std::string damage;      // of its claim
    int64_t beat = 0;        // the last one, in the time of whoever wrote it
    Clock::time_point seen;  // when that was new to us
  };
  struct Job {
    enum class Phase : uint8_t {
      queued,      // to be submitted
      submitting,  // sbatch runs
      submitted,   // Slurm has it, or has had it, or sbatch did not say
    };
    SlurmOrder order;
    std::string name;
    Phase phase = Phase::queued;
    int submissions = 0;  // that Slurm took
    int delays = 0;       // that it did not take, for now
    Clock::time_point not_before;
    uint64_t settled = 0;  // the last question that began before the submission had ended

    std::string id;  // empty: not known
    JobState state = JobState::unknown;
    std::string state_text;
    std::string reason;
    int misses = 0;  // answers in a row that did not have it
    bool accounted = false;
    std::optional<Clock::time_point> gone_at;  // when Slurm was first seen to be done with it

    std::vector<Member> members;  // one, where it is no gang
    bool claimed = false;
    uint64_t claimed_at = 0;         // the last question that began before that was seen
    bool started = false;            // reported
    std::optional<ExitRecord> exit;  // of all members
    std::string ended_in;            // folder of the member that this is of

    std::optional<StopMode> stop;
    bool withdrawn = false;   // scancel has been told, should it be waiting
    bool terminated = false;  // likewise, running
    std::optional<Clock::time_point> killed_at;
    bool cancelled = false;  // since the kill did not help
    bool fenced = false;
    bool done = false;
  };
  struct Message {
    SlurmOrder order;
    std::optional<StopMode> stop;  // else to be watched
  };

  void Send(Message message);
  void Loop();
  void TakeMessages();
  void Add(SlurmOrder order);

  // Submitting.
  void SubmitWaiting();
  void Submit(Job* job);
  void OnSubmitted(const AttemptKey& key, const SubmitAnswer& answer);

  // Asking.
  void AskQueue();
  void StartQuestion();
  void OnQueue(uint64_t question, const std::multimap<std::string, JobLine>& lines);
  void Learn(Job* job, std::vector<const JobLine*> lines);
  void AskAccounts();
  void OnAccounts(const std::vector<AttemptKey>& keys,
                  const StatusOr<std::map<std::string, JobLine>>& lines);

  // Stopping.
  void PassStops();
  static void Tell(CancelMode mode, Job* job, std::vector<Job*>* batch);
  void Cancel(CancelMode mode, const std::vector<Job*>& jobs);
  void CancelAbandoned();
  void SendCancel(CancelMode mode, const std::vector<SlurmTarget>& targets,
                  const std::function<void()>& failed);
  void WithdrawAbandoned();
  void Abandon(const Job& job) { abandoned_.push_back({"", job.name}); }
  void WithdrawStrays(const std::multimap<std::string, JobLine>& lines);

  // Concluding.
  bool IsLively() const { return Clock::now() < lively_until_; }
  void LookAtFiles();
  void Read(Job* job);
  void ReadClaim(Job* job, Member* member);
  static void MergeEnds(Job* job);
  bool IsAlive(Job* job) const;
  static void Fence(const Job& job);
  void Settle(Job* job);
  void SettleRecorded(Job* job);
  void SettleWaiting(Job* job);
  void SettleGone(Job* job);
  void SettleUnclaimed(Job* job);
  bool GiveUp(Job* job);
  bool MayHaveBeenTakenAway(const Job& job) const;

  void ReportStarted(Job* job);
  void ReportExit(Job* job, const ExitRecord& record);
  void ReportFailed(Job* job, std::string message);
  void ReportLost(Job* job, std::string message);
  void Report(AttemptReport report);
  void Finish(Job* job);
  void Sweep();

  const Duration poll_interval_;
  const Duration record_patience_;
  int news_ = -1;
  int inbox_ = -1;

  std::mutex mutex_;
  std::vector<Message> messages_;
  std::vector<AttemptReport> reports_;
  bool ending_ = false;
  std::thread thread_;

  // The thread's own.
  const std::unique_ptr<SlurmCluster> cluster_;
  std::map<AttemptKey, Job> jobs_;
  AttemptKey looked_at_;  // the last one whose files were
  Clock::time_point lively_until_;
  size_t submitting_ = 0;
  size_t cancelling_ = 0;
  uint64_t questions_ = 0;
  bool asking_ = false;
  bool accounting_ = true;
  bool asking_accounts_ = false;
  Clock::time_point next_question_;
  std::vector<SlurmTarget> abandoned_;  // jobs to cancel that are nobody's any more
  bool swept_ = true;
  // Jobs of attempts that are over, as their files say, or that are another engine's; since when.
  // A controller that was killed may have such as waiting, or running, when it comes back.
  std::map<std::string, Clock::time_point> strays_;
  uint64_t wanted_ = 0;    // the next question that looks for them
  uint64_t answered_ = 0;  // the last one
};

}  // namespace trackbed
