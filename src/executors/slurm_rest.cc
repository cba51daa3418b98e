#include "executors/slurm_rest.hpp"

#include <absl/strings/str_cat.h>
#include <poll.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "executors/attempt_records.hpp"
#include "executors/curl_transport.hpp"
#include "executors/slurm_commands.hpp"
#include "executors/slurm_rest_json.hpp"

namespace trackbed {
namespace {

// slurmrestd answers from a few threads of its own; more would only queue there.
constexpr size_t kExchangesAtOnce = 4;
constexpr Duration kAnswerLimit = std::chrono::seconds(60);
constexpr size_t kMaxAnswer = size_t{256} << 20;  // all jobs of a large cluster
constexpr size_t kMaxToken = size_t{64} << 10;
constexpr int kFirstError = 300;
constexpr int kNotFoundStatus = 404;
// From this version on a signal can be sent to the batch script alone.
constexpr int kSignalFlags = 39;

Status Failure(const HttpOutcome& outcome) {
  if (outcome.status == 0) return Unavailable("slurmrestd does not answer: " + outcome.error);
  const std::string problem = RestProblem(outcome.body);
  return Unavailable(absl::StrCat("slurmrestd answers with status ", outcome.status,
                                  problem.empty() ? "" : ": ", problem));
}

std::string UserName() {
  char buffer[4096];
  passwd entry{};
  passwd* found = nullptr;
  getpwuid_r(geteuid(), &entry, buffer, sizeof(buffer), &found);
  return found == nullptr ? std::to_string(geteuid()) : found->pw_name;
}

// What jobs get besides what Slurm says: nothing of a login, nothing of ours.
std::vector<std::string> JobEnvironment() {
  std::vector<std::string> environment;
  for (const std::string& entry : SlurmCommandEnvironment()) {
    for (const char* name : {"LC_ALL=", "PATH=", "HOME=", "USER=", "LOGNAME=", "TZ="}) {
      if (entry.starts_with(name)) environment.push_back(entry);
    }
  }
  return environment;
}

std::string WithoutBlanks(std::string text) {
  while (!text.empty() && strchr(" \t\r\n", text.back()) != nullptr) text.pop_back();
  return text.substr(std::min(text.find_first_not_of(" \t\r\n"), text.size()));
}

}  // namespace

Status CheckRestOptions(const SlurmRestOptions& options) {
  return ParseContainerEndpoint(options.endpoint).status();
}

StatusOr<std::unique_ptr<SlurmRest>> SlurmRest::Create(const SlurmRestOptions& options) {
  TRACKBED_ASSIGN_OR_RETURN(ContainerEndpoint endpoint, ParseContainerEndpoint(options.endpoint));
  endpoint.ca_file = options.ca_file;
  TRACKBED_ASSIGN_OR_RETURN(std::unique_ptr<HttpTransport> transport, NewCurlTransport(endpoint));
  auto rest = std::make_unique<SlurmRest>(options, std::move(transport));
  TRACKBED_RETURN_IF_ERROR(rest->Headers().status());
  return rest;
}

SlurmRest::SlurmRest(SlurmRestOptions options, std::unique_ptr<HttpTransport> transport)
    : options_(std::move(options)), transport_(std::move(transport)) {}

// Tokens last for minutes or hours, so that whoever renews one is listened to at once.
StatusOr<std::vector<std::string>> SlurmRest::Headers() const {
  std::string token;
  if (!options_.token_file.empty()) {
    const int error = ReadSmallFile(options_.token_file, kMaxToken, &token);
    if (error != 0) {
      return FailedPrecondition("cannot read the token of slurmrestd in " + options_.token_file +
                                ": " + strerror(error));
    }
    token = WithoutBlanks(token);
  } else if (const char* value = getenv("SLURM_JWT"); value != nullptr) {
    token = value;
  }
  if (token.empty()) return std::vector<std::string>{};
  if (token.find_first_of("\r\n") != std::string::npos) {
    return FailedPrecondition("the token of slurmrestd has several lines");
  }
  return std::vector<std::string>{
      "X-SLURM-USER-NAME: " + (options_.user.empty() ? UserName() : options_.user),
      "X-SLURM-USER-TOKEN: " + token};
}

// --- Exchanges ---

void SlurmRest::Ask(Question question) {
  waiting_.push_back(std::move(question));
  Begin();
}

void SlurmRest::Begin() {
  if (waiting_.empty()) return;
  if (version_ == 0) {
    Negotiate();
    return;
  }
  while (in_flight_ < kExchangesAtOnce && !waiting_.empty()) {
    Question next = std::move(waiting_.front());
    waiting_.pop_front();
    Send(std::move(next));
  }
}

void SlurmRest::Send(Question question) {
  HttpRequest request;
  request.method = question.method;
  request.path = question.path.starts_with('/') ? question.path : RestPath(version_, question.path);
  request.timeout = kAnswerLimit;
  StatusOr<std::string> body = question.body ? question.body() : StatusOr<std::string>("");
  StatusOr<std::vector<std::string>> headers = Headers();
  if (!body.ok() || !headers.ok()) {
    HttpOutcome outcome;
    outcome.error = std::string(Message(body.ok() ? headers.status() : body.status()));
    due_.push_back([done = std::move(question.done), outcome] { done(outcome); });
    return;
  }
  request.body = *std::move(body);
  request.headers = *std::move(headers);
  const auto answer = std::make_shared<std::string>();
  const auto too_long = std::make_shared<bool>(false);
  HttpHandler handler;
  handler.on_bytes = [answer, too_long](std::string_view bytes) {
    *too_long = *too_long || answer->size() + bytes.size() > kMaxAnswer;
    if (!*too_long) answer->append(bytes);
  };
  const bool versioned = !question.path.starts_with('/');
  handler.on_done = [this, answer, too_long, versioned,
                     done = std::move(question.done)](HttpOutcome outcome) {
    --in_flight_;
    if (outcome.status != 0 && outcome.status < kFirstError) outcome.body = std::move(*answer);
    if (*too_long) outcome = {0, "the answer is too long", ""};
    // The service may be another one by now. (A job that it does not know is no 404.)
    if (versioned && outcome.status == kNotFoundStatus) version_ = 0;
    done(std::move(outcome));
    Begin();
  };
  ++in_flight_;
  transport_->Send(std::move(request), std::move(handler));
}

void SlurmRest::Negotiate() {
  if (negotiating_) return;
  negotiating_ = true;
  Send({"GET", "/openapi", {}, [this](const HttpOutcome& outcome) { OnDescription(outcome); }});
}

void SlurmRest::OnDescription(const HttpOutcome& outcome) {
  negotiating_ = false;
  HttpOutcome failure = outcome;
  if (outcome.status != 0 && outcome.status < kFirstError) {
    const StatusOr<int> version = ChooseRestVersion(outcome.body);
    if (version.ok()) {
      version_ = *version;
      return;  // whose end this is begins what waits
    }
    failure = {0, std::string(Message(version.status())), ""};
  }
  for (Question& question : std::exchange(waiting_, {})) {
    due_.push_back([done = std::move(question.done), failure] { done(failure); });
  }
}

void SlurmRest::Wait(int wake, Duration timeout) {
  transport_->Run();
  if (due_.empty()) {
    pollfd watched[] = {{wake, POLLIN, 0}, {transport_->WakeDescriptor(), POLLIN, 0}};
    const auto limit = std::chrono::ceil<std::chrono::milliseconds>(timeout).count();
    poll(watched, 2, static_cast<int>(std::max<int64_t>(limit, 0)));
    transport_->Run();
  }
  for (const std::function<void()>& tell : std::exchange(due_, {})) tell();
}

// --- Submitting and asking ---

Status SlurmRest::Submit(const std::vector<std::string>& arguments,
                         std::function<void(SubmitAnswer)> done) {
  const auto mistake = std::make_shared<std::string>();
  Ask({"POST", "job/submit",
       [this, arguments, mistake] {
         StatusOr<std::string> body = RestSubmission(version_, arguments, JobEnvironment());
         if (!body.ok()) *mistake = std::string(Message(body.status()));
         return body;
       },
       [mistake, done = std::move(done)](const HttpOutcome& outcome) {
         if (!mistake->empty()) {
           done({SubmitAnswer::Kind::refused, "", *mistake});
         } else if (outcome.status == 0) {
           done({SubmitAnswer::Kind::unsure, "", std::string(Message(Failure(outcome)))});
         } else {
           done(ReadRestSubmission(outcome.status, outcome.body));
         }
       }});
  return absl::OkStatus();
}

Status SlurmRest::Query(std::function<void(StatusOr<std::multimap<std::string, JobLine>>)> done) {
  Ask({"GET", "jobs", {}, [done = std::move(done)](const HttpOutcome& outcome) {
         if (outcome.status == 0 || outcome.status >= kFirstError) {
           done(Failure(outcome));
         } else {
           done(ReadRestJobs(outcome.body));
         }
       }});
  return absl::OkStatus();
}

Status SlurmRest::QueryAccounts(
    const std::vector<std::string>& /*ids*/,
    std::function<void(StatusOr<std::map<std::string, JobLine>>)> /*done*/) {
  return NotFound("accounting is not asked by REST");
}

// --- Cancelling ---

Status SlurmRest::Cancel(CancelMode mode, const std::vector<SlurmTarget>& jobs,
                         std::function<void(Status)> done) {
  struct Progress {
    size_t left = 0;
    Status status = absl::OkStatus();
  };
  const auto progress = std::make_shared<Progress>();
  progress->left = jobs.size();
  const auto ended = [progress, done = std::move(done)](const Status& status) {
    progress->status.Update(status);
    if (--progress->left == 0) done(progress->status);
  };
  for (const SlurmTarget& job : jobs) CancelOne(mode, job, ended);
  return absl::OkStatus();
}

void SlurmRest::CancelOne(CancelMode mode, const SlurmTarget& job,
                          std::function<void(Status)> done) {
  if (job.id.empty()) {
    CancelNamed(job.name, done);
    return;
  }
  if (mode != CancelMode::withdraw && job.name.empty()) {
    Delete(mode, job.id, std::move(done));
    return;
  }
  // Only if it waits, or has this name.
  Ask({"GET",
       "job/" + job.id,
       {},
       [this, mode, target = job, done = std::move(done)](const HttpOutcome& outcome) {
         if (outcome.status == 0) {
           done(Failure(outcome));
           return;
         }
         const auto jobs = ReadRestJobs(outcome.body);
         const bool meant =
             jobs.ok() && std::any_of(jobs->begin(), jobs->end(), [&](const auto& entry) {
               if (mode == CancelMode::withdraw && entry.second.state != JobState::waiting) {
                 return false;
               }
               return target.name.empty() || target.name == entry.first;
             });
         if (meant) {
           Delete(CancelMode::end, target.id, done);
         } else {
           done(absl::OkStatus());
         }
       }});
}

void SlurmRest::CancelNamed(const std::string& name, const std::function<void(Status)>& done) {
  const Status asked = Query([this, name, done](const auto& jobs) {
    if (!jobs.ok()) {
      done(jobs.status());
      return;
    }
    std::vector<SlurmTarget> targets;
    const auto [begin, end] = jobs->equal_range(name);
    for (auto job = begin; job != end; ++job) {
      if (!HasEnded(job->second.state)) targets.push_back({job->second.id, ""});
    }
    if (targets.empty()) {
      done(absl::OkStatus());
    } else if (const Status status = Cancel(CancelMode::end, targets, done); !status.ok()) {
      done(status);
    }
  });
  if (!asked.ok()) done(asked);
}

// Before there were flags, a signal went to the batch script and all that it had started.
void SlurmRest::Delete(CancelMode mode, const std::string& id, std::function<void(Status)> done) {
  std::string path = "job/" + id;
  if (mode == CancelMode::terminate) path += "?signal=TERM";
  if (mode == CancelMode::kill) path += "?signal=USR2";
  if (path.find('?') != std::string::npos && version_ >= kSignalFlags) {
    path += "&flags=BATCH_JOB";
  }
  Ask({"DELETE", path, {}, [done = std::move(done)](const HttpOutcome& outcome) {
         // Where it was told and refused, the job is over.
         const bool refused = outcome.status >= kFirstError && !RestProblem(outcome.body).empty() &&
                              !MayBeTakenLater(RestProblem(outcome.body));
         const bool told = refused || (outcome.status != 0 && outcome.status < kFirstError);
         done(told ? absl::OkStatus() : Failure(outcome));
       }});
}

// --- Looking at the service ---

void SlurmRest::Ping(std::function<void(StatusOr<std::string>)> done) {
  Ask({"GET", "ping", {}, [this, done = std::move(done)](const HttpOutcome& outcome) {
         if (outcome.status == 0 || outcome.status >= kFirstError) {
           done(Failure(outcome));
           return;
         }
         StatusOr<std::string> release = ReadRestPing(outcome.body);
         if (release.ok()) {
           release = absl::StrCat("slurm ", *release, " by slurmrestd, v0.0.", version_);
         }
         done(std::move(release));
       }});
}

void SlurmRest::Partitions(std::function<void(StatusOr<std::vector<std::string>>)> done) {
  Ask({"GET", "partitions", {}, [done = std::move(done)](const HttpOutcome& outcome) {
         if (outcome.status == 0 || outcome.status >= kFirstError) {
           done(Failure(outcome));
           return;
         }
         done(ReadRestPartitions(outcome.body));
       }});
}

}  // namespace trackbed
