#include "executors/slurm_worker.hpp"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <set>
#include <string_view>
#include <system_error>

#include "executors/adoption.hpp"
#include "executors/attempt_end.hpp"
#include "executors/attempt_name.hpp"
#include "executors/host_files.hpp"
#include "executors/supervisor/gang.hpp"

namespace trackbed {
namespace {

// A controller answers several at once; more would only queue there.
constexpr size_t kSubmitsAtOnce = 4;
constexpr int kMaxSubmissions = 3;
constexpr size_t kFilesAtOnce = 64;
constexpr Duration kFilePeriod = std::chrono::milliseconds(100);
// For a moment after something has happened it looks oftener, at fewer files each time: where jobs
// are short, what follows one of them starts sooner.
constexpr int kLively = 5;
constexpr Duration kLivelyFor = std::chrono::seconds(1);
constexpr Duration kIdlePeriod = std::chrono::hours(1);
constexpr Duration kLongestDelay = std::chrono::seconds(60);
// After which a job that was killed by a signal to its supervisor is left to Slurm.
constexpr Duration kKillPatience = std::chrono::seconds(10);
// A query is not begun before its like has taken a tenth of the time since: a controller that is
// slow is not asked oftener than it can take.
constexpr int kQuietFactor = 10;
constexpr Duration kPartingPatience = std::chrono::seconds(3);
constexpr size_t kMaxWords = 400;
constexpr std::string_view kNameBegin = "trackbed-";
// From the end of an attempt to that of its job.
constexpr Duration kEndPatience = std::chrono::seconds(20);
constexpr const char* kGivenUpGang = "given up";

// Of a file that was opened for it, so that it is none that a network file system remembers; 0
// where there is none.
int64_t ModificationTime(const std::string& path) {
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (file < 0) return 0;
  struct stat status{};
  const bool known = fstat(file, &status) == 0;
  close(file);
  constexpr int64_t kNanoseconds = 1'000'000'000;
  return known ? status.st_mtim.tv_sec * kNanoseconds + status.st_mtim.tv_nsec : 0;
}

bool HasRecordedEnd(const std::string& folder, ClaimRecord* claim) {
  std::string text;
  std::optional<ExitRecord> exit;
  std::string damage;
  return ReadSmallFile(folder + "/" + kClaimFile, kMaxRecordBytes, &text) == 0 &&
         DecodeClaimFile(text, claim, &exit, &damage) && (exit || claim->given_up);
}

// Whether the attempt in `folder`, if it is that of the job, has ended.
bool IsOver(const std::string& job_name, const std::string& folder) {
  ClaimRecord claim;
  if (!folder.starts_with('/') || !HasRecordedEnd(folder, &claim) ||
      AttemptName(claim.key, folder) != job_name) {
    return false;
  }
  std::error_code error;
  const std::filesystem::directory_iterator members(folder + "/" + kMembersFolder, error);
  if (error || claim.given_up) return true;
  return std::all_of(begin(members), end(members), [](const auto& member) {
    ClaimRecord of_member;
    return HasRecordedEnd(member.path().string(), &of_member);
  });
}

std::string DescribeEnd(const ExitRecord& end) {
  if (!end.message.empty()) return end.message;
  if (end.signal != 0) return "ended by signal " + std::to_string(end.signal);
  return "exited with code " + std::to_string(end.exit_code);
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

SlurmWorker::SlurmWorker(std::unique_ptr<SlurmCluster> cluster, Duration poll_interval,
                         Duration record_patience)
    : poll_interval_(poll_interval),
      record_patience_(record_patience),
      cluster_(std::move(cluster)) {}

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

void SlurmWorker::Stop(const AttemptKey& key, StopMode mode) {
  Send({{key, "", {}, {}, false}, mode});
}

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
    const bool idle = jobs_.empty() && abandoned_.empty() && answered_ >= wanted_;
    cluster_->Wait(inbox_, idle ? kIdlePeriod : IsLively() ? kFilePeriod / kLively : kFilePeriod);
  }
  WithdrawAbandoned();
}

// Nobody will know of these jobs any more. Answers are waited for, but not for long.
void SlurmWorker::WithdrawAbandoned() {
  const auto until = Clock::now() + kPartingPatience;
  if (answered_ < wanted_ && !asking_) StartQuestion();
  while (asking_ && Clock::now() < until) {
    cluster_->Wait(-1, until - Clock::now());
  }
  CancelAbandoned();
  while (cancelling_ > 0 && Clock::now() < until) cluster_->Wait(-1, until - Clock::now());
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
  job.name = AttemptName(order.key, order.folder);
  job.phase = order.fresh ? Job::Phase::queued : Job::Phase::submitted;
  job.settled = questions_;
  job.order = std::move(order);
  job.members.clear();
  const auto add = [&job](const std::string& name, std::string folder) {
    Member& member = job.members.emplace_back();
    member.name = name;
    member.folder = std::move(folder);
  };
  if (job.order.gang.empty()) add("", job.order.folder);
  for (const std::string& name : job.order.gang) {
    add(name, GangMemberFolder(job.order.folder, name));
  }
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
  const AttemptKey key = job->order.key;
  const Status status = cluster_->Submit(
      job->order.arguments, [this, key](const SubmitAnswer& answer) { OnSubmitted(key, answer); });
  if (!status.ok()) {
    job->not_before = Clock::now() + std::chrono::seconds(1);
    return;
  }
  job->phase = Job::Phase::submitting;
  ++submitting_;
}

void SlurmWorker::OnSubmitted(const AttemptKey& key, const SubmitAnswer& answer) {
  --submitting_;
  Job* job = &jobs_.at(key);
  job->phase = Job::Phase::submitted;
  job->settled = questions_;
  job->misses = 0;
  job->gone_at.reset();
  lively_until_ = Clock::now() + kLivelyFor;
  switch (answer.kind) {
    case SubmitAnswer::Kind::taken:
      job->id = answer.id;
      job->state = JobState::unknown;
      ++job->submissions;
      break;
    case SubmitAnswer::Kind::unsure:
      // Where it was taken and only the answer was lost, the queue will tell; where that does not
      // know the job, it is submitted again.
      ++job->delays;
      job->not_before =
          Clock::now() + std::min<Duration>(std::chrono::seconds(job->delays), kLongestDelay);
      break;
    case SubmitAnswer::Kind::refused:
      if (GiveUp(job)) ReportFailed(job, "Slurm refuses the job: " + answer.problem);
      break;
  }
}

// --- Asking ---

void SlurmWorker::AskQueue() {
  const auto now = Clock::now();
  if (asking_ || now < next_question_) return;
  const bool any = std::any_of(jobs_.begin(), jobs_.end(), [](const auto& entry) {
    return !entry.second.done && entry.second.phase == Job::Phase::submitted;
  });
  if (any || answered_ < wanted_) StartQuestion();
}

void SlurmWorker::StartQuestion() {
  const auto now = Clock::now();
  const uint64_t question = ++questions_;
  next_question_ = now + poll_interval_;
  const Status status = cluster_->Query([this, question, now](const auto& lines) {
    asking_ = false;
    next_question_ = std::max(next_question_, Clock::now() + kQuietFactor * (Clock::now() - now));
    if (!lines.ok()) return;
    answered_ = question;
    WithdrawStrays(*lines);
    OnQueue(question, *lines);
  });
  asking_ = status.ok();
}

void SlurmWorker::OnQueue(uint64_t question, const std::multimap<std::string, JobLine>& lines) {
  for (auto& [key, job] : jobs_) {
    if (job.done || job.phase != Job::Phase::submitted || job.settled >= question) continue;
    std::vector<const JobLine*> own;
    const auto [begin, end] = lines.equal_range(job.name);
    for (auto line = begin; line != end; ++line) own.push_back(&line->second);
    Learn(&job, std::move(own));
    Read(&job);
    // Put back after it had begun: what ran is dead, or ended because of it, and what comes will
    // find the claim.
    const bool put_back =
        job.state == JobState::waiting && job.claimed && job.claimed_at < question;
    if (put_back && (job.exit ? MayHaveBeenTakenAway(job) : !IsAlive(&job))) {
      ReportLost(&job, "its job " + job.id + " was put back into the queue");
      continue;
    }
    Settle(&job);
  }
}

// Nobody watches such a job, since its attempt has ended, perhaps in the time of an earlier engine.
void SlurmWorker::WithdrawStrays(const std::multimap<std::string, JobLine>& lines) {
  const auto now = Clock::now();
  std::set<std::string_view> watched;
  for (const auto& [key, job] : jobs_) {
    if (!job.done) watched.insert(job.name);
  }
  std::map<std::string, Clock::time_point> strays;
  size_t looked_at = 0;
  for (const auto& [name, line] : lines) {
    if (HasEnded(line.state) || !name.starts_with(kNameBegin) || watched.contains(name)) continue;
    const auto known = strays_.find(line.id);
    const auto since = known == strays_.end() ? now : known->second;
    strays.emplace(line.id, since);
    // It takes a moment until the end of a job has come to the controller.
    if (line.state == JobState::running && now < since + kEndPatience) continue;
    if (++looked_at > kFilesAtOnce || !IsOver(name, line.folder)) continue;
    abandoned_.push_back({line.id, name});
    strays.erase(line.id);
  }
  strays_ = std::move(strays);
  // Those that stay are another engine's.
  const bool again = std::any_of(strays_.begin(), strays_.end(), [&](const auto& stray) {
    return now < stray.second + 2 * kEndPatience;
  });
  if (again) wanted_ = questions_ + 1;
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
    if (lines[i]->state == JobState::waiting) abandoned_.push_back({lines[i]->id, job->name});
  }
}

void SlurmWorker::AskAccounts() {
  if (!accounting_ || asking_accounts_) return;
  std::vector<AttemptKey> keys;
  std::vector<std::string> ids;
  for (const auto& [key, job] : jobs_) {
    if (job.done || job.accounted || job.id.empty() || !job.claimed || job.exit) continue;
    if (job.state != JobState::unknown || !job.gone_at) continue;
    keys.push_back(key);
    ids.push_back(job.id);
  }
  if (keys.empty()) return;
  const Status status =
      cluster_->QueryAccounts(ids, [this, keys](const auto& lines) { OnAccounts(keys, lines); });
  asking_accounts_ = status.ok();
  accounting_ = status.ok();
}

void SlurmWorker::OnAccounts(const std::vector<AttemptKey>& keys,
                             const StatusOr<std::map<std::string, JobLine>>& lines) {
  asking_accounts_ = false;
  // Most clusters either have accounting or do not.
  if (!lines.ok() && !absl::IsUnavailable(lines.status())) accounting_ = false;
  for (const AttemptKey& key : keys) {
    const auto found = jobs_.find(key);
    if (found == jobs_.end()) continue;
    Job* job = &found->second;
    job->accounted = true;
    if (!lines.ok()) continue;
    const auto line = lines->find(job->id);
    if (line == lines->end() || !HasEnded(line->second.state)) continue;
    job->state = line->second.state;
    job->state_text = line->second.state_text;
  }
}

// --- Stopping ---

void SlurmWorker::PassStops() {
  const auto now = Clock::now();
  std::map<CancelMode, std::vector<Job*>> batches;
  for (auto& [key, job] : jobs_) {
    if (job.done || !job.stop || job.exit || job.id.empty() || HasEnded(job.state)) continue;
    // What Slurm does not know just now may have lost its number to another.
    if (job.phase != Job::Phase::submitted || job.misses > 0) continue;
    if (!job.claimed && job.state != JobState::running) {
      if (!job.withdrawn) batches[CancelMode::withdraw].push_back(&job);
      job.withdrawn = true;
    } else if (*job.stop == StopMode::terminate) {
      if (!job.terminated) Tell(CancelMode::terminate, &job, &batches[CancelMode::terminate]);
      job.terminated = true;
    } else if (!job.killed_at) {
      job.killed_at = now;
      Tell(CancelMode::kill, &job, &batches[CancelMode::kill]);
    } else if (!job.cancelled && now > *job.killed_at + kKillPatience) {
      job.cancelled = true;
      batches[CancelMode::end].push_back(&job);
    }
  }
  for (const auto& [mode, jobs] : batches) {
    if (!jobs.empty()) Cancel(mode, jobs);
  }
  CancelAbandoned();
}

// A signal for a gang would end srun, and with it the supervisors: they are told by a file.
void SlurmWorker::Tell(CancelMode mode, Job* job, std::vector<Job*>* batch) {
  if (job->order.gang.empty()) {
    batch->push_back(job);
    return;
  }
  const char* word = mode == CancelMode::kill ? kStopByForce : kStopPolitely;
  if (WriteWholeFile(job->order.folder + "/" + kStopFile, word, false) == 0) return;
  batch->push_back(job);
}

void SlurmWorker::Cancel(CancelMode mode, const std::vector<Job*>& jobs) {
  std::vector<SlurmTarget> targets;
  std::vector<AttemptKey> keys;
  for (const Job* job : jobs) {
    targets.push_back({job->id, ""});
    keys.push_back(job->order.key);
  }
  SendCancel(mode, targets, [this, mode, keys] {
    for (const AttemptKey& key : keys) {
      const auto found = jobs_.find(key);
      if (found == jobs_.end()) continue;
      Job* job = &found->second;
      if (mode == CancelMode::withdraw) job->withdrawn = false;
      if (mode == CancelMode::terminate) job->terminated = false;
      if (mode == CancelMode::kill) job->killed_at.reset();
      if (mode == CancelMode::end) job->cancelled = false;
    }
  });
}

void SlurmWorker::CancelAbandoned() {
  if (abandoned_.empty()) return;
  const std::vector<SlurmTarget> targets = std::exchange(abandoned_, {});
  SendCancel(CancelMode::end, targets, [this, targets] {
    abandoned_.insert(abandoned_.end(), targets.begin(), targets.end());
  });
}

// `failed` is called when Slurm could not be told, now or later: so that it is tried again.
void SlurmWorker::SendCancel(CancelMode mode, const std::vector<SlurmTarget>& targets,
                             const std::function<void()>& failed) {
  const Status status = cluster_->Cancel(mode, targets, [this, failed](const Status& told) {
    --cancelling_;
    if (!told.ok()) failed();
  });
  if (status.ok()) {
    ++cancelling_;
  } else {
    failed();
  }
}

// --- Concluding ---

// Some at a time, in turn, so that a file system far away is not asked more the more jobs there
// are.
void SlurmWorker::LookAtFiles() {
  if (jobs_.empty()) return;
  auto at = jobs_.upper_bound(looked_at_);
  const size_t count = IsLively() ? kFilesAtOnce / kLively : kFilesAtOnce;
  for (size_t i = 0; i < std::min(count, jobs_.size()); ++i) {
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
  const bool gang = !job->order.gang.empty();
  if (gang && !job->claimed) {
    std::string owner;
    const int error = ReadSmallFile(job->order.folder + "/" + kGangFile, kMaxRecordBytes, &owner);
    if (error != 0) return;
    if (owner == kGivenUpGang) {
      ReportFailed(job, "it was given up before it started");
      return;
    }
    job->claimed = true;
    job->claimed_at = questions_;
  }
  for (Member& member : job->members) {
    if (!member.exit) ReadClaim(job, &member);
    if (job->done) return;
  }
  MergeEnds(job);
}

void SlurmWorker::ReadClaim(Job* job, Member* member) {
  std::string text;
  const int error = ReadSmallFile(member->folder + "/" + kClaimFile, kMaxRecordBytes, &text);
  if (error == ENOENT || error == ESTALE || error == EIO) return;
  ClaimRecord claim;
  member->damage.clear();
  if (error != 0) {
    member->damage = strerror(error);
  } else if (DecodeClaimFile(text, &claim, &member->exit, &member->damage) && claim.given_up) {
    ReportFailed(job, "it was given up before it started");
    return;
  }
  if (!job->claimed) {
    job->claimed = true;
    job->claimed_at = questions_;
  }
}

// A gang has ended when all of its members have. It failed as the first of them that did.
void SlurmWorker::MergeEnds(Job* job) {
  ExitRecord merged;
  for (const Member& member : job->members) {
    if (!member.exit) return;
    merged.wall_ns = std::max(merged.wall_ns, member.exit->wall_ns);
    merged.cpu_ns += member.exit->cpu_ns;
    merged.max_rss_bytes = std::max(merged.max_rss_bytes, member.exit->max_rss_bytes);
  }
  const auto failed = [](const Member& member) {
    return !member.exit->ran || member.exit->signal != 0 || member.exit->exit_code != 0;
  };
  const Member* decisive = &job->members.front();
  std::string first;
  ReadSmallFile(job->order.folder + "/" + kFailedFile, kMaxRecordBytes, &first);
  for (const Member& member : job->members) {
    if (!failed(member)) continue;
    if (member.name == first || !failed(*decisive)) decisive = &member;
    if (member.name == first) break;
  }
  const ExitRecord& end = *decisive->exit;
  merged.ran = end.ran;
  merged.exit_code = end.exit_code;
  merged.signal = end.signal;
  merged.out_of_memory = end.out_of_memory;
  merged.output_digest = job->members.front().exit->output_digest;
  merged.message = end.message;
  if (!decisive->name.empty() && failed(*decisive)) {
    merged.message = "member " + decisive->name + ": " + DescribeEnd(end);
  }
  job->exit = std::move(merged);
  job->ended_in = decisive->folder;
}

// Whether a member has shown within the last moments that it is there. Asked only where Slurm says
// that it is not: a node that has lost the controller, or a controller its memory, leaves jobs
// behind that go on, and nothing may run beside them.
bool SlurmWorker::IsAlive(Job* job) const {
  const auto now = Clock::now();
  bool alive = false;
  for (Member& member : job->members) {
    if (member.exit) continue;
    const int64_t beat = ModificationTime(member.folder + "/" + kClaimFile);
    if (beat != 0 && beat != member.beat) {
      member.beat = beat;
      member.seen = now;
    }
    alive = alive || (member.beat != 0 && now < member.seen + record_patience_);
  }
  return alive;
}

// Ends what runs and cannot be reached through Slurm, as soon as it looks.
void SlurmWorker::Fence(const Job& job) {
  for (const Member& member : job.members) {
    WriteWholeFile(member.folder + "/" + kFenceFile, "", true);
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
  return job.exit->signal == SIGKILL || PathExists(job.ended_in + "/" + kAskedFile);
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
    Abandon(*job);
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
  if (job->stop == StopMode::kill && !job->fenced) {
    job->fenced = true;
    Fence(*job);
  }
  // What the node has written may take a while to be seen here.
  const bool alive = IsAlive(job);
  if (alive || now < *job->gone_at + record_patience_) return;
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
  const auto silent = std::find_if(job->members.begin(), job->members.end(),
                                   [](const Member& member) { return !member.exit; });
  const std::string who = silent->name.empty() ? "" : "the member " + silent->name + " ";
  const std::string left = silent->damage.empty()
                               ? "left no record of the end"
                               : "left a damaged record of the end: " + silent->damage;
  ReportLost(job, "its job " + job->id + " " + what + " and " + who + left +
                      SlurmWords(job->order.folder));
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
  const std::string& folder = job->order.folder;
  // Members of a gang start after the gang has been claimed.
  const bool taken = !job->order.gang.empty() &&
                     WriteWholeFile(folder + "/" + kGangFile, kGivenUpGang, true) == EEXIST;
  if (!taken && ClaimForNobody(job->order.key, folder) != EEXIST) return true;
  job->phase = Job::Phase::submitted;
  Read(job);
  return false;
}

// --- Reports ---

void SlurmWorker::ReportStarted(Job* job) {
  if (job->started) return;
  job->started = true;
  lively_until_ = Clock::now() + kLivelyFor;
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
  Fence(*job);
  if (!job->id.empty() && !HasEnded(job->state)) Abandon(*job);
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
  for (const Member& member : job->members) {
    unlink((member.folder + "/" + kOrderFile).c_str());
    // Its supervisor has removed this, where it could.
    std::error_code ignored;
    if (!member.exit) std::filesystem::remove_all(member.folder + "/" + kTemporaryFolder, ignored);
  }
  wanted_ = questions_ + 1;
  lively_until_ = Clock::now() + kLivelyFor;
  job->done = true;
  swept_ = false;
}

void SlurmWorker::Sweep() {
  if (swept_) return;
  std::erase_if(jobs_, [](const auto& entry) { return entry.second.done; });
  swept_ = true;
}

}  // namespace trackbed
