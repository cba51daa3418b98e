#include "executors/container_host.hpp"

#include <absl/strings/str_cat.h>
#include <string.h>
#include <sys/stat.h>

#include <algorithm>
#include <utility>

#include "executors/attempt_end.hpp"
#include "executors/attempt_name.hpp"
#include "executors/attempt_records.hpp"
#include "executors/container_end.hpp"
#include "executors/container_files.hpp"
#include "executors/container_strays.hpp"
#include "executors/host_files.hpp"
#include "executors/launch_plan.hpp"
#include "executors/work_folder.hpp"

namespace trackbed {
namespace {

constexpr auto kRequestTimeout = std::chrono::seconds(30);
// Starting may wait for others on a busy machine; the answer decides nothing that Look does not.
constexpr auto kStartTimeout = std::chrono::seconds(120);
constexpr auto kLogSilence = std::chrono::seconds(120);
constexpr auto kAttachPatience = std::chrono::seconds(5);
// A tag may come to mean another image.
constexpr auto kImageKnown = std::chrono::seconds(10);
constexpr auto kNetworkPatience = std::chrono::milliseconds(50);
constexpr auto kEndsInterval = std::chrono::seconds(2);
constexpr auto kListInterval = std::chrono::seconds(20);
constexpr int kMaxTries = 4;  // of what is refused rather than unanswered
constexpr int kMaxRemoveTries = 6;
constexpr int kEmptyLogTries = 5;
constexpr int kMaxEndTries = 8;  // looks, between the end of the output and that of the container
constexpr mode_t kOpenToAll = 0777;

constexpr int kOk = 200;
constexpr int kCreated = 201;
constexpr int kNoContent = 204;
constexpr int kFirstErrorStatus = 300;
constexpr int kNotModified = 304;
constexpr int kNotFoundStatus = 404;
constexpr int kConflict = 409;

bool Unanswered(const HttpOutcome& outcome) {
  return !outcome.error.empty() || outcome.status == 0;
}

bool Reached(const HttpOutcome& outcome) {
  return !Unanswered(outcome) && outcome.status < kFirstServerError;
}

HttpRequest RemovalOf(const std::string& container) {
  HttpRequest request;
  request.method = "DELETE";
  request.path = "/containers/" + container + "?force=1&v=1";
  return request;
}

}  // namespace

ContainerHost::ContainerHost(Shared shared, std::string node, const ContainerEndpoint& endpoint,
                             std::unique_ptr<HttpTransport> transport)
    : shared_(std::move(shared)),
      options_(*shared_.options),
      node_(std::move(node)),
      where_(endpoint),
      endpoint_(endpoint.ToString()),
      connection_(std::move(transport), options_.silence, [this] { OnConnection(); }),
      pulls_(shared_.options, node_, &connection_) {}

// --- Starting ---

void ContainerHost::Begin(const AttemptKey& key, std::unique_ptr<ContainerOrder> order) {
  const std::string folder = order->spec.folder;
  Prepare(NewWatch(key, folder, std::move(order)));
}

void ContainerHost::TakeUp(EarlierAttempt attempt, const ExitRecord* ended) {
  Watch* watch = NewWatch(attempt.key, attempt.folder, std::move(attempt.order));
  watch->secret_names = attempt.launch.secret_names;
  watch->memory_bytes = attempt.launch.memory_bytes;
  if (ended != nullptr) {
    watch->last = FromExit(*watch, *ended);
    watch->stage = Stage::removing;
    Later(watch, Duration(0), &ContainerHost::Remove);
    return;
  }
  watch->stage = Stage::looking;
  Later(watch, Duration(0), &ContainerHost::Look);
}

ContainerHost::Watch* ContainerHost::NewWatch(const AttemptKey& key, const std::string& folder,
                                              std::unique_ptr<ContainerOrder> order) {
  Watch& watch = watches_[next_id_];
  watch.id = next_id_++;
  watch.key = key;
  watch.folder = folder;
  watch.name = AttemptName(key, folder);
  if (order != nullptr) {
    watch.secret_names = order->launch.secret_names;
    watch.memory_bytes = order->launch.memory_bytes;
    SetMask(&watch, SecretEnvironment(order->spec));
  }
  watch.order = std::move(order);
  by_key_[key] = watch.id;
  return &watch;
}

// Values of secrets come with the specification or, after it is gone, from the container itself.
void ContainerHost::SetMask(Watch* watch, const std::vector<std::string>& environment) {
  SecretMask mask;
  for (const std::string& entry : environment) {
    const size_t equals = entry.find('=');
    if (equals == std::string::npos) continue;
    const std::string name = entry.substr(0, equals);
    const auto& names = watch->secret_names;
    if (std::find(names.begin(), names.end(), name) != names.end()) {
      mask.AddSecret(std::string_view(entry).substr(equals + 1));
    }
  }
  watch->log.SetMask(std::move(mask));
}

void ContainerHost::Prepare(Watch* watch) {
  watch->stage = Stage::preparing;
  const auto failure = std::make_shared<std::string>();
  const bool open_to_all = !options_.user.empty();
  shared_.worker->Submit(
      [folder = watch->folder, launch = watch->order->launch, open_to_all, failure] {
        if (!MakeWorkFolder(folder, launch, failure.get()) || !open_to_all) return;
        for (const char* name : {kWorkFolder, kOutputsFolder, kContainerFolder}) {
          chmod((folder + "/" + name).c_str(), kOpenToAll);
        }
      },
      [this, id = watch->id, failure] {
        Watch* prepared = Find(id);
        if (prepared == nullptr) return;
        if (!failure->empty()) {
          FailToStart(prepared, *failure);
          return;
        }
        prepared->prepared = true;
        FindImage(prepared);
      });
}

// --- The image ---

void ContainerHost::FindImage(Watch* watch) {
  watch->stage = Stage::image;
  if (watch->stopping) {
    FailToStart(watch, "stopped before it started");
    return;
  }
  if (const auto known = images_.find(watch->order->image);
      known != images_.end() && SteadyNow() < known->second.until) {
    UseImage(watch, known->second.answer);
    return;
  }
  HttpRequest request;
  request.path = "/images/" + watch->order->image + "/json";
  Request(watch, std::move(request), &ContainerHost::OnImage);
}

void ContainerHost::OnImage(Watch* watch, const HttpOutcome& outcome) {
  if (!Reached(outcome)) {
    Unreached(watch, outcome, &ContainerHost::FindImage);
    return;
  }
  if (outcome.status == kOk) {
    if (const auto image = ReadImage(outcome.body, watch->order->image)) {
      images_[watch->order->image] = {*image, SteadyAfter(kImageKnown)};
      UseImage(watch, *image);
      return;
    }
  }
  if (outcome.status == kNotFoundStatus && !watch->pulled) {
    pulls_.Pull(watch->order->image,
                [this, id = watch->id](const std::string& error, bool reached) {
                  Watch* waiting = Find(id);
                  if (waiting != nullptr && waiting->stage == Stage::image) {
                    OnPulled(waiting, error, reached);
                  }
                });
    return;
  }
  FailToStart(watch, absl::StrCat("the image \"", watch->order->image,
                                  "\" cannot be used: ", ErrorText(outcome.status, outcome.body)));
}

void ContainerHost::UseImage(Watch* watch, const ImageAnswer& image) {
  watch->image_digest = image.digest;
  watch->image_id = image.id;
  if (watch->order->spec.gang.empty()) {
    CreateContainer(watch);
  } else {
    PlanNetwork(watch);
  }
}

void ContainerHost::OnPulled(Watch* watch, const std::string& error, bool reached) {
  if (!error.empty() && (reached || ++watch->tries >= kMaxTries)) {
    FailToStart(watch, error);
    return;
  }
  watch->pulled = error.empty();
  Later(watch, error.empty() ? Duration(0) : Backoff(watch->tries), &ContainerHost::FindImage);
}

// --- The network of a gang ---

void ContainerHost::PlanNetwork(Watch* watch) {
  using Planned = StatusOr<GangNetwork>;
  const auto planned = std::make_shared<Planned>(GangNetwork());
  shared_.worker->Submit(
      // A copy: nodes may be added meanwhile.
      [planned, spec = watch->order->spec, options = options_, owner = shared_.owner,
       has_networks = has_networks_] {
        *planned = PlanGangNetwork(spec, options, owner, has_networks);
      },
      [this, id = watch->id, planned] {
        Watch* waiting = Find(id);
        if (waiting == nullptr || waiting->stage != Stage::image) return;
        if (!planned->ok()) {
          FailToStart(waiting, std::string(Message(planned->status())));
          return;
        }
        waiting->order->network = **planned;
        waiting->network = waiting->order->network.name;
        if (waiting->network.empty()) {
          CreateContainer(waiting);
        } else {
          MakeNetwork(waiting);
        }
      });
}

// Docker makes two of one name when it is asked twice at the same time.
void ContainerHost::MakeNetwork(Watch* watch) {
  if (const auto known = networks_.find(watch->network); known != networks_.end()) {
    if (known->second == NetworkState::made) {
      CreateContainer(watch);
    } else {
      Later(watch, kNetworkPatience, &ContainerHost::MakeNetwork);
    }
    return;
  }
  networks_[watch->network] = NetworkState::asked_for;
  HttpRequest request;
  request.method = "POST";
  request.path = "/networks/create";
  request.body = NetworkBody(*watch->order);
  Request(watch, std::move(request), &ContainerHost::OnNetwork);
}

void ContainerHost::OnNetwork(Watch* watch, const HttpOutcome& outcome) {
  networks_.erase(watch->network);
  if (Unanswered(outcome)) {
    Unreached(watch, outcome, &ContainerHost::MakeNetwork);
    return;
  }
  const std::string text = ErrorText(outcome.status, outcome.body);
  // It may have been made before, by an engine that died.
  const bool exists =
      outcome.status == kConflict || text.find("already exists") != std::string::npos;
  if (outcome.status < kFirstErrorStatus || exists) {
    networks_[watch->network] = NetworkState::made;
    CreateContainer(watch);
    return;
  }
  has_networks_ = false;
  PlanNetwork(watch);
}

// --- The container ---

void ContainerHost::CreateContainer(Watch* watch) {
  watch->stage = Stage::creating;
  watch->order->user = UserInside(options_, where_);
  StatusOr<std::string> body =
      CreationBody(*watch->order, watch->image_id, options_, connection_.version().is_podman);
  if (!body.ok()) {
    FailToStart(watch, std::string(Message(body.status())));
    return;
  }
  HttpRequest request;
  request.method = "POST";
  request.path = "/containers/create?name=" + watch->name;
  request.body = *std::move(body);
  Request(watch, std::move(request), &ContainerHost::OnCreated);
}

void ContainerHost::OnCreated(Watch* watch, const HttpOutcome& outcome) {
  if (outcome.status == kCreated) {
    AttachBeforeStart(watch);
    return;
  }
  // There already, or nobody knows: look.
  if (Unanswered(outcome)) {
    Unreached(watch, outcome, &ContainerHost::Look);
    return;
  }
  if (outcome.status == kConflict) {
    Look(watch);
    return;
  }
  if (outcome.status == kNotFoundStatus && ++watch->tries < kMaxTries) {
    networks_.erase(watch->network);
    images_.erase(watch->order->image);
    FindImage(watch);  // it, or the network, was removed since we looked
    return;
  }
  if (outcome.status >= kFirstServerError && ++watch->tries < kMaxTries) {
    watch->create_error = watch->log.mask().Apply(ErrorText(outcome.status, outcome.body));
    Later(watch, Backoff(watch->tries), &ContainerHost::Look);
    return;
  }
  FailToStart(watch,
              absl::StrCat("its container could not be made: ",
                           watch->log.mask().Apply(ErrorText(outcome.status, outcome.body))));
}

void ContainerHost::AttachBeforeStart(Watch* watch) {
  if (watch->stopping) {
    FailToStart(watch, "stopped before it started");
    return;
  }
  watch->stage = Stage::attaching;
  watch->log_whole = true;
  Attach(watch);
  // An engine that does not answer this one is asked for the log at the end.
  SetDue(watch, SteadyNow() + kAttachPatience, [this, id = watch->id] {
    Watch* waiting = Find(id);
    if (waiting == nullptr || waiting->stage != Stage::attaching) return;
    waiting->log_whole = false;
    StartContainer(waiting);
  });
}

// Streams the output: all of it from the start, or what there was and what will come.
void ContainerHost::Attach(Watch* watch) {
  if (watch->log_request != 0) connection_.Cancel(watch->log_request);
  watch->log_reader.Reset();
  watch->log_ended = false;
  watch->log.Begin(watch->folder + "/" + kLogFile);
  HttpRequest request;
  request.method = "POST";
  request.path = absl::StrCat("/containers/", watch->name,
                              "/attach?stream=1&stdout=1&stderr=1&logs=", watch->log_whole ? 0 : 1);
  HttpHandler handler;
  const uint64_t id = watch->id;
  handler.on_head = [this, id](int status) {
    Watch* attached = Find(id);
    if (attached == nullptr) return;
    if (status >= kFirstErrorStatus) attached->log_whole = false;
    if (attached->stage == Stage::attaching) StartContainer(attached);
  };
  handler.on_bytes = [this, id](std::string_view bytes) {
    if (Watch* attached = Find(id)) OnLogBytes(attached, bytes);
  };
  handler.on_done = [this, id](const HttpOutcome& outcome) {
    Watch* attached = Find(id);
    if (attached == nullptr) return;
    attached->log_request = 0;
    OnLogEnd(attached, outcome.error.empty() && outcome.status < kFirstErrorStatus);
  };
  watch->log_request = connection_.Send(std::move(request), std::move(handler));
}

void ContainerHost::OnLogBytes(Watch* watch, std::string_view bytes) {
  std::string text;
  const Status status = watch->log_reader.Feed(bytes, &text);
  watch->log.Write(text);
  if (status.ok()) return;
  watch->log_whole = false;
  watch->problem = std::string(Message(status));
  // What comes after it cannot be read either.
  const HttpTransport::Exchange exchange = std::exchange(watch->log_request, 0);
  connection_.Cancel(exchange);
  OnLogEnd(watch, false);
}

// Its first process told of a success: nothing is left to ask. Of a failure the engine may know
// more.
bool ContainerHost::ToldOfSuccess(const Watch& watch) {
  std::string text;
  std::string damage;
  ExitRecord record;
  const std::string path = watch.folder + "/" + kContainerFolder + "/" + kEndFile;
  return !watch.image_digest.empty() && ReadSmallFile(path, kMaxRecordBytes, &text) == 0 &&
         DecodeExit(text, &record, &damage) && record.ran && record.exit_code == 0 &&
         record.signal == 0;
}

void ContainerHost::OnLogEnd(Watch* watch, bool clean) {
  watch->log_ended = clean;
  // The stream of an engine that is killed ends like one whose container has ended: but then its
  // first process has left word before.
  const bool told = PathExists(watch->folder + "/" + kContainerFolder + "/" + kEndFile);
  if (!clean || !told || !watch->log_reader.AtFrameEnd()) watch->log_whole = false;
  if (watch->stage == Stage::attaching) {
    StartContainer(watch);
  } else if (watch->stage == Stage::running) {
    watch->stage = Stage::looking;
    watch->tries = 0;
    if (clean && watch->log_whole && ToldOfSuccess(*watch)) {
      watch->log.Finish();
      Conclude(watch);
    } else if (clean) {
      Look(watch);
    } else {
      Later(watch, Backoff(++watch->failures), &ContainerHost::Look);
    }
  }
}

void ContainerHost::StartContainer(Watch* watch) {
  if (watch->stopping) {
    FailToStart(watch, "stopped before it started");
    return;
  }
  // A busy Podman 4.3 may tell of one that has run as of one that has not: what it wrote before is
  // not in this stream.
  if (PathExists(watch->folder + "/" + kContainerFolder + "/" + kBegunFile)) {
    watch->log_whole = false;
  }
  watch->stage = Stage::starting;
  HttpRequest request;
  request.method = "POST";
  request.path = "/containers/" + watch->name + "/start";
  request.timeout = kStartTimeout;
  Request(watch, std::move(request), &ContainerHost::OnStarted);
}

void ContainerHost::OnStarted(Watch* watch, const HttpOutcome& outcome) {
  if (outcome.status == kNoContent || outcome.status == kNotModified) {
    // Somebody has started it before, perhaps before its output was attached to.
    if (outcome.status == kNotModified) watch->log_whole = false;
    ReportStarted(watch);
    if (watch->stopping) SendStop(watch);
    watch->stage = Stage::running;
    if (watch->log_request == 0) OnLogEnd(watch, watch->log_ended);  // it ended meanwhile
    return;
  }
  if (outcome.error.empty() && outcome.status != 0) {
    watch->start_error = watch->log.mask().Apply(ErrorText(outcome.status, outcome.body));
    Look(watch);
    return;
  }
  Unreached(watch, outcome, &ContainerHost::Look);
}

void ContainerHost::SendStop(Watch* watch) {
  if (watch->stop_request != 0) connection_.Cancel(watch->stop_request);
  HttpRequest request;
  request.method = "POST";
  request.path =
      absl::StrCat("/containers/", watch->name,
                   "/kill?signal=", watch->stop_mode == StopMode::kill ? "SIGKILL" : "SIGTERM");
  request.timeout = kRequestTimeout;
  HttpHandler handler;
  handler.on_done = [this, id = watch->id](const HttpOutcome& outcome) {
    Watch* stopped = Find(id);
    if (stopped == nullptr) return;
    stopped->stop_request = 0;
    // One that has ended is refused, and its end is on its way. Unanswered, it is asked again by
    // who looks at it next.
    if (Reached(outcome) || stopped->stage != Stage::running) return;
    stopped->stage = Stage::looking;
    Later(stopped, Backoff(++stopped->failures), &ContainerHost::Look);
  };
  watch->stop_request = connection_.Send(std::move(request), std::move(handler));
}

// --- Looking ---

void ContainerHost::Look(Watch* watch) {
  watch->stage = Stage::looking;
  HttpRequest request;
  request.path = "/containers/" + watch->name + "/json";
  Request(watch, std::move(request), &ContainerHost::OnState);
}

void ContainerHost::OnState(Watch* watch, const HttpOutcome& outcome) {
  if (outcome.status == kNotFoundStatus && outcome.error.empty()) {
    OnGone(watch);
    return;
  }
  const auto answer = outcome.status == kOk ? ReadContainer(outcome.body) : std::nullopt;
  if (!answer) {
    Unreached(watch, outcome, &ContainerHost::Look);
    return;
  }
  watch->failures = 0;
  OnLooked(watch, *answer);
}

void ContainerHost::OnLooked(Watch* watch, const ContainerAnswer& answer) {
  if (watch->order == nullptr) SetMask(watch, answer.environment);
  if (watch->image_digest.empty()) watch->image_digest = answer.image;
  if (watch->network.empty()) watch->network = answer.network;
  switch (answer.state) {
    case ContainerAnswer::State::created:
      if (watch->stopping || !watch->start_error.empty()) {
        FailToStart(watch, watch->start_error.empty()
                               ? "stopped before it started"
                               : "its container could not be started: " + watch->start_error);
        return;
      }
      AttachBeforeStart(watch);
      return;
    case ContainerAnswer::State::running:
      ReportStarted(watch);
      if (watch->stopping) SendStop(watch);
      if (watch->log_request != 0) {
        watch->stage = Stage::running;
        return;
      }
      // Its output has ended before it: it is about to end. If it is not, we were cut off.
      if (watch->log_ended && ++watch->tries < kMaxEndTries) {
        Later(watch, Backoff(watch->tries), &ContainerHost::Look);
        return;
      }
      watch->log_whole = false;
      watch->stage = Stage::running;
      Attach(watch);
      return;
    case ContainerAnswer::State::ended:
      break;
  }
  if (PathExists(watch->folder + "/" + kContainerFolder + "/" + kBegunFile)) ReportStarted(watch);
  watch->last = AttemptReport();
  watch->last.exit_code = answer.exit_code;
  watch->last.out_of_memory = answer.out_of_memory;
  watch->last.message = !watch->start_error.empty() ? watch->start_error : answer.error;
  watch->tries = 0;
  if (watch->log_request != 0) {
    // The rest of the output is still on its way, or never comes.
    connection_.Cancel(std::exchange(watch->log_request, 0));
    watch->log_whole = false;
  }
  if (watch->log_whole) {
    watch->log.Finish();
    Conclude(watch);
  } else {
    FetchLog(watch);
  }
}

// There is no container. Either it was never made, or somebody removed it.
void ContainerHost::OnGone(Watch* watch) {
  watch->failures = 0;
  if (PathExists(watch->folder + "/" + kContainerFolder + "/" + kBegunFile)) {
    // It may have ended properly before.
    if (PathExists(watch->folder + "/" + kContainerFolder + "/" + kEndFile)) {
      ReportStarted(watch);
      watch->problem = "its container was removed by somebody before its log was read";
      Conclude(watch);
      return;
    }
    ReportStarted(watch);
    Lose(watch, "its container is gone and left no record of the end");
    return;
  }
  if (watch->stopping) {
    FailToStart(watch, "stopped before it started");
  } else if (watch->order == nullptr) {
    Lose(watch, "it was about to start, and there is no container of it");
  } else if (++watch->tries >= kMaxTries) {
    FailToStart(watch, watch->create_error.empty()
                           ? "its container appears and disappears"
                           : "its container could not be made: " + watch->create_error);
  } else if (!watch->create_error.empty()) {
    RemoveHalfMade(watch);
  } else if (watch->prepared) {
    FindImage(watch);
  } else {
    Prepare(watch);
  }
}

// Podman that was killed while it made a container has it in no list, and makes no other of its
// name until the rest of it is removed.
void ContainerHost::RemoveHalfMade(Watch* watch) {
  Request(watch, RemovalOf(watch->name), &ContainerHost::OnHalfMadeRemoved);
}

void ContainerHost::OnHalfMadeRemoved(Watch* watch, const HttpOutcome& outcome) {
  if (Unanswered(outcome)) {
    Unreached(watch, outcome, &ContainerHost::RemoveHalfMade);
  } else {
    FindImage(watch);
  }
}

// Reads the whole log anew: of what was streamed something may be missing.
void ContainerHost::FetchLog(Watch* watch) {
  watch->stage = Stage::fetching;
  watch->log_reader.Reset();
  watch->log.Begin(watch->folder + "/" + kLogFile);
  HttpRequest request;
  request.path = "/containers/" + watch->name + "/logs?stdout=1&stderr=1";
  request.idle_timeout = kLogSilence;
  HttpHandler handler;
  const uint64_t id = watch->id;
  handler.on_bytes = [this, id](std::string_view bytes) {
    Watch* fetching = Find(id);
    if (fetching == nullptr || !fetching->problem.empty()) return;
    std::string text;
    const Status status = fetching->log_reader.Feed(bytes, &text);
    fetching->log.Write(text);
    if (!status.ok()) fetching->problem = std::string(Message(status));
  };
  handler.on_done = [this, id](const HttpOutcome& outcome) {
    if (Watch* fetched = Find(id)) OnLog(fetched, outcome);
  };
  watch->problem.clear();
  watch->log_request = connection_.Send(std::move(request), std::move(handler));
}

void ContainerHost::OnLog(Watch* watch, const HttpOutcome& outcome) {
  watch->log_request = 0;
  if (outcome.status == 0) {
    Unreached(watch, outcome, &ContainerHost::FetchLog);
    return;
  }
  const bool whole = outcome.error.empty() && outcome.status == kOk &&
                     watch->log_reader.AtFrameEnd() && watch->problem.empty();
  // A busy Podman 4.3 may answer before all of the log has been written: what was there already
  // is not taken back, and nothing is not believed at once.
  const bool is_early =
      whole && (watch->log.FallsShort() || (watch->log.IsEmpty() && watch->tries < kEmptyLogTries));
  if (whole && !is_early) {
    watch->log.Finish();
    Conclude(watch);
    return;
  }
  if (is_early) watch->problem = "the container engine tells less of it than it did";
  const bool refused = outcome.error.empty() && outcome.status >= kFirstErrorStatus;
  if (!refused && ++watch->tries < kMaxRemoveTries) {
    watch->problem.clear();
    Later(watch, Backoff(watch->tries), &ContainerHost::FetchLog);
    return;
  }
  watch->problem = absl::StrCat("the log is not complete: ",
                                refused ? ErrorText(outcome.status, outcome.body)
                                        : (outcome.error.empty() ? watch->problem : outcome.error));
  Conclude(watch);
}

// --- The end ---

void ContainerHost::Conclude(Watch* watch) {
  watch->stage = Stage::concluding;
  const auto end = std::make_shared<ContainerEnd>();
  end->folder = watch->folder;
  end->mask = watch->log.mask();
  end->container.exit_code = watch->last.exit_code;
  end->container.out_of_memory = watch->last.out_of_memory;
  end->container.error = watch->last.message;
  end->memory_bytes = watch->memory_bytes;
  end->message = watch->problem;
  if (watch->log.error() != 0) {
    absl::StrAppend(&end->message, end->message.empty() ? "" : "; ",
                    "the log is not complete: ", strerror(watch->log.error()));
  }
  const auto concluded = std::make_shared<ConcludedAttempt>();
  shared_.worker->Submit([end, concluded] { *concluded = ConcludeAttempt(*end); },
                         [this, id = watch->id, concluded] {
                           if (Watch* ended = Find(id)) {
                             OnConcluded(ended, concluded->record, concluded->lost);
                           }
                         });
}

void ContainerHost::OnConcluded(Watch* watch, const ExitRecord& record, bool lost) {
  if (lost) {
    watch->last = AttemptReport();
    watch->last.key = watch->key;
    watch->last.kind = AttemptReport::Kind::lost;
    watch->last.message = record.message;
  } else {
    watch->last = FromExit(*watch, record);
  }
  watch->tries = 0;
  if (connection_.is_silent()) {
    FinishWatch(watch);
  } else {
    Remove(watch);
  }
}

void ContainerHost::FailToStart(Watch* watch, std::string message) {
  RemoveAndReport(watch, AttemptReport::Kind::failed_to_start, std::move(message));
}

void ContainerHost::Lose(Watch* watch, std::string message) {
  watch->last = AttemptReport();
  watch->last.key = watch->key;
  watch->last.kind = AttemptReport::Kind::lost;
  watch->last.message = std::move(message);
  FinishWatch(watch);
}

void ContainerHost::RemoveAndReport(Watch* watch, AttemptReport::Kind kind, std::string message) {
  CancelRequests(watch);
  const Stage stage = watch->stage;
  watch->last = AttemptReport();
  watch->last.key = watch->key;
  watch->last.kind = kind;
  watch->last.message = std::move(message);
  // No container was asked for yet.
  if (stage == Stage::preparing || stage == Stage::image) {
    FinishWatch(watch);
  } else {
    Remove(watch);
  }
}

void ContainerHost::Remove(Watch* watch) {
  watch->stage = Stage::removing;
  Request(watch, RemovalOf(watch->name), &ContainerHost::OnRemoved);
}

void ContainerHost::OnRemoved(Watch* watch, const HttpOutcome& outcome) {
  const bool gone = Reached(outcome);
  if (!gone && ++watch->tries < kMaxRemoveTries) {
    Later(watch, Backoff(watch->tries), &ContainerHost::Remove);
    return;
  }
  if (!gone) {
    const std::string why =
        outcome.error.empty() ? ErrorText(outcome.status, outcome.body) : outcome.error;
    absl::StrAppend(&watch->last.message, watch->last.message.empty() ? "" : "; ", "its container ",
                    watch->name, " could not be removed: ", why);
  }
  const bool is_last = std::none_of(watches_.begin(), watches_.end(), [&](const auto& entry) {
    return entry.first != watch->id && entry.second.network == watch->network;
  });
  if (watch->network.empty() || !is_last) {
    FinishWatch(watch);
  } else {
    RemoveNetwork(watch);
  }
}

void ContainerHost::RemoveNetwork(Watch* watch) {
  networks_.erase(watch->network);
  HttpRequest request;
  request.method = "DELETE";
  request.path = "/networks/" + watch->network;
  Request(watch, std::move(request), &ContainerHost::OnNetworkRemoved);
}

void ContainerHost::OnNetworkRemoved(Watch* watch, const HttpOutcome& outcome) {
  // In use: by a member that is known to nobody here yet, who will remove it.
  if (!Reached(outcome)) networks_due_ = true;
  FinishWatch(watch);
}

void ContainerHost::FinishWatch(Watch* watch) {
  shared_.reports->push_back(std::move(watch->last));
  shared_.wake();
  RemoveWatch(watch);
}

// --- Requests ---

// One at a time for each watch. What cannot be sent now waits for the connection.
void ContainerHost::Request(Watch* watch, HttpRequest request, Answered then) {
  SetDue(watch, SteadyTime{}, nullptr);
  if (!connection_.connected()) {
    watch->again = [this, id = watch->id, request = std::move(request), then] {
      if (Watch* waiting = Find(id)) Request(waiting, request, then);
    };
    unconnected_.push_back(watch->id);
    shared_.wake();
    return;
  }
  if (request.timeout == Duration(0)) request.timeout = kRequestTimeout;
  HttpHandler handler;
  handler.on_done = [this, id = watch->id, then](const HttpOutcome& outcome) {
    Watch* answered = Find(id);
    if (answered == nullptr) return;
    answered->request = 0;
    (this->*then)(answered, outcome);
  };
  watch->request = connection_.Send(std::move(request), std::move(handler));
}

// There is a connection, or none to be had now.
void ContainerHost::OnConnection() {
  if (connection_.is_silent() || connection_.connected()) shared_.wake();
  // Strays may have been left while nobody could reach them.
  if (connection_.connected()) {
    list_due_ = SteadyTime{};
    networks_due_ = true;
  }
  for (const uint64_t id : std::exchange(unconnected_, {})) {
    Watch* watch = Find(id);
    if (watch == nullptr || !watch->again) continue;
    if (connection_.connected()) {
      std::exchange(watch->again, nullptr)();
    } else if (OutOfPatience(*watch)) {
      FailUnreached(watch, connection_.error());
    } else {
      unconnected_.push_back(id);
    }
  }
}

// While nobody answers, folders still tell which attempts have ended. Their containers are strays
// then.
void ContainerHost::TakeEnds() {
  if (!connection_.is_silent() || SteadyNow() < ends_due_) return;
  ends_due_ = SteadyAfter(kEndsInterval);
  for (auto& [id, watch] : watches_) {
    const bool may_have_ended = watch.stage == Stage::running || watch.stage == Stage::looking ||
                                watch.stage == Stage::starting || watch.stage == Stage::fetching;
    if (!may_have_ended || !PathExists(watch.folder + "/" + kContainerFolder + "/" + kEndFile)) {
      continue;
    }
    CancelRequests(&watch);
    SetDue(&watch, SteadyTime{}, nullptr);
    ReportStarted(&watch);
    watch.problem = "its node does not answer, so the log may lack something";
    watch.last = AttemptReport();
    Conclude(&watch);
  }
}

// What has not been created yet does not wait for ever. A node is given up by whoever chose it.
bool ContainerHost::OutOfPatience(const Watch& watch) const {
  const bool waits = watch.stage == Stage::image || watch.stage == Stage::creating;
  return waits && node_.empty() && SteadyNow() - watch.began > options_.patience;
}

void ContainerHost::FailUnreached(Watch* watch, const std::string& why) {
  // Its container may have been asked for without an answer.
  MarkGivenUp(watch->folder);
  CancelRequests(watch);
  watch->last = AttemptReport();
  watch->last.key = watch->key;
  watch->last.kind = AttemptReport::Kind::failed_to_start;
  watch->last.message = absl::StrCat("cannot reach the container engine at ", endpoint_, ": ", why);
  FinishWatch(watch);
}

// --- All containers here ---

bool ContainerHost::ListMatters() const {
  if (!watches_.empty()) return true;
  if (shared_.owner.empty()) return false;
  return !node_.empty() || list_due_ == SteadyTime{};
}

// Asks once about all of them. Those of our attempts have to run: a connection that hangs tells
// nothing of their end. Others that are ours may be strays.
void ContainerHost::ListContainers() {
  const SteadyTime now = SteadyNow();
  if (!connection_.connected() || listing_ || now < list_due_ || !ListMatters()) return;
  list_due_ = now + kListInterval;
  listing_ = true;
  const std::string label = shared_.owner.empty() ? std::string("trackbed.key")
                                                  : absl::StrCat(kOwnerLabel, "=", shared_.owner);
  HttpRequest request;
  request.path = absl::StrCat("/containers/json?all=1&filters=",
                              PercentEncode(absl::StrCat("{\"label\":[\"", label, "\"]}")));
  request.timeout = kRequestTimeout;
  HttpHandler handler;
  handler.on_done = [this](const HttpOutcome& outcome) {
    listing_ = false;
    if (outcome.status != kOk || !outcome.error.empty()) return;
    if (const auto list = ReadContainerList(outcome.body)) OnList(*list);
  };
  connection_.Send(std::move(request), std::move(handler));
}

void ContainerHost::OnList(const std::vector<ListedContainer>& list) {
  std::map<std::string, const ListedContainer*> by_name;
  for (const ListedContainer& container : list) by_name[container.name] = &container;
  for (auto& [id, watch] : watches_) {
    const auto found = by_name.find(watch.name);
    const bool runs = found != by_name.end() && found->second->is_running;
    if (found != by_name.end()) by_name.erase(found);
    if (watch.stage != Stage::running || runs) continue;
    watch.stage = Stage::looking;
    Later(&watch, Duration(0), &ContainerHost::Look);
  }
  if (shared_.owner.empty()) return;
  if (networks_due_) SweepNetworks();
  if (by_name.empty()) return;
  const auto others = std::make_shared<std::vector<ListedContainer>>();
  for (const auto& [name, container] : by_name) others->push_back(*container);
  shared_.worker->Submit(
      [others, home = options_.home, owner = shared_.owner] {
        std::erase_if(*others, [&](const ListedContainer& container) {
          return !IsStray(container.folder, home, owner);
        });
      },
      [this, others] {
        for (const ListedContainer& stray : *others) {
          Delete("/containers/" + stray.name + "?force=1&v=1");
        }
      });
}

// What is still there afterwards is found again.
void ContainerHost::Delete(const std::string& path) {
  HttpRequest request;
  request.method = "DELETE";
  request.path = path;
  request.timeout = kRequestTimeout;
  HttpHandler handler;
  handler.on_done = [](const HttpOutcome&) {};
  connection_.Send(std::move(request), std::move(handler));
}

// An engine does not remove a network that containers use.
void ContainerHost::SweepNetworks() {
  networks_due_ = false;
  HttpRequest request;
  request.path = "/networks?filters=" + PercentEncode(absl::StrCat("{\"label\":[\"", kOwnerLabel,
                                                                   "=", shared_.owner, "\"]}"));
  request.timeout = kRequestTimeout;
  HttpHandler handler;
  handler.on_done = [this](const HttpOutcome& outcome) {
    if (outcome.status != kOk || !outcome.error.empty()) return;
    const auto names = ReadNetworkList(outcome.body);
    if (!names) return;
    for (const std::string& name : *names) {
      const bool used = std::any_of(watches_.begin(), watches_.end(), [&](const auto& entry) {
        return entry.second.network == name;
      });
      if (!used) Delete("/networks/" + name);
    }
  };
  connection_.Send(std::move(request), std::move(handler));
}

// --- Time ---

void ContainerHost::Later(Watch* watch, Duration delay, Step step) {
  SetDue(watch, SteadyAfter(delay), [this, id = watch->id, step] {
    if (Watch* found = Find(id)) (this->*step)(found);
  });
}

void ContainerHost::SetDue(Watch* watch, SteadyTime due, std::function<void()> again) {
  if (watch->due != SteadyTime{}) due_.erase({watch->due, watch->id});
  watch->due = due;
  watch->again = std::move(again);
  if (due == SteadyTime{}) return;
  due_.insert({due, watch->id});
  shared_.wake();
}

// The endpoint did not answer, or could not: the step is taken again. What has not been created yet
// does not wait for ever.
void ContainerHost::Unreached(Watch* watch, const HttpOutcome& outcome, Step step) {
  const std::string why =
      outcome.error.empty() ? ErrorText(outcome.status, outcome.body) : outcome.error;
  if (OutOfPatience(*watch)) {
    FailUnreached(watch, why);
    return;
  }
  Later(watch, Backoff(++watch->failures), step);
}

void ContainerHost::RunDue() {
  const SteadyTime now = SteadyNow();
  while (!due_.empty() && due_.begin()->first <= now) {
    const uint64_t id = due_.begin()->second;
    Watch& watch = watches_[id];
    due_.erase(due_.begin());
    watch.due = SteadyTime{};
    if (watch.again) std::exchange(watch.again, nullptr)();
  }
}

void ContainerHost::Run() {
  connection_.Run(Needed());
  TakeEnds();
  RunDue();
  ListContainers();
}

SteadyTime ContainerHost::NextDue() const {
  SteadyTime next = connection_.NextDue(Needed());
  if (!due_.empty()) next = std::min(next, due_.begin()->first);
  if (connection_.is_silent() && !watches_.empty()) next = std::min(next, ends_due_);
  if (connection_.connected() && !listing_ && ListMatters()) next = std::min(next, list_due_);
  return next;
}

bool ContainerHost::Stop(const AttemptKey& key, StopMode mode) {
  const auto found = by_key_.find(key);
  if (found == by_key_.end()) return false;
  Watch* watch = &watches_[found->second];
  watch->stopping = true;
  watch->stop_mode = mode;
  if (watch->stage == Stage::running) SendStop(watch);
  if (watch->stage == Stage::image) FailToStart(watch, "stopped before it started");
  return true;
}

bool ContainerHost::GiveUp(const AttemptKey& key) {
  const auto found = by_key_.find(key);
  if (found == by_key_.end()) return false;
  Watch* watch = &watches_[found->second];
  MarkGivenUp(watch->folder);
  RemoveWatch(watch);
  list_due_ = SteadyTime{};  // what is left of it, should the engine answer
  shared_.wake();
  return true;
}

// --- Reports ---

const std::string* ContainerHost::FolderOf(const AttemptKey& key) const {
  const auto found = by_key_.find(key);
  return found == by_key_.end() ? nullptr : &watches_.at(found->second).folder;
}

ContainerHost::Watch* ContainerHost::Find(uint64_t id) {
  const auto found = watches_.find(id);
  return found == watches_.end() ? nullptr : &found->second;
}

void ContainerHost::ReportStarted(Watch* watch) {
  if (watch->started) return;
  watch->started = true;
  AttemptReport report;
  report.key = watch->key;
  report.kind = AttemptReport::Kind::started;
  shared_.reports->push_back(std::move(report));
  shared_.wake();
}

AttemptReport ContainerHost::FromExit(const Watch& watch, const ExitRecord& record) const {
  AttemptReport report;
  if (record.ran) {
    report = ReportOfEnd(watch.key, watch.folder, record);
  } else {
    report.key = watch.key;
    report.kind = AttemptReport::Kind::failed_to_start;
    report.message = record.message;
  }
  report.image_digest = watch.image_digest;
  return report;
}

void ContainerHost::CancelRequests(Watch* watch) {
  for (HttpTransport::Exchange* exchange :
       {&watch->request, &watch->stop_request, &watch->log_request}) {
    if (*exchange != 0) connection_.Cancel(std::exchange(*exchange, 0));
  }
}

void ContainerHost::RemoveWatch(Watch* watch) {
  CancelRequests(watch);
  SetDue(watch, SteadyTime{}, nullptr);
  by_key_.erase(watch->key);
  watches_.erase(watch->id);
}

}  // namespace trackbed
