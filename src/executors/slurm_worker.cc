#include "executors/slurm_worker.hpp"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>

#include "executors/attempt_end.hpp"
#include "executors/container_order.hpp"
#include "executors/host_files.hpp"
#include "executors/supervisor_process.hpp"

namespace trackbed {
namespace {

// A controller answers several at once; more would only queue there.
constexpr size_t kSubmitsAtOnce = 4;
constexpr size_t kCancelsAtOnce = 200;
constexpr int kMaxSubmissions = 3;
constexpr size_t kFilesAtOnce = 64;
constexpr Duration kFilePeriod = std::chrono::milliseconds(100);
constexpr Duration kIdlePeriod = std::chrono::hours(1);
constexpr Duration kCommandLimit = std::chrono::seconds(60);
constexpr Duration kCancelLimit = std::chrono::seconds(20);
constexpr Duration kLongestDelay = std::chrono::seconds(60);
// After which a job that was killed by a signal to its supervisor is left to Slurm.
constexpr Duration kKillPatience = std::chrono::seconds(10);
// A query is not begun before its like has taken a tenth of the time since: a controller that is
// slow is not asked oftener than it can take.
constexpr int kQuietFactor = 10;
constexpr Duration kPartingPatience = std::chrono::seconds(3);
constexpr size_t kMaxWords = 400;

std::string WithoutPrefix(std::string text, const std::string& prefix) {
  for (size_t at = 0; (at = text.find(prefix, at)) != std::string::npos;) {
    text.erase(at, prefix.size());
  }
  return text;
}

// What Slurm left in the attempt's folder about the job, in one line.
std::string SlurmWords(const std::string& folder) {
  std::string text;
  ReadSmallFile(folder + "/" + kSlurmLogFile, kMaxRecordBytes, &text);
  while (!text.empty() && text.back() == '\n') text.pop_back();
  if (text.size() > kMaxWords) text.erase(0, text.size() - kMaxWords);
  std::replace(text.begin(), text.end(), '\n', ' ');
  return text.empty() ? "" : ": " + text;
}

}  // namespace

StatusOr<SlurmCommands> FindSlurmCommands() {
  SlurmCommands commands{FindInPath("sbatch"), FindInPath("squeue"), FindInPath("scancel"),
                         FindInPath("sacct")};
  const std::pair<const char*, const std::string&> needed[] = {
      {"sbatch", commands.submit}, {"squeue", commands.queue}, {"scancel", commands.cancel}};
  for (const auto& [name, path] : needed) {
    if (path.empty()) {
      return NotFound(std::string("there is no ") + name +
                      " in PATH; install Slurm's commands (Debian: slurm-client)");
    }
  }
  return commands;
}

std::vector<std::string> SlurmCommandEnvironment() {
  // Their messages are read here, so they are to be in English.
  std::vector<std::string> environment = {"LC_ALL=C"};
  for (const char* name :
       {"PATH", "HOME", "USER", "LOGNAME", "TZ", "LD_LIBRARY_PATH", "SLURM_CONF", "SLURM_JWT",
        "SLURM_CLUSTERS", "SBATCH_ACCOUNT", "SBATCH_PARTITION", "SBATCH_QOS", "SBATCH_RESERVATION",
        "SBATCH_CONSTRAINT", "SBATCH_CLUSTERS"}) {
    const char* value = getenv(name);
    if (value != nullptr) environment.push_back(std::string(name) + "=" + value);
  }
  return environment;
}

SlurmWorker::SlurmWorker(SlurmCommands commands, Duration poll_interval, Duration record_patience)
    : commands_(std::move(commands)),
      poll_interval_(poll_interval),
      record_patience_(record_patience),
      runner_(SlurmCommandEnvironment()) {}

SlurmWorker::~SlurmWorker() {
  if (thread_.joinable()) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      ending_ = true;
    }
    const uint64_t one = 1;
    [[maybe_unused]] const ssize_t written = write(inbox_, &one, sizeof(one));
    thread_.join();
  }
  for (const int descriptor : {news_, inbox_}) {
    if (descriptor >= 0) close(descriptor);
  }
}

Status SlurmWorker::Initialize() {
  news_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  inbox_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  return news_ >= 0 && inbox_ >= 0 ? absl::OkStatus()
                                   : HostStatus(errno, "cannot make descriptors");
}

// --- On the executor's thread ---

void SlurmWorker::Watch(SlurmOrder order) { Send({std::move(order), std::nullopt}); }

void SlurmWorker::Stop(const AttemptKey& key, StopMode mode) { Send({{key, "", {}, false}, mode}); }

void SlurmWorker::Send(Message message) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    messages_.push_back(std::move(message));
  }
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = write(inbox_, &one, sizeof(one));
  if (thread_.joinable()) return;
  // The host's signals are for its own threads.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  thread_ = std::thread([this] { Loop(); });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

void SlurmWorker::TakeReports(std::vector<AttemptReport>* reports) {
  uint64_t ignored = 0;
  [[maybe_unused]] const ssize_t drained = read(news_, &ignored, sizeof(ignored));
  const std::lock_guard<std::mutex> lock(mutex_);
  reports->insert(reports->end(), std::make_move_iterator(reports_.begin()),
                  std::make_move_iterator(reports_.end()));
  reports_.clear();
}

// --- The thread ---

void SlurmWorker::Loop() {
  while (true) {
    TakeMessages();
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (ending_) break;
    }
    LookAtFiles();
    SubmitWaiting();
    AskQueue();
    AskAccounts();
    PassStops();
    Sweep();
    runner_.Wait(inbox_, jobs_.empty() && abandoned_.empty() ? kIdlePeriod : kFilePeriod);
  }
  WithdrawAbandoned();
}

// Nobody will know of these jobs any more. An answer is waited for, but not for long.
void SlurmWorker::WithdrawAbandoned() {
  Cancel({}, std::exchange(abandoned_, {}), {}, nullptr);
  const auto until = Clock::now() + kPartingPatience;
  while (cancelling_ > 0 && Clock::now() < until) runner_.Wait(-1, until - Clock::now());
}

void SlurmWorker::TakeMessages() {
  uint64_t ignored = 0;
  [[maybe_unused]] const ssize_t drained = read(inbox_, &ignored, sizeof(ignored));
  std::vector<Message> messages;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    messages.swap(messages_);
  }
  for (Message& message : messages) {
    if (!message.stop) {
      Add(std::move(message.order));
    } else if (const auto found = jobs_.find(message.order.key); found != jobs_.end()) {
      found->second.stop = message.stop;
    }
  }
}

void SlurmWorker::Add(SlurmOrder order) {
  Job& job = jobs_[order.key];
  job.name = ContainerName(order.key, order.folder);
  job.phase = order.fresh ? Job::Phase::queued : Job::Phase::submitted;
  job.settled = questions_;
  job.order = std::move(order);
  if (job.phase == Job::Phase::submitted) {
    Read(&job);
    Settle(&job);
  }
}

// --- Submitting ---

void SlurmWorker::SubmitWaiting() {
  const auto now = Clock::now();
  for (auto& [key, job] : jobs_) {
    if (submitting_ >= kSubmitsAtOnce) return;
    if (job.done || job.phase != Job::Phase::queued) continue;
    if (job.stop) {
      if (GiveUp(&job)) ReportFailed(&job, "stopped before it started");
    } else if (job.not_before <= now) {
      Submit(&job);
    }
  }
}

void SlurmWorker::Submit(Job* job) {
  std::vector<std::string> words = {commands_.submit};
  words.insert(words.end(), job->order.arguments.begin(), job->order.arguments.end());
  const AttemptKey key = job->order.key;
  const Status status = runner_.Start(
      words, kCommandLimit, [this, key](const CommandResult& result) { OnSubmitted(key, result); });
  if (!status.ok()) {
    job->not_before = Clock::now() + std::chrono::seconds(1);
    return;
  }
  job->phase = Job::Phase::submitting;
  ++submitting_;
}

void SlurmWorker::OnSubmitted(const AttemptKey& key, const CommandResult& result) {
  --submitting_;
  Job* job = &jobs_.at(key);
  job->phase = Job::Phase::submitted;
  job->settled = questions_;
  job->misses = 0;
  job->gone_at.reset();
  // "ID" or "ID;CLUSTER".
  const std::string id = result.output.substr(0, result.output.find_first_of(";\n"));
  if (!id.empty() && id.find_first_not_of("0123456789") == std::string::npos) {
    job->id = id;
    job->state = JobState::unknown;
    ++job->submissions;
    return;
  }
  const std::string problem = WithoutPrefix(result.Problem(), "sbatch: error: ");
  if (result.timed_out || result.exit_code < 0 || MayBeTakenLater(problem)) {
    // Perhaps it was taken and only the answer was lost: the queue will tell, and where it does not
    // know the job, that is submitted again.
    ++job->delays;
    job->not_before =
        Clock::now() + std::min<Duration>(std::chrono::seconds(job->delays), kLongestDelay);
    return;
  }
  if (GiveUp(job)) ReportFailed(job, "Slurm refuses the job: " + problem);
}

// --- Asking ---

void SlurmWorker::AskQueue() {
  const auto now = Clock::now();
  if (asking_ || now < next_question_) return;
  const bool any = std::any_of(jobs_.begin(), jobs_.end(), [](const auto& entry) {
    return !entry.second.done && entry.second.phase == Job::Phase::submitted;
  });
  if (!any) return;
  const uint64_t question = ++questions_;
  next_question_ = now + poll_interval_;
  const Status status =
      runner_.Start({commands_.queue, "--me", "--all", "--noheader", "--states=all", kQueueFormat},
                    kCommandLimit, [this, question, now](const CommandResult& result) {
                      asking_ = false;
                      next_question_ = std::max(next_question_,
                                                Clock::now() + kQuietFactor * (Clock::now() - now));
                      OnQueue(question, result);
                    });
  asking_ = status.ok();
}

void SlurmWorker::OnQueue(uint64_t question, const CommandResult& result) {
  if (!result.Succeeded()) return;
  const std::multimap<std::string, JobLine> lines = ReadQueue(result.output);
  for (auto& [key, job] : jobs_) {
    if (job.done || job.phase != Job::Phase::submitted || job.settled >= question) continue;
    std::vector<const JobLine*> own;
    const auto [begin, end] = lines.equal_range(job.name);
    for (auto line = begin; line != end; ++line) own.push_back(&line->second);
    Learn(&job, std::move(own));
    Read(&job);
    // Put back after it had begun: what ran is dead, and what comes will find the claim.
    if (job.state == JobState::waiting && job.claimed && !job.exit && job.claimed_at < question) {
      ReportLost(&job, "its job " + job.id + " was put back into the queue");
      continue;
    }
    Settle(&job);
  }
}

// Of several jobs for one attempt, which there are after a submission of which nobody knew whether
// it had arrived, one that runs counts before one that waits, and that before one that is over.
void SlurmWorker::Learn(Job* job, std::vector<const JobLine*> lines) {
  if (lines.empty()) {
    ++job->misses;
    if (!HasEnded(job->state)) job->state = JobState::unknown;
    return;
  }
  const auto rank = [](const JobLine* line) {
    return line->state == JobState::running ? 0 : line->state == JobState::waiting ? 1 : 2;
  };
  std::stable_sort(lines.begin(), lines.end(), [&](const JobLine* a, const JobLine* b) {
    return std::pair(rank(a), a->id) < std::pair(rank(b), b->id);
  });
  const JobLine& line = *lines.front();
  job->misses = 0;
  job->id = line.id;
  job->state = line.state;
  job->state_text = line.state_text;
  job->reason = line.reason;
  for (size_t i = 1; i < lines.size(); ++i) {
    if (lines[i]->state == JobState::waiting) Abandon(lines[i]->id);
  }
}

void SlurmWorker::AskAccounts() {
  if (!accounting_ || asking_accounts_ || commands_.account.empty()) return;
  std::vector<AttemptKey> keys;
  std::string ids;
  for (const auto& [key, job] : jobs_) {
    if (job.done || job.accounted || job.id.empty() || !job.claimed || job.exit) continue;
    if (job.state != JobState::unknown || !job.gone_at) continue;
    keys.push_back(key);
    ids += (ids.empty() ? "" : ",") + job.id;
  }
  if (keys.empty()) return;
  const Status status = runner_.Start(
      {commands_.account, "--noheader", "--parsable2", "--allocations", kAccountFormat,
       "--jobs=" + ids},
      kCommandLimit, [this, keys](const CommandResult& result) { OnAccounts(keys, result); });
  asking_accounts_ = status.ok();
}

void SlurmWorker::OnAccounts(const std::vector<AttemptKey>& keys, const CommandResult& result) {
  asking_accounts_ = false;
  // Most clusters either have accounting or do not.
  if (!result.Succeeded() && !result.timed_out) accounting_ = false;
  const std::map<std::string, JobLine> lines = ReadAccounts(result.output);
  for (const AttemptKey& key : keys) {
    const auto found = jobs_.find(key);
    if (found == jobs_.end()) continue;
    Job* job = &found->second;
    job->accounted = true;
    const auto line = lines.find(job->id);
    if (line == lines.end() || !HasEnded(line->second.state)) continue;
    job->state = line->second.state;
    job->state_text = line->second.state_text;
  }
}

// --- Stopping ---

void SlurmWorker::PassStops() {
  const auto now = Clock::now();
  struct Batch {
    std::vector<std::string> ids;
    std::vector<AttemptKey> keys;
  };
  Batch withdraw;
  Batch terminate;
  Batch kill;
  Batch cancel;
  const auto add = [](const AttemptKey& key, const Job& job, Batch* batch) {
    batch->ids.push_back(job.id);
    batch->keys.push_back(key);
  };
  for (auto& [key, job] : jobs_) {
    if (job.done || !job.stop || job.exit || job.id.empty() || HasEnded(job.state)) continue;
    if (job.phase != Job::Phase::submitted) continue;
    if (!job.claimed && job.state != JobState::running) {
      if (!job.withdrawn) add(key, job, &withdraw);
      job.withdrawn = true;
    } else if (*job.stop == StopMode::terminate) {
      if (!job.terminated) add(key, job, &terminate);
      job.terminated = true;
    } else if (!job.killed_at) {
      job.killed_at = now;
      add(key, job, &kill);
    } else if (!job.cancelled && now > *job.killed_at + kKillPatience) {
      job.cancelled = true;
      add(key, job, &cancel);
    }
  }
  Cancel({"--state=PENDING"}, withdraw.ids, withdraw.keys,
         [](Job* job) { job->withdrawn = false; });
  Cancel({"--batch", "--signal=TERM"}, terminate.ids, terminate.keys,
         [](Job* job) { job->terminated = false; });
  Cancel({"--batch", "--signal=USR2"}, kill.ids, kill.keys,
         [](Job* job) { job->killed_at.reset(); });
  Cancel({}, cancel.ids, cancel.keys, [](Job* job) { job->cancelled = false; });
  Cancel({}, std::exchange(abandoned_, {}), {}, nullptr);
}

// `undo` is for jobs that scancel could not be told about: they are tried again.
void SlurmWorker::Cancel(const std::vector<std::string>& flags, const std::vector<std::string>& ids,
                         const std::vector<AttemptKey>& keys, void (*undo)(Job*)) {
  for (size_t begin = 0; begin < ids.size(); begin += kCancelsAtOnce) {
    const size_t end = std::min(begin + kCancelsAtOnce, ids.size());
    std::vector<std::string> words = {commands_.cancel, "--quiet"};
    words.insert(words.end(), flags.begin(), flags.end());
    std::vector<std::string> batch(ids.begin() + static_cast<ptrdiff_t>(begin),
                                   ids.begin() + static_cast<ptrdiff_t>(end));
    words.insert(words.end(), batch.begin(), batch.end());
    std::vector<AttemptKey> owners;
    if (!keys.empty()) {
      owners.assign(keys.begin() + static_cast<ptrdiff_t>(begin),
                    keys.begin() + static_cast<ptrdiff_t>(end));
    }
    const auto failed = [this, owners, undo, batch] {
      for (const AttemptKey& key : owners) {
        if (const auto found = jobs_.find(key); found != jobs_.end()) undo(&found->second);
      }
      if (owners.empty()) abandoned_.insert(abandoned_.end(), batch.begin(), batch.end());
    };
    const Status status =
        runner_.Start(words, kCancelLimit, [this, failed](const CommandResult& result) {
          --cancelling_;
          // Where it was told and refused, the job is over.
          if (result.timed_out || MayBeTakenLater(result.error_text)) failed();
        });
    if (status.ok()) {
      ++cancelling_;
    } else {
      failed();
    }
  }
}

// --- Concluding ---

// Some at a time, in turn, so that a file system far away is not asked more the more jobs there
// are.
void SlurmWorker::LookAtFiles() {
  if (jobs_.empty()) return;
  auto at = jobs_.upper_bound(looked_at_);
  for (size_t i = 0; i < std::min(kFilesAtOnce, jobs_.size()); ++i) {
    if (at == jobs_.end()) at = jobs_.begin();
    looked_at_ = at->first;
    Job* job = &(at++)->second;
    if (job->done || job->phase != Job::Phase::submitted) continue;
    Read(job);
    Settle(job);
  }
}

void SlurmWorker::Read(Job* job) {
  if (job->exit || job->done) return;
  std::string text;
  const std::string& folder = job->order.folder;
  const int error = ReadSmallFile(folder + "/" + kClaimFile, kMaxRecordBytes, &text);
  if (error == ENOENT || error == ESTALE || error == EIO) return;
  ClaimRecord claim;
  job->damage.clear();
  if (error != 0) {
    job->damage = strerror(error);
  } else if (DecodeClaimFile(text, &claim, &job->exit, &job->damage) && claim.given_up) {
    ReportFailed(job, "it was given up before it started");
    return;
  }
  if (!job->claimed) {
    job->claimed = true;
    job->claimed_at = questions_;
  }
}

void SlurmWorker::Settle(Job* job) {
  if (job->done) return;
  if (job->claimed) ReportStarted(job);
  if (job->exit) {
    SettleRecorded(job);
  } else if (HasEnded(job->state) || job->misses > 0) {
    SettleGone(job);
  } else if (job->state == JobState::waiting) {
    SettleWaiting(job);
  }
}

// Whether the command may have ended because Slurm wanted it to.
bool SlurmWorker::MayHaveBeenTakenAway(const Job& job) const {
  if (job.stop || !job.exit->ran) return false;
  if (job.exit->signal == 0 && job.exit->exit_code == 0) return false;
  return job.exit->signal == SIGKILL || PathExists(job.order.folder + "/" + kAskedFile);
}

void SlurmWorker::SettleRecorded(Job* job) {
  if (!MayHaveBeenTakenAway(*job)) {
    ReportExit(job, *job->exit);
    return;
  }
  // Slurm knows why; it is asked anyway before long.
  if (!HasEnded(job->state) && job->misses == 0) return;
  ExitRecord record = *job->exit;
  switch (job->state) {
    case JobState::taken_away:
      ReportLost(job, "Slurm has taken its job " + job->id + " away: " + job->state_text);
      return;
    case JobState::timed_out:
      record.message = "stopped at the time limit of its job " + job->id;
      break;
    case JobState::out_of_memory:
      record.out_of_memory = true;
      record.message = "its job " + job->id + " needed more memory than it was given";
      break;
    case JobState::cancelled:
      record.message = "its job " + job->id + " was cancelled";
      break;
    default:
      break;
  }
  ReportExit(job, record);
}

void SlurmWorker::SettleWaiting(Job* job) {
  const bool launch_failed = CouldNotBeLaunched(job->reason);
  if (job->claimed || !(launch_failed || IsHopeless(job->reason)) || !GiveUp(job)) return;
  if (launch_failed) {
    ReportLost(job, "a node could not launch its job " + job->id);
  } else {
    Abandon(job->id);
    ReportFailed(job, "its job " + job->id + " would wait for ever: " + job->reason);
  }
}

// The job is over, or Slurm does not know it, and there is no record of the end.
void SlurmWorker::SettleGone(Job* job) {
  const auto now = Clock::now();
  if (!job->gone_at) job->gone_at = now;
  if (!job->claimed) {
    SettleUnclaimed(job);
    return;
  }
  if (!HasEnded(job->state) && job->misses < 2) return;
  // What the node has written may take a while to be seen here.
  if (now < *job->gone_at + record_patience_) return;
  ExitRecord killed;
  killed.signal = SIGKILL;
  switch (job->state) {
    case JobState::timed_out:
      killed.message = "killed at the time limit of its job " + job->id;
      ReportExit(job, killed);
      return;
    case JobState::out_of_memory:
      killed.out_of_memory = true;
      killed.message = "its job " + job->id + " needed more memory than it was given";
      ReportExit(job, killed);
      return;
    case JobState::cancelled:
      killed.message = "its job " + job->id + " was cancelled";
      ReportExit(job, killed);
      return;
    case JobState::taken_away:
      ReportLost(job, "Slurm has taken its job " + job->id + " away: " + job->state_text);
      return;
    default:
      break;
  }
  const std::string what = HasEnded(job->state) ? "has ended (" + job->state_text + ")"
                                                : "is not known to Slurm any more";
  const std::string left = job->damage.empty() ? "left no record of the end"
                                               : "left a damaged record of the end: " + job->damage;
  ReportLost(job,
             "its job " + job->id + " " + what + " and " + left + SlurmWords(job->order.folder));
}

void SlurmWorker::SettleUnclaimed(Job* job) {
  const bool known = HasEnded(job->state);
  const std::string& folder = job->order.folder;
  if (!known && !job->stop && job->submissions < kMaxSubmissions &&
      PathExists(folder + "/" + kOrderFile)) {
    job->phase = Job::Phase::queued;
    job->misses = 0;
    job->gone_at.reset();
    return;
  }
  if (!GiveUp(job)) return;
  if (job->stop) {
    ReportFailed(job, "stopped before it started");
  } else if (!known) {
    ReportLost(job, "Slurm does not know its job, and the command has not begun");
  } else if (job->state == JobState::taken_away) {
    ReportLost(job, "Slurm has taken its job " + job->id +
                        " away before the command began: " + job->state_text);
  } else {
    ReportFailed(job, "its job " + job->id + " ended before the command began (" + job->state_text +
                          ")" + SlurmWords(folder));
  }
}

// Sees to it that nobody starts the attempt any more. False when somebody has, which is then known.
bool SlurmWorker::GiveUp(Job* job) {
  ClaimRecord given_up;
  given_up.key = job->order.key;
  given_up.given_up = true;
  const std::string path = job->order.folder + "/" + kClaimFile;
  if (WriteWholeFile(path, EncodeClaim(given_up), true) != EEXIST) return true;
  job->phase = Job::Phase::submitted;
  Read(job);
  return false;
}

// --- Reports ---

void SlurmWorker::ReportStarted(Job* job) {
  if (job->started) return;
  job->started = true;
  AttemptReport report;
  report.key = job->order.key;
  report.kind = AttemptReport::Kind::started;
  Report(std::move(report));
}

void SlurmWorker::ReportExit(Job* job, const ExitRecord& record) {
  if (!record.ran) {
    ReportFailed(job, record.message);
    return;
  }
  ReportStarted(job);
  AttemptReport report = ReportOfEnd(job->order.key, job->order.folder, record);
  Finish(job);
  Report(std::move(report));
}

void SlurmWorker::ReportFailed(Job* job, std::string message) {
  AttemptReport report;
  report.key = job->order.key;
  report.kind = AttemptReport::Kind::failed_to_start;
  report.message = std::move(message);
  Finish(job);
  Report(std::move(report));
}

void SlurmWorker::ReportLost(Job* job, std::string message) {
  ReportStarted(job);
  AttemptReport report;
  report.key = job->order.key;
  report.kind = AttemptReport::Kind::lost;
  report.message = std::move(message);
  // It may have been put back, or be there in spite of what Slurm says.
  if (!job->id.empty() && !HasEnded(job->state)) Abandon(job->id);
  Finish(job);
  Report(std::move(report));
}

void SlurmWorker::Report(AttemptReport report) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    reports_.push_back(std::move(report));
  }
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = write(news_, &one, sizeof(one));
}

// Before the end is told: whoever hears of it finds nothing left.
void SlurmWorker::Finish(Job* job) {
  // Where no job has taken it, it still holds the secrets.
  unlink((job->order.folder + "/" + kOrderFile).c_str());
  job->done = true;
  swept_ = false;
}

void SlurmWorker::Sweep() {
  if (swept_) return;
  std::erase_if(jobs_, [](const auto& entry) { return entry.second.done; });
  swept_ = true;
}

}  // namespace trackbed
