#include "trackbed/executors/gang_executor.hpp"

#include <absl/strings/str_cat.h>
#include <errno.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "executors/gang_environment.hpp"
#include "executors/host_files.hpp"

namespace trackbed {
namespace {

class SteadyClock final : public Clock {
 public:
  Time Now() override {
    return Time(
        std::chrono::duration_cast<Duration>(std::chrono::steady_clock::now().time_since_epoch()));
  }
};

bool Succeeded(const AttemptReport& end) {
  return end.kind == AttemptReport::Kind::exited && end.exit_code == 0 && end.signal == 0;
}

std::string Describe(const AttemptReport& end) {
  if (!end.message.empty()) return end.message;
  if (end.out_of_memory) return "ran out of memory";
  if (end.kind == AttemptReport::Kind::failed_to_start) return "could not be started";
  if (end.kind == AttemptReport::Kind::lost) return "vanished";
  if (end.signal != 0) return absl::StrCat("ended by signal ", end.signal);
  return absl::StrCat("exited with code ", end.exit_code);
}

AttemptReport NotStarted(const Status& status) {
  AttemptReport report;
  report.kind = absl::IsUnavailable(status) ? AttemptReport::Kind::lost
                                            : AttemptReport::Kind::failed_to_start;
  report.message = std::string(Message(status));
  return report;
}

}  // namespace

StatusOr<std::unique_ptr<GangExecutor>> GangExecutor::Create(Executor* members, Clock* clock) {
  static SteadyClock steady;
  std::unique_ptr<GangExecutor> executor(
      new GangExecutor(members, clock == nullptr ? &steady : clock));
  TRACKBED_RETURN_IF_ERROR(executor->Initialize());
  return executor;
}

Status GangExecutor::Initialize() {
  const int inner = members_.WakeDescriptor();
  if (inner < 0) return absl::OkStatus();  // Poll always has something to say: so it has here
  wake_ = epoll_create1(EPOLL_CLOEXEC);
  timer_ = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
  if (wake_ < 0 || timer_ < 0) return HostStatus(errno, "cannot make descriptors");
  for (const int descriptor : {inner, timer_}) {
    epoll_event event{};
    event.events = EPOLLIN;
    if (epoll_ctl(wake_, EPOLL_CTL_ADD, descriptor, &event) != 0) {
      return HostStatus(errno, "cannot watch an executor");
    }
  }
  return absl::OkStatus();
}

GangExecutor::~GangExecutor() {
  for (const int descriptor : {wake_, timer_}) {
    if (descriptor >= 0) close(descriptor);
  }
}

// ---- Beginning -------------------------------------------------------------------------------

Status GangExecutor::Start(const AttemptSpec& spec) {
  if (spec.gang.empty()) return members_.Start(spec);
  const auto known = gangs_.find(spec.key);
  Gang gang;
  if (known != gangs_.end()) gang = known->second;
  gang.grace_period = spec.grace_period;
  for (size_t rank = gang.members.size(); rank < spec.gang.size(); ++rank) {
    Member& member = gang.members.emplace_back();
    member.host = spec.gang[rank].host;
    member.key = MemberKey(spec.key, spec.gang[rank], rank);
    member.folder =
        rank == 0 ? spec.folder : absl::StrCat(spec.folder, "/", kMembersFolder, "/", member.host);
  }
  // main1 first: one that is given up before it starts keeps the others from starting.
  for (size_t rank = 0; rank < gang.members.size(); ++rank) {
    Member& member = gang.members[rank];
    member.node = spec.gang[rank].node;
    if (member.watched || member.ended) continue;
    AttemptSpec one = spec;
    one.key = member.key;
    one.folder = member.folder;
    one.node = member.node;
    one.devices = spec.gang[rank].devices;
    one.rank = rank;
    // Whoever takes the attempt up finds by these folders that it is a gang, and of whom.
    Status status = rank > 0 ? MakeFolders(member.folder) : absl::OkStatus();
    if (gang.failed != SIZE_MAX) status = FailedPrecondition("another member has failed");
    if (status.ok()) status = members_.Start(one);
    if (!status.ok() && rank == 0) return status;
    if (status.ok()) {
      member.watched = true;
    } else {
      End(&gang, rank, NotStarted(status));
    }
  }
  Add(spec.key, std::move(gang));
  return absl::OkStatus();
}

std::vector<GangExecutor::Member> GangExecutor::MembersIn(const AttemptKey& key,
                                                          const std::string& folder) {
  std::vector<Member> members;
  const std::string below = absl::StrCat(folder, "/", kMembersFolder);
  if (!IsRealFolder(below)) return members;
  const StatusOr<std::vector<std::string>> names = ListFolder(below);
  if (!names.ok() || names->empty()) return members;
  for (size_t rank = 0; rank <= names->size(); ++rank) {
    Member& member = members.emplace_back();
    member.host = rank == 0 ? "main1" : absl::StrCat("sub", rank);
    member.key = rank == 0 ? key : absl::StrCat(key, "/", member.host);
    member.folder = rank == 0 ? folder : absl::StrCat(below, "/", member.host);
  }
  return members;
}

Status GangExecutor::Take(const AttemptKey& key, const std::string& folder, bool adopt) {
  const auto watch = [&](const AttemptKey& one, const std::string& where) {
    return adopt ? members_.Adopt(one, where) : members_.Observe(one, where);
  };
  const auto known = gangs_.find(key);
  Gang gang;
  if (known != gangs_.end()) {
    gang = known->second;
  } else {
    gang.members = MembersIn(key, folder);
  }
  if (gang.members.empty()) return watch(key, folder);
  Status first = absl::OkStatus();
  bool found = known != gangs_.end();
  for (size_t rank = 0; rank < gang.members.size(); ++rank) {
    Member& member = gang.members[rank];
    if (member.watched || member.ended) continue;
    const Status status = watch(member.key, member.folder);
    member.watched = status.ok();
    found = found || member.watched;
    if (!status.ok() && !absl::IsNotFound(status)) return status;
    if (first.ok()) first = status;
  }
  if (!found) return first;
  for (size_t rank = 0; adopt && rank < gang.members.size(); ++rank) {
    if (!gang.members[rank].watched)
      End(&gang, rank, NotStarted(FailedPrecondition("was never started")));
  }
  Add(key, std::move(gang));
  return absl::OkStatus();
}

Status GangExecutor::Adopt(const AttemptKey& key, const std::string& folder) {
  return Take(key, folder, true);
}

Status GangExecutor::Observe(const AttemptKey& key, const std::string& folder) {
  return Take(key, folder, false);
}

void GangExecutor::Add(const AttemptKey& key, Gang gang) {
  for (const Member& member : gang.members) by_member_[member.key] = key;
  gangs_[key] = std::move(gang);
}

// ---- Ending ----------------------------------------------------------------------------------

void GangExecutor::End(Gang* gang, size_t rank, AttemptReport report) {
  Member& member = gang->members[rank];
  if (member.ended) return;
  member.ended = true;
  member.watched = false;
  const bool well = Succeeded(report);
  member.end = std::move(report);
  if (well || gang->failed != SIZE_MAX) return;
  gang->failed = rank;
  StopOthers(gang, StopMode::terminate);
  gang->kill_at = clock_.Now() + gang->grace_period;
}

void GangExecutor::StopOthers(Gang* gang, StopMode mode) {
  for (const Member& member : gang->members) {
    // Not found: it has ended, and its report is on its way.
    if (member.watched) (void)members_.Stop(member.key, mode);
  }
}

Status GangExecutor::Stop(const AttemptKey& key, StopMode mode) {
  const auto found = gangs_.find(key);
  if (found == gangs_.end()) return members_.Stop(key, mode);
  StopOthers(&found->second, mode);
  return absl::OkStatus();
}

Status GangExecutor::GiveUp(const AttemptKey& key) {
  const auto found = gangs_.find(key);
  if (found == gangs_.end()) return members_.GiveUp(key);
  found->second.given_up = true;
  StopOthers(&found->second, StopMode::kill);
  return absl::OkStatus();
}

// What is on nodes that do not answer cannot be waited for.
void GangExecutor::GiveUpSilent(Gang* gang) {
  const std::vector<std::string> silent = members_.SilentNodes();
  for (size_t rank = 0; rank < gang->members.size(); ++rank) {
    const Member& member = gang->members[rank];
    if (!member.watched || std::find(silent.begin(), silent.end(), member.node) == silent.end()) {
      continue;
    }
    (void)members_.GiveUp(member.key);
    AttemptReport lost;
    lost.kind = AttemptReport::Kind::lost;
    lost.message = absl::StrCat("its node ", member.node, " does not answer");
    End(gang, rank, std::move(lost));
  }
}

// ---- Reporting -------------------------------------------------------------------------------

AttemptReport GangExecutor::ReportOf(const AttemptKey& key, const Gang& gang) const {
  AttemptReport report = gang.members.front().end;
  if (gang.failed != SIZE_MAX) {
    const Member& failed = gang.members[gang.failed];
    report.kind = failed.end.kind;
    report.exit_code = failed.end.exit_code;
    report.signal = failed.end.signal;
    report.out_of_memory = failed.end.out_of_memory;
    report.message = absl::StrCat("member ", failed.host, ": ", Describe(failed.end));
  }
  report.key = key;
  report.wall_time = Duration{0};
  report.cpu_time = Duration{0};
  for (const Member& member : gang.members) {
    report.wall_time = std::max(report.wall_time, member.end.wall_time);
    report.cpu_time += member.end.cpu_time;
    report.max_rss_bytes = std::max(report.max_rss_bytes, member.end.max_rss_bytes);
  }
  return report;
}

Status GangExecutor::Poll(std::vector<AttemptReport>* reports) {
  TRACKBED_RETURN_IF_ERROR(members_.Poll(&reports_));
  for (AttemptReport& report : std::exchange(reports_, {})) {
    const auto member = by_member_.find(report.key);
    if (member == by_member_.end()) {
      reports->push_back(std::move(report));
      continue;
    }
    Gang& gang = gangs_.at(member->second);
    if (!std::exchange(gang.started, true)) {
      AttemptReport started;
      started.key = member->second;
      started.kind = AttemptReport::Kind::started;
      reports->push_back(std::move(started));
    }
    if (report.kind == AttemptReport::Kind::started) continue;
    const auto rank = std::find_if(gang.members.begin(), gang.members.end(),
                                   [&](const Member& one) { return one.key == report.key; });
    End(&gang, static_cast<size_t>(rank - gang.members.begin()), std::move(report));
  }
  Settle(reports);
  return absl::OkStatus();
}

void GangExecutor::Settle(std::vector<AttemptReport>* reports) {
  const Time now = clock_.Now();
  Time next = kNever;
  for (auto entry = gangs_.begin(); entry != gangs_.end();) {
    Gang& gang = entry->second;
    if (gang.given_up) GiveUpSilent(&gang);
    if (gang.kill_at <= now) {
      gang.kill_at = kNever;
      StopOthers(&gang, StopMode::kill);
    }
    const bool over = std::none_of(gang.members.begin(), gang.members.end(),
                                   [](const Member& member) { return member.watched; });
    if (!over) {
      next = std::min(next, gang.kill_at);
      ++entry;
      continue;
    }
    for (const Member& member : gang.members) by_member_.erase(member.key);
    reports->push_back(ReportOf(entry->first, gang));
    entry = gangs_.erase(entry);
  }
  if (timer_ < 0 || next == due_) return;
  due_ = next;
  itimerspec due{};
  if (next != kNever) {
    const auto wait = std::max<int64_t>((next - now).count(), 1);
    due.it_value.tv_sec = wait / 1'000'000'000;
    due.it_value.tv_nsec = wait % 1'000'000'000;
  }
  (void)timerfd_settime(timer_, 0, &due, nullptr);
}

}  // namespace trackbed
