// How an attempt is driven: one step after another, each an answer of the container engine that
// leads to the next request. Whatever goes wrong on the way, the next step is to look at what there
// is (Look): the container's state and the files of its attempt decide, never what we remember.
//
//   image -> create -> attach -> start -> (runs) -> look -> log -> conclude -> remove -> report
#include "trackbed/executors/container_executor.hpp"

#include <absl/strings/str_cat.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "executors/adoption.hpp"
#include "executors/attempt_log.hpp"
#include "executors/attempt_records.hpp"
#include "executors/container_end.hpp"
#include "executors/container_files.hpp"
#include "executors/container_log.hpp"
#include "executors/container_order.hpp"
#include "executors/curl_transport.hpp"
#include "executors/file_worker.hpp"
#include "executors/host_files.hpp"
#include "executors/http_transport.hpp"
#include "executors/launch_plan.hpp"
#include "executors/work_folder.hpp"

namespace trackbed {
namespace {

using Steady = std::chrono::steady_clock;
using SteadyTime = Steady::time_point;

constexpr auto kRequestTimeout = std::chrono::seconds(30);
// Starting may wait for others on a busy machine; the answer decides nothing that Look does not.
constexpr auto kStartTimeout = std::chrono::seconds(120);
constexpr auto kPullSilence = std::chrono::seconds(300);
constexpr auto kLogSilence = std::chrono::seconds(120);
constexpr auto kAttachPatience = std::chrono::seconds(5);
constexpr auto kFirstDelay = std::chrono::milliseconds(20);
constexpr auto kLongestDelay = std::chrono::seconds(5);
constexpr auto kCheckInterval = std::chrono::seconds(20);
constexpr int kMaxTries = 4;  // of what is refused rather than unanswered
constexpr int kMaxRemoveTries = 6;
constexpr int kEmptyLogTries = 2;
constexpr int kMaxEndTries = 8;  // looks, between the end of the output and that of the container
constexpr mode_t kOpenToAll = 0777;

constexpr int kOk = 200;
constexpr int kCreated = 201;
constexpr int kNoContent = 204;
constexpr int kNotModified = 304;
constexpr int kNotFoundStatus = 404;
constexpr int kConflict = 409;
constexpr int kServerError = 500;

// What an attempt waits for.
enum class Stage : uint8_t {
  preparing,   // its files
  image,       // its image is looked up or pulled
  creating,    // its container
  attaching,   // to the output, before the start
  starting,    //
  running,     //
  looking,     // to know the state of its container
  fetching,    // the rest of its log
  concluding,  // its files
  removing,    // its container; `last` is reported then
};

struct Watch {
  uint64_t id = 0;
  AttemptKey key;
  std::string folder;
  std::string name;
  std::unique_ptr<ContainerOrder> order;  // null: it cannot be created any more, only found
  std::vector<std::string> secret_names;
  Stage stage = Stage::looking;
  bool started = false;   // reported
  bool prepared = false;  // its files
  bool stopping = false;
  StopMode stop_mode = StopMode::terminate;
  HttpTransport::Exchange request = 0;
  HttpTransport::Exchange stop_request = 0;
  HttpTransport::Exchange log_request = 0;
  ContainerLogReader log_reader;
  AttemptLog log;
  bool log_whole = false;  // all of it came, from the start on, so far
  bool log_ended = false;  // properly, so that the container is about to
  bool pulled = false;
  int tries = 0;     // of the current step
  int failures = 0;  // in a row, of reaching the endpoint
  SteadyTime due{};  // when `again` is to be called; epoch: never
  std::function<void()> again;
  SteadyTime began = Steady::now();
  std::string image_id;
  std::string image_digest;
  int64_t memory_bytes = 0;
  std::string problem;  // with the log
  std::string create_error;
  std::string start_error;
  AttemptReport last;
};

bool Reached(const HttpOutcome& outcome) {
  return outcome.error.empty() && outcome.status != 0 && outcome.status < kServerError;
}

std::string Percent(std::string_view text) {
  std::string out;
  constexpr char kDigits[] = "0123456789ABCDEF";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (isalnum(byte) != 0 || std::string_view("-._~").find(c) != std::string_view::npos) {
      out += c;
    } else {
      out += '%';
      out += kDigits[byte >> 4U];
      out += kDigits[byte & 15U];
    }
  }
  return out;
}

bool Executable(const std::string& path) {
  return !IsFolder(path) && access(path.c_str(), X_OK) == 0;
}

StatusOr<std::string> FindInit(const std::string& given) {
  std::vector<std::string> places;
  const char* named = getenv("TRACKBED_CONTAINER_INIT");
  if (!given.empty()) {
    places = {given};
  } else if (named != nullptr && *named != '\0') {
    places = {named};
  } else {
    std::string program(PATH_MAX, '\0');
    const ssize_t length = readlink("/proc/self/exe", program.data(), program.size());
    program.resize(length > 0 ? static_cast<size_t>(length) : 0);
    const std::string folder = program.substr(0, program.rfind('/'));
    places = {folder + "/trackbed-container-init",
              folder + "/../libexec/trackbed/trackbed-container-init"};
  }
  std::string looked;
  for (const std::string& place : places) {
    char* real = Executable(place) ? realpath(place.c_str(), nullptr) : nullptr;
    if (real != nullptr) {
      std::string path = real;
      free(real);
      return path;
    }
    looked += (looked.empty() ? "" : " and ") + place;
  }
  return NotFound("there is no trackbed-container-init; looked at " + looked);
}

std::string WithMask(const Watch& watch, std::string_view text) {
  return watch.log.mask().Apply(text);
}

}  // namespace

class ContainerExecutor::Impl {
 public:
  Impl(ContainerExecutorOptions options, std::unique_ptr<HttpTransport> transport)
      : options_(std::move(options)), transport_(std::move(transport)) {}
  ~Impl();
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  Status Initialize();
  Status Start(const AttemptSpec& spec);
  Status Adopt(const AttemptKey& key, const std::string& folder);
  Status Observe(const AttemptKey& key, const std::string& folder);
  Status Poll(std::vector<AttemptReport>* reports);
  Status Stop(const AttemptKey& key, StopMode mode);
  int WakeDescriptor() const { return epoll_; }

 private:
  using Step = void (Impl::*)(Watch*);

  // --- Starting ---
  StatusOr<std::unique_ptr<ContainerOrder>> Plan(const AttemptSpec& spec, std::string* script);
  Status WriteFiles(const ContainerOrder& order, const std::string& script);
  StatusOr<Found> WatchExisting(const AttemptKey& key, const std::string& folder,
                                std::unique_ptr<ContainerOrder>* order);
  Watch* NewWatch(const AttemptKey& key, const std::string& folder,
                  std::unique_ptr<ContainerOrder> order);
  void SetMask(Watch* watch, const std::vector<std::string>& environment);
  void Prepare(Watch* watch);

  // --- The steps ---
  void FindImage(Watch* watch);
  void Pull(Watch* watch);
  void OnPulled(const std::string& image, const std::string& error, bool reached);
  void CreateContainer(Watch* watch);
  void Attach(Watch* watch);
  void AttachBeforeStart(Watch* watch);
  void OnLogBytes(Watch* watch, std::string_view bytes);
  void OnLogEnd(Watch* watch, bool clean);
  void StartContainer(Watch* watch);
  void SendStop(Watch* watch);
  void Look(Watch* watch);
  void OnLooked(Watch* watch, const ContainerAnswer& answer);
  void OnGone(Watch* watch);
  void FetchLog(Watch* watch);
  void Conclude(Watch* watch);
  void Remove(Watch* watch);
  void RemoveAndReport(Watch* watch, AttemptReport::Kind kind, std::string message);
  void FinishWatch(Watch* watch);

  // --- Requests ---
  void Connect();
  void Request(Watch* watch, HttpRequest request, void (Impl::*then)(Watch*, const HttpOutcome&));
  void OnImage(Watch* watch, const HttpOutcome& outcome);
  void OnCreated(Watch* watch, const HttpOutcome& outcome);
  void OnStarted(Watch* watch, const HttpOutcome& outcome);
  void OnState(Watch* watch, const HttpOutcome& outcome);
  void OnRemoved(Watch* watch, const HttpOutcome& outcome);
  void CheckRunning();
  std::string Path(const std::string& rest) const { return "/v" + version_.api + rest; }
  std::string ContainerPath(const Watch& watch, const std::string& rest) const {
    return Path("/containers/" + watch.name + rest);
  }

  // --- Time ---
  void Later(Watch* watch, Duration delay, Step step);
  Duration Backoff(int failures) const;
  void Unreached(Watch* watch, const HttpOutcome& outcome, Step step);
  void SetDue(Watch* watch, SteadyTime due, std::function<void()> again);
  void RunDue();
  void ArmTimer();

  // --- Reports ---
  Watch* Find(uint64_t id);
  void Report(AttemptReport report);
  void ReportStarted(Watch* watch);
  AttemptReport FromExit(const Watch& watch, const ExitRecord& record) const;
  void CancelRequests(Watch* watch);
  void RemoveWatch(Watch* watch);
  void Wake();

  ContainerExecutorOptions options_;
  std::unique_ptr<HttpTransport> transport_;
  FileWorker worker_;
  pid_t owner_ = 0;
  int epoll_ = -1;
  int wake_ = -1;
  int timer_ = -1;

  bool connecting_ = false;
  bool connected_ = false;
  int connect_failures_ = 0;
  std::string connect_error_;
  VersionAnswer version_;
  SteadyTime connect_due_{};
  SteadyTime check_due_{};
  bool checking_ = false;

  struct PullUnderWay {
    std::vector<uint64_t> watches;
    std::shared_ptr<PullReader> reader;
  };

  uint64_t next_id_ = 1;
  std::map<uint64_t, Watch> watches_;
  std::map<AttemptKey, uint64_t> by_key_;
  std::set<std::pair<SteadyTime, uint64_t>> due_;
  std::map<std::string, PullUnderWay> pulls_;
  std::vector<uint64_t> unconnected_;  // wait for the version, to take their next step
  std::vector<AttemptReport> reports_;
};

ContainerExecutor::Impl::~Impl() {
  transport_.reset();
  for (const int descriptor : {epoll_, wake_, timer_}) {
    if (descriptor >= 0) close(descriptor);
  }
}

Status ContainerExecutor::Impl::Initialize() {
  owner_ = getpid();
  TRACKBED_ASSIGN_OR_RETURN(options_.init_path, FindInit(options_.init_path));
  TRACKBED_RETURN_IF_ERROR(worker_.Initialize());
  epoll_ = epoll_create1(EPOLL_CLOEXEC);
  wake_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  timer_ = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
  if (epoll_ < 0 || wake_ < 0 || timer_ < 0) return HostStatus(errno, "cannot make descriptors");
  for (const int descriptor :
       {wake_, timer_, worker_.WakeDescriptor(), transport_->WakeDescriptor()}) {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.fd = descriptor;
    if (epoll_ctl(epoll_, EPOLL_CTL_ADD, descriptor, &event) != 0) {
      return HostStatus(errno, "cannot watch descriptors");
    }
  }
  return absl::OkStatus();
}

// --- Starting ---

Status ContainerExecutor::Impl::Start(const AttemptSpec& spec) {
  TRACKBED_RETURN_IF_ERROR(CheckOwner(owner_));
  if (const auto known = by_key_.find(spec.key); known != by_key_.end()) {
    if (watches_[known->second].folder == spec.folder) return absl::OkStatus();
    return InvalidArgument("the attempt " + spec.key + " was started in another folder");
  }
  // Twice: somebody may claim the attempt between our look and our own claim.
  for (int attempt = 0; attempt < 2; ++attempt) {
    std::string script;
    StatusOr<std::unique_ptr<ContainerOrder>> planned = Plan(spec, &script);
    const Status plan_status = planned.status();
    std::unique_ptr<ContainerOrder> order = planned.ok() ? *std::move(planned) : nullptr;
    // What was started is watched, even if it could not be started now.
    TRACKBED_ASSIGN_OR_RETURN(const Found found, FindStarted(spec.folder, [&] {
                                return WatchExisting(spec.key, spec.folder, &order);
                              }));
    if (found == Found::something) return absl::OkStatus();
    if (order == nullptr) return plan_status;
    TRACKBED_RETURN_IF_ERROR(WriteFiles(*order, script));
    ClaimRecord claim;
    claim.key = spec.key;
    const int error = WriteWholeFile(spec.folder + "/" + kClaimFile, EncodeClaim(claim), true);
    if (error == EEXIST) continue;
    if (error != 0) return HostStatus(error, "cannot write to the folder " + spec.folder);
    Prepare(NewWatch(spec.key, spec.folder, std::move(order)));
    return absl::OkStatus();
  }
  return Internal("the claim in " + spec.folder + " appears and disappears");
}

StatusOr<std::unique_ptr<ContainerOrder>> ContainerExecutor::Impl::Plan(const AttemptSpec& spec,
                                                                        std::string* script) {
  auto order = std::make_unique<ContainerOrder>();
  order->name = ContainerName(spec.key, spec.folder);
  order->image = spec.image.empty() ? options_.default_image : spec.image;
  if (order->image.empty()) {
    return InvalidArgument(
        "the task names no image to run in; give it one (image: debian:12), or a default "
        "(--image debian:12)");
  }
  TRACKBED_RETURN_IF_ERROR(CheckImageName(order->image));
  order->spec = spec;
  order->spec.image = order->image;
  LaunchPlanOptions plan;
  plan.container = true;
  TRACKBED_ASSIGN_OR_RETURN(order->launch, PlanLaunch(order->spec, plan, script, &order->view));
  order->launch.folders.emplace_back(kContainerFolder);
  std::erase(order->launch.folders, kTemporaryFolder);
  if (!script->empty()) {
    order->launch.command[1] = absl::StrCat(spec.folder, "/", kContainerFolder, "/", kScriptFile);
  }
  return order;
}

Status ContainerExecutor::Impl::WriteFiles(const ContainerOrder& order, const std::string& script) {
  const std::string& folder = order.spec.folder;
  TRACKBED_RETURN_IF_ERROR(MakeFolders(folder));
  chmod(folder.c_str(), 0700);
  const std::string shared = folder + "/" + kContainerFolder;
  TRACKBED_RETURN_IF_ERROR(MakeFolders(shared));
  int error = 0;
  if (!script.empty()) error = WriteWholeFile(shared + "/" + kScriptFile, script, false);
  if (error == 0) {
    error = WriteWholeFile(folder + "/" + kContainerLaunchFile, EncodeLaunch(order.launch), false);
  }
  if (error == 0) {
    error =
        WriteWholeFile(folder + "/" + kContainerEndpointFile, options_.endpoint.ToString(), false);
  }
  if (error != 0) return HostStatus(error, "cannot write to the folder " + folder);
  return absl::OkStatus();
}

Status ContainerExecutor::Impl::Adopt(const AttemptKey& key, const std::string& folder) {
  TRACKBED_RETURN_IF_ERROR(CheckOwner(owner_));
  if (by_key_.contains(key)) return absl::OkStatus();
  return AdoptOrGiveUp(key, folder, [&] { return WatchExisting(key, folder, nullptr); });
}

Status ContainerExecutor::Impl::Observe(const AttemptKey& key, const std::string& folder) {
  TRACKBED_RETURN_IF_ERROR(CheckOwner(owner_));
  if (by_key_.contains(key)) return absl::OkStatus();
  return ObserveStarted(key, folder, [&] { return WatchExisting(key, folder, nullptr); });
}

// Begins to watch what the folder says was started, and takes *order then; `nothing` when it says
// nothing, kNotFound when it says that the attempt was given up.
StatusOr<Found> ContainerExecutor::Impl::WatchExisting(const AttemptKey& key,
                                                       const std::string& folder,
                                                       std::unique_ptr<ContainerOrder>* order) {
  std::string text;
  const int error = ReadSmallFile(folder + "/" + kClaimFile, kMaxRecordBytes, &text);
  if (error == ENOENT) return Found::nothing;
  if (error != 0) return HostStatus(error, "cannot read the claim in " + folder);
  ClaimRecord claim;
  std::string damage;
  if (!DecodeClaim(text, &claim, &damage) || claim.pid != 0) {
    return FailedPrecondition("the attempt " + key + " was not started in a container");
  }
  TRACKBED_RETURN_IF_ERROR(CheckClaim(claim, key, folder));

  // Elsewhere it would not be found, and be taken for lost.
  if (ReadSmallFile(folder + "/" + kContainerEndpointFile, kMaxRecordBytes, &text) == 0 &&
      text != options_.endpoint.ToString()) {
    return FailedPrecondition(absl::StrCat("the attempt ", key, " was started on ", text,
                                           ", not on ", options_.endpoint.ToString(),
                                           "; name that endpoint (--endpoint)"));
  }
  LaunchRecord launch;
  if (ReadSmallFile(folder + "/" + kContainerLaunchFile, kMaxRecordBytes, &text) != 0 ||
      !DecodeLaunch(text, &launch, &damage)) {
    launch = LaunchRecord();
  }
  Watch* watch = NewWatch(key, folder, order != nullptr ? std::move(*order) : nullptr);
  watch->secret_names = launch.secret_names;
  watch->memory_bytes = launch.memory_bytes;
  // Its end is noted already: all that may be left is the container.
  ExitRecord record;
  if (ReadSmallFile(folder + "/" + kContainerExitFile, kMaxRecordBytes, &text) == 0 &&
      DecodeExit(text, &record, &damage)) {
    watch->last = FromExit(*watch, record);
    watch->stage = Stage::removing;
    Later(watch, Duration(0), &Impl::Remove);
    return Found::something;
  }
  watch->stage = Stage::looking;
  Later(watch, Duration(0), &Impl::Look);
  return Found::something;
}

Watch* ContainerExecutor::Impl::NewWatch(const AttemptKey& key, const std::string& folder,
                                         std::unique_ptr<ContainerOrder> order) {
  Watch& watch = watches_[next_id_];
  watch.id = next_id_++;
  watch.key = key;
  watch.folder = folder;
  watch.name = ContainerName(key, folder);
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
void ContainerExecutor::Impl::SetMask(Watch* watch, const std::vector<std::string>& environment) {
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

void ContainerExecutor::Impl::Prepare(Watch* watch) {
  watch->stage = Stage::preparing;
  const auto failure = std::make_shared<std::string>();
  const bool open_to_all = !options_.user.empty();
  worker_.Submit(
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
          RemoveAndReport(prepared, AttemptReport::Kind::failed_to_start, *failure);
          return;
        }
        prepared->prepared = true;
        FindImage(prepared);
      });
}

// --- The image ---

void ContainerExecutor::Impl::FindImage(Watch* watch) {
  watch->stage = Stage::image;
  if (watch->stopping) {
    RemoveAndReport(watch, AttemptReport::Kind::failed_to_start, "stopped before it started");
    return;
  }
  HttpRequest request;
  request.path = "/images/" + watch->order->image + "/json";
  Request(watch, std::move(request), &Impl::OnImage);
}

void ContainerExecutor::Impl::OnImage(Watch* watch, const HttpOutcome& outcome) {
  if (!Reached(outcome)) {
    Unreached(watch, outcome, &Impl::FindImage);
    return;
  }
  if (outcome.status == kOk) {
    if (const auto image = ReadImage(outcome.body)) {
      watch->image_digest = image->digest;
      watch->image_id = image->id;
      CreateContainer(watch);
      return;
    }
  }
  if (outcome.status == kNotFoundStatus && !watch->pulled) {
    Pull(watch);
    return;
  }
  RemoveAndReport(watch, AttemptReport::Kind::failed_to_start,
                  absl::StrCat("the image \"", watch->order->image,
                               "\" cannot be used: ", ErrorText(outcome.status, outcome.body)));
}

// Attempts that want the same image wait for one pull.
void ContainerExecutor::Impl::Pull(Watch* watch) {
  const std::string image = watch->order->image;
  PullUnderWay& pull = pulls_[image];
  pull.watches.push_back(watch->id);
  if (pull.watches.size() > 1) return;
  pull.reader = std::make_shared<PullReader>();

  const std::string registry = RegistryOf(image);
  HttpRequest request;
  request.method = "POST";
  request.idle_timeout = kPullSilence;
  const size_t slash = image.rfind('/');
  const size_t colon = image.find(':', slash == std::string::npos ? 0 : slash);
  const bool by_digest = image.find('@') != std::string::npos;
  // Without a tag Docker would fetch all there are.
  const std::string tag =
      by_digest ? "" : (colon == std::string::npos ? "latest" : image.substr(colon + 1));
  const std::string from = by_digest ? image : image.substr(0, colon);
  request.path = Path("/images/create?fromImage=" + Percent(from) +
                      (tag.empty() ? "" : "&tag=" + Percent(tag)));
  for (const RegistryLogin& login : options_.logins) {
    if (login.server != registry) continue;
    StatusOr<std::string> password = options_.resolve_secret
                                         ? options_.resolve_secret(login.password)
                                         : StatusOr<std::string>(NotFound("no secrets were given"));
    if (!password.ok()) {
      OnPulled(image,
               absl::StrCat("login to ", registry, ": ", AbslView(Message(password.status()))),
               true);
      return;
    }
    request.headers.push_back("X-Registry-Auth: " + RegistryAuthorization(login, *password));
  }
  HttpHandler handler;
  handler.on_bytes = [reader = pull.reader](std::string_view bytes) { reader->Feed(bytes); };
  handler.on_done = [this, image, reader = pull.reader](const HttpOutcome& outcome) {
    if (outcome.status >= kOk && outcome.status < 300 && outcome.error.empty()) {
      OnPulled(image, reader->error(), true);
    } else if (outcome.status != 0 && outcome.error.empty()) {
      OnPulled(image, ErrorText(outcome.status, outcome.body), true);
    } else {
      OnPulled(image, outcome.error, false);
    }
  };
  transport_->Send(std::move(request), std::move(handler));
}

void ContainerExecutor::Impl::OnPulled(const std::string& image, const std::string& error,
                                       bool reached) {
  const auto node = pulls_.extract(image);
  if (node.empty()) return;
  for (const uint64_t id : node.mapped().watches) {
    Watch* watch = Find(id);
    if (watch == nullptr || watch->stage != Stage::image) continue;
    if (!error.empty() && (reached || ++watch->tries >= kMaxTries)) {
      RemoveAndReport(watch, AttemptReport::Kind::failed_to_start,
                      absl::StrCat("cannot pull the image \"", image, "\": ", error));
      continue;
    }
    watch->pulled = error.empty();
    Later(watch, error.empty() ? Duration(0) : Backoff(watch->tries), &Impl::FindImage);
  }
}

// --- The container ---

void ContainerExecutor::Impl::CreateContainer(Watch* watch) {
  watch->stage = Stage::creating;
  StatusOr<std::string> body =
      CreationBody(*watch->order, watch->image_id, options_, version_.is_podman);
  if (!body.ok()) {
    RemoveAndReport(watch, AttemptReport::Kind::failed_to_start,
                    std::string(Message(body.status())));
    return;
  }
  HttpRequest request;
  request.method = "POST";
  request.path = "/containers/create?name=" + watch->name;
  request.body = *std::move(body);
  Request(watch, std::move(request), &Impl::OnCreated);
}

void ContainerExecutor::Impl::OnCreated(Watch* watch, const HttpOutcome& outcome) {
  if (outcome.status == kCreated) {
    AttachBeforeStart(watch);
    return;
  }
  // There already, or nobody knows: look.
  if (!outcome.error.empty() || outcome.status == 0) {
    Unreached(watch, outcome, &Impl::Look);
    return;
  }
  if (outcome.status == kConflict) {
    Look(watch);
    return;
  }
  if (outcome.status == kNotFoundStatus && ++watch->tries < kMaxTries) {
    FindImage(watch);  // removed since we looked
    return;
  }
  if (outcome.status >= kServerError && ++watch->tries < kMaxTries) {
    watch->create_error = WithMask(*watch, ErrorText(outcome.status, outcome.body));
    Later(watch, Backoff(watch->tries), &Impl::Look);
    return;
  }
  RemoveAndReport(watch, AttemptReport::Kind::failed_to_start,
                  absl::StrCat("its container could not be made: ",
                               WithMask(*watch, ErrorText(outcome.status, outcome.body))));
}

void ContainerExecutor::Impl::AttachBeforeStart(Watch* watch) {
  if (watch->stopping) {
    RemoveAndReport(watch, AttemptReport::Kind::failed_to_start, "stopped before it started");
    return;
  }
  watch->stage = Stage::attaching;
  watch->log_whole = true;
  Attach(watch);
  // An engine that does not answer this one is asked for the log at the end.
  SetDue(watch, Steady::now() + kAttachPatience, [this, id = watch->id] {
    Watch* waiting = Find(id);
    if (waiting == nullptr || waiting->stage != Stage::attaching) return;
    waiting->log_whole = false;
    StartContainer(waiting);
  });
}

// Streams the output: all of it from the start, or what there was and what will come.
void ContainerExecutor::Impl::Attach(Watch* watch) {
  if (watch->log_request != 0) transport_->Cancel(watch->log_request);
  watch->log_reader.Reset();
  watch->log_ended = false;
  watch->log.Begin(watch->folder + "/" + kLogFile);
  HttpRequest request;
  request.method = "POST";
  request.path = ContainerPath(
      *watch, absl::StrCat("/attach?stream=1&stdout=1&stderr=1&logs=", watch->log_whole ? 0 : 1));
  HttpHandler handler;
  const uint64_t id = watch->id;
  handler.on_head = [this, id](int status) {
    Watch* attached = Find(id);
    if (attached == nullptr) return;
    if (status >= 300) attached->log_whole = false;
    if (attached->stage == Stage::attaching) StartContainer(attached);
  };
  handler.on_bytes = [this, id](std::string_view bytes) {
    if (Watch* attached = Find(id)) OnLogBytes(attached, bytes);
  };
  handler.on_done = [this, id](const HttpOutcome& outcome) {
    Watch* attached = Find(id);
    if (attached == nullptr) return;
    attached->log_request = 0;
    OnLogEnd(attached, outcome.error.empty() && outcome.status < 300);
  };
  watch->log_request = transport_->Send(std::move(request), std::move(handler));
}

void ContainerExecutor::Impl::OnLogBytes(Watch* watch, std::string_view bytes) {
  std::string text;
  const Status status = watch->log_reader.Feed(bytes, &text);
  watch->log.Write(text);
  if (status.ok()) return;
  watch->log_whole = false;
  watch->problem = std::string(Message(status));
  // What comes after it cannot be read either.
  const HttpTransport::Exchange exchange = std::exchange(watch->log_request, 0);
  transport_->Cancel(exchange);
  OnLogEnd(watch, false);
}

void ContainerExecutor::Impl::OnLogEnd(Watch* watch, bool clean) {
  watch->log_ended = clean;
  if (!clean || !watch->log_reader.AtFrameEnd()) watch->log_whole = false;
  if (watch->stage == Stage::attaching) {
    StartContainer(watch);
  } else if (watch->stage == Stage::running) {
    watch->stage = Stage::looking;
    watch->tries = 0;
    if (clean) {
      Look(watch);
    } else {
      Later(watch, Backoff(++watch->failures), &Impl::Look);
    }
  }
}

void ContainerExecutor::Impl::StartContainer(Watch* watch) {
  if (watch->stopping) {
    RemoveAndReport(watch, AttemptReport::Kind::failed_to_start, "stopped before it started");
    return;
  }
  watch->stage = Stage::starting;
  HttpRequest request;
  request.method = "POST";
  request.path = "/containers/" + watch->name + "/start";
  request.timeout = kStartTimeout;
  Request(watch, std::move(request), &Impl::OnStarted);
}

void ContainerExecutor::Impl::OnStarted(Watch* watch, const HttpOutcome& outcome) {
  if (outcome.status == kNoContent || outcome.status == kNotModified) {
    ReportStarted(watch);
    if (watch->stopping) SendStop(watch);
    if (watch->log_request == 0) {  // it ended meanwhile
      watch->tries = 0;
      Look(watch);
    } else {
      watch->stage = Stage::running;
    }
    return;
  }
  if (outcome.error.empty() && outcome.status != 0) {
    watch->start_error = WithMask(*watch, ErrorText(outcome.status, outcome.body));
    Look(watch);
    return;
  }
  Unreached(watch, outcome, &Impl::Look);
}

void ContainerExecutor::Impl::SendStop(Watch* watch) {
  if (watch->stop_request != 0) transport_->Cancel(watch->stop_request);
  HttpRequest request;
  request.method = "POST";
  request.path = ContainerPath(
      *watch, watch->stop_mode == StopMode::kill ? "/kill?signal=SIGKILL" : "/kill?signal=SIGTERM");
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
    Later(stopped, Backoff(++stopped->failures), &Impl::Look);
  };
  watch->stop_request = transport_->Send(std::move(request), std::move(handler));
}

// --- Looking ---

void ContainerExecutor::Impl::Look(Watch* watch) {
  watch->stage = Stage::looking;
  HttpRequest request;
  request.path = "/containers/" + watch->name + "/json";
  Request(watch, std::move(request), &Impl::OnState);
}

void ContainerExecutor::Impl::OnState(Watch* watch, const HttpOutcome& outcome) {
  if (outcome.status == kNotFoundStatus && outcome.error.empty()) {
    OnGone(watch);
    return;
  }
  const auto answer = outcome.status == kOk ? ReadContainer(outcome.body) : std::nullopt;
  if (!answer) {
    Unreached(watch, outcome, &Impl::Look);
    return;
  }
  watch->failures = 0;
  OnLooked(watch, *answer);
}

void ContainerExecutor::Impl::OnLooked(Watch* watch, const ContainerAnswer& answer) {
  if (watch->order == nullptr) SetMask(watch, answer.environment);
  if (watch->image_digest.empty()) watch->image_digest = answer.image;
  switch (answer.state) {
    case ContainerAnswer::State::created:
      if (watch->stopping || !watch->start_error.empty()) {
        RemoveAndReport(watch, AttemptReport::Kind::failed_to_start,
                        watch->start_error.empty()
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
        Later(watch, Backoff(watch->tries), &Impl::Look);
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
    transport_->Cancel(std::exchange(watch->log_request, 0));
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
void ContainerExecutor::Impl::OnGone(Watch* watch) {
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
    watch->last = AttemptReport();
    watch->last.key = watch->key;
    watch->last.kind = AttemptReport::Kind::lost;
    watch->last.message = "its container is gone and left no record of the end";
    FinishWatch(watch);
    return;
  }
  if (watch->stopping) {
    RemoveAndReport(watch, AttemptReport::Kind::failed_to_start, "stopped before it started");
  } else if (watch->order == nullptr) {
    watch->last = AttemptReport();
    watch->last.key = watch->key;
    watch->last.kind = AttemptReport::Kind::lost;
    watch->last.message = "it was about to start, and there is no container of it";
    FinishWatch(watch);
  } else if (++watch->tries >= kMaxTries) {
    RemoveAndReport(watch, AttemptReport::Kind::failed_to_start,
                    watch->create_error.empty()
                        ? "its container appears and disappears"
                        : "its container could not be made: " + watch->create_error);
  } else if (watch->prepared) {
    FindImage(watch);
  } else {
    Prepare(watch);
  }
}

// Reads the whole log anew: of what was streamed something may be missing.
void ContainerExecutor::Impl::FetchLog(Watch* watch) {
  watch->stage = Stage::fetching;
  watch->log_reader.Reset();
  watch->log.Begin(watch->folder + "/" + kLogFile);
  HttpRequest request;
  request.path = ContainerPath(*watch, "/logs?stdout=1&stderr=1");
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
    Watch* fetched = Find(id);
    if (fetched == nullptr) return;
    fetched->log_request = 0;
    const bool whole = outcome.error.empty() && outcome.status == kOk &&
                       fetched->log_reader.AtFrameEnd() && fetched->problem.empty();
    // A busy Podman 4.3 may answer before all of the log has been written: what was there already
    // is not taken back, and nothing is not believed at once.
    const bool is_early = whole && (fetched->log.FallsShort() ||
                                    (fetched->log.IsEmpty() && fetched->failures < kEmptyLogTries));
    if (whole && !is_early) {
      fetched->log.Finish();
      Conclude(fetched);
      return;
    }
    if (is_early) fetched->problem = "the container engine tells less of it than it did";
    const bool refused = outcome.error.empty() && outcome.status >= 300;
    if (!refused && ++fetched->failures < kMaxRemoveTries) {
      fetched->problem.clear();
      Later(fetched, Backoff(fetched->failures), &Impl::FetchLog);
      return;
    }
    fetched->problem =
        absl::StrCat("the log is not complete: ",
                     refused ? ErrorText(outcome.status, outcome.body)
                             : (outcome.error.empty() ? fetched->problem : outcome.error));
    Conclude(fetched);
  };
  watch->problem.clear();
  watch->log_request = transport_->Send(std::move(request), std::move(handler));
}

// --- The end ---

void ContainerExecutor::Impl::Conclude(Watch* watch) {
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
  worker_.Submit([end, concluded] { *concluded = ConcludeAttempt(*end); },
                 [this, id = watch->id, concluded] {
                   Watch* ended = Find(id);
                   if (ended == nullptr) return;
                   if (concluded->lost) {
                     ended->last = AttemptReport();
                     ended->last.key = ended->key;
                     ended->last.kind = AttemptReport::Kind::lost;
                     ended->last.message = concluded->record.message;
                   } else {
                     ended->last = FromExit(*ended, concluded->record);
                   }
                   Remove(ended);
                 });
}

void ContainerExecutor::Impl::RemoveAndReport(Watch* watch, AttemptReport::Kind kind,
                                              std::string message) {
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

void ContainerExecutor::Impl::Remove(Watch* watch) {
  watch->stage = Stage::removing;
  HttpRequest request;
  request.method = "DELETE";
  request.path = "/containers/" + watch->name + "?force=1&v=1";
  Request(watch, std::move(request), &Impl::OnRemoved);
}

void ContainerExecutor::Impl::OnRemoved(Watch* watch, const HttpOutcome& outcome) {
  const bool gone = outcome.error.empty() && outcome.status != 0 && outcome.status < kServerError;
  if (gone || ++watch->tries >= kMaxRemoveTries) {
    if (!gone) {
      const std::string why =
          outcome.error.empty() ? ErrorText(outcome.status, outcome.body) : outcome.error;
      absl::StrAppend(&watch->last.message, watch->last.message.empty() ? "" : "; ",
                      "its container ", watch->name, " could not be removed: ", why);
    }
    FinishWatch(watch);
    return;
  }
  Later(watch, Backoff(watch->tries), &Impl::Remove);
}

void ContainerExecutor::Impl::FinishWatch(Watch* watch) {
  Report(std::move(watch->last));
  RemoveWatch(watch);
}

// --- Requests ---

// Finds out which API is spoken. Requests wait for it.
void ContainerExecutor::Impl::Connect() {
  if (connecting_ || connected_) return;
  if (connect_due_ > Steady::now()) return;
  connecting_ = true;
  HttpRequest request;
  request.path = "/version";
  request.timeout = kRequestTimeout;
  HttpHandler handler;
  handler.on_done = [this](const HttpOutcome& outcome) {
    connecting_ = false;
    const auto version =
        outcome.error.empty() && outcome.status == kOk ? ReadVersion(outcome.body) : std::nullopt;
    if (!version) {
      connect_error_ = !outcome.error.empty()  ? outcome.error
                       : outcome.status == kOk ? "what answers is no Docker Engine API"
                                               : ErrorText(outcome.status, outcome.body);
      connect_due_ = Steady::now() + Backoff(++connect_failures_);
    } else {
      version_ = *version;
      connected_ = true;
      connect_failures_ = 0;
    }
    for (const uint64_t id : std::exchange(unconnected_, {})) {
      Watch* watch = Find(id);
      if (watch == nullptr || !watch->again) continue;
      if (connected_) {
        std::exchange(watch->again, nullptr)();
      } else {
        HttpOutcome failed;
        failed.error = connect_error_;
        // Tried again with all others when the next connection is due.
        const bool waits = watch->stage == Stage::image || watch->stage == Stage::creating;
        if (waits && Steady::now() - watch->began > options_.patience) {
          RemoveAndReport(watch, AttemptReport::Kind::failed_to_start,
                          absl::StrCat("cannot reach the container engine at ",
                                       options_.endpoint.ToString(), ": ", connect_error_));
        } else {
          unconnected_.push_back(id);
        }
      }
    }
  };
  transport_->Send(std::move(request), std::move(handler));
}

// Sends `request`, whose path lacks the version; one at a time for each watch.
void ContainerExecutor::Impl::Request(Watch* watch, HttpRequest request,
                                      void (Impl::*then)(Watch*, const HttpOutcome&)) {
  SetDue(watch, SteadyTime{}, nullptr);
  if (!connected_) {
    watch->again = [this, id = watch->id, request, then] {
      if (Watch* waiting = Find(id)) Request(waiting, request, then);
    };
    unconnected_.push_back(watch->id);
    Wake();
    return;
  }
  request.path = Path(request.path);
  if (request.timeout == Duration(0)) request.timeout = kRequestTimeout;
  HttpHandler handler;
  handler.on_done = [this, id = watch->id, then](const HttpOutcome& outcome) {
    Watch* answered = Find(id);
    if (answered == nullptr) return;
    answered->request = 0;
    (this->*then)(answered, outcome);
  };
  watch->request = transport_->Send(std::move(request), std::move(handler));
}

// Asks once for all attempts whether their containers run: a connection that hangs tells nothing.
void ContainerExecutor::Impl::CheckRunning() {
  const SteadyTime now = Steady::now();
  if (!connected_ || checking_ || now < check_due_) return;
  check_due_ = now + kCheckInterval;
  const bool any = std::any_of(watches_.begin(), watches_.end(), [](const auto& entry) {
    return entry.second.stage == Stage::running;
  });
  if (!any) return;
  checking_ = true;
  HttpRequest request;
  request.path = Path("/containers/json?filters=" + Percent(R"({"label":["trackbed.key"]})"));
  request.timeout = kRequestTimeout;
  HttpHandler handler;
  handler.on_done = [this](const HttpOutcome& outcome) {
    checking_ = false;
    if (outcome.status != kOk || !outcome.error.empty()) return;
    for (auto& [id, watch] : watches_) {
      if (watch.stage != Stage::running) continue;
      if (outcome.body.find("\"/" + watch.name + "\"") != std::string::npos) continue;
      watch.stage = Stage::looking;
      Later(&watch, Duration(0), &Impl::Look);
    }
  };
  transport_->Send(std::move(request), std::move(handler));
}

// --- Time ---

Duration ContainerExecutor::Impl::Backoff(int failures) const {
  Duration delay = kFirstDelay;
  for (int i = 1; i < failures && delay < kLongestDelay; ++i) delay *= 2;
  return std::min<Duration>(delay, kLongestDelay);
}

void ContainerExecutor::Impl::Later(Watch* watch, Duration delay, Step step) {
  SetDue(watch, Steady::now() + std::chrono::duration_cast<Steady::duration>(delay),
         [this, id = watch->id, step] {
           if (Watch* found = Find(id)) (this->*step)(found);
         });
}

void ContainerExecutor::Impl::SetDue(Watch* watch, SteadyTime due, std::function<void()> again) {
  if (watch->due != SteadyTime{}) due_.erase({watch->due, watch->id});
  watch->due = due;
  watch->again = std::move(again);
  if (due == SteadyTime{}) return;
  due_.insert({due, watch->id});
  Wake();
}

// The endpoint did not answer, or could not: the step is taken again. What has not been created yet
// does not wait for ever.
void ContainerExecutor::Impl::Unreached(Watch* watch, const HttpOutcome& outcome, Step step) {
  const std::string why =
      outcome.error.empty() ? ErrorText(outcome.status, outcome.body) : outcome.error;
  if (watch->stage == Stage::image && Steady::now() - watch->began > options_.patience) {
    RemoveAndReport(watch, AttemptReport::Kind::failed_to_start,
                    absl::StrCat("cannot reach the container engine at ",
                                 options_.endpoint.ToString(), ": ", why));
    return;
  }
  Later(watch, Backoff(++watch->failures), step);
}

void ContainerExecutor::Impl::RunDue() {
  const SteadyTime now = Steady::now();
  while (!due_.empty() && due_.begin()->first <= now) {
    const uint64_t id = due_.begin()->second;
    Watch& watch = watches_[id];
    due_.erase(due_.begin());
    watch.due = SteadyTime{};
    if (watch.again) std::exchange(watch.again, nullptr)();
  }
}

void ContainerExecutor::Impl::ArmTimer() {
  SteadyTime next = SteadyTime::max();
  if (!due_.empty()) next = due_.begin()->first;
  if (!unconnected_.empty() && !connecting_) next = std::min(next, connect_due_);
  if (connected_ && !checking_ && !watches_.empty())
    next = std::min(next, std::max(check_due_, Steady::now()) + kFirstDelay);
  itimerspec spec{};
  if (next != SteadyTime::max()) {
    const auto delay = std::max<Duration>(next - Steady::now(), Duration(1));
    spec.it_value.tv_sec = std::chrono::duration_cast<std::chrono::seconds>(delay).count();
    spec.it_value.tv_nsec = (delay % std::chrono::seconds(1)).count();
  }
  timerfd_settime(timer_, 0, &spec, nullptr);
}

// --- The port ---

Status ContainerExecutor::Impl::Poll(std::vector<AttemptReport>* reports) {
  TRACKBED_RETURN_IF_ERROR(CheckOwner(owner_));
  uint64_t ignored = 0;
  [[maybe_unused]] const ssize_t drained = read(wake_, &ignored, sizeof(ignored));
  [[maybe_unused]] const ssize_t expired = read(timer_, &ignored, sizeof(ignored));
  worker_.Run();
  transport_->Run();
  RunDue();
  if (!unconnected_.empty()) Connect();
  CheckRunning();
  ArmTimer();
  reports->insert(reports->end(), std::make_move_iterator(reports_.begin()),
                  std::make_move_iterator(reports_.end()));
  reports_.clear();
  return absl::OkStatus();
}

Status ContainerExecutor::Impl::Stop(const AttemptKey& key, StopMode mode) {
  TRACKBED_RETURN_IF_ERROR(CheckOwner(owner_));
  const auto found = by_key_.find(key);
  if (found == by_key_.end()) {
    const bool ended = std::any_of(reports_.begin(), reports_.end(),
                                   [&](const AttemptReport& report) { return report.key == key; });
    if (ended) return absl::OkStatus();
    return NotFound("the attempt " + key + " is not being watched");
  }
  Watch* watch = &watches_[found->second];
  watch->stopping = true;
  watch->stop_mode = mode;
  if (watch->stage == Stage::running) SendStop(watch);
  if (watch->stage == Stage::image) {
    RemoveAndReport(watch, AttemptReport::Kind::failed_to_start, "stopped before it started");
  }
  return absl::OkStatus();
}

// --- Reports ---

Watch* ContainerExecutor::Impl::Find(uint64_t id) {
  const auto found = watches_.find(id);
  return found == watches_.end() ? nullptr : &found->second;
}

void ContainerExecutor::Impl::Wake() {
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = write(wake_, &one, sizeof(one));
}

void ContainerExecutor::Impl::Report(AttemptReport report) {
  reports_.push_back(std::move(report));
  Wake();
}

void ContainerExecutor::Impl::ReportStarted(Watch* watch) {
  if (watch->started) return;
  watch->started = true;
  AttemptReport report;
  report.key = watch->key;
  report.kind = AttemptReport::Kind::started;
  Report(std::move(report));
}

AttemptReport ContainerExecutor::Impl::FromExit(const Watch& watch,
                                                const ExitRecord& record) const {
  AttemptReport report;
  report.key = watch.key;
  report.message = record.message;
  report.image_digest = watch.image_digest;
  if (!record.ran) {
    report.kind = AttemptReport::Kind::failed_to_start;
    return report;
  }
  report.kind = AttemptReport::Kind::exited;
  report.exit_code = record.exit_code;
  report.signal = record.signal;
  report.out_of_memory = record.out_of_memory;
  report.output_digest = record.output_digest;
  report.wall_time = Duration(record.wall_ns);
  report.cpu_time = Duration(record.cpu_ns);
  report.max_rss_bytes = record.max_rss_bytes;
  const int error =
      ReadSmallFile(watch.folder + "/" + kOutputFile, kMaxOutputBytes, &report.output_text);
  if (error == EFBIG) {
    absl::StrAppend(&report.message, report.message.empty() ? "" : "; ",
                    "the output file has more than 1 MiB; the rest is left out");
    // Not half a line: half a value would look like a whole one.
    report.output_text.resize(report.output_text.rfind('\n') + 1);
  }
  return report;
}

void ContainerExecutor::Impl::CancelRequests(Watch* watch) {
  for (HttpTransport::Exchange* exchange :
       {&watch->request, &watch->stop_request, &watch->log_request}) {
    if (*exchange != 0) transport_->Cancel(std::exchange(*exchange, 0));
  }
}

void ContainerExecutor::Impl::RemoveWatch(Watch* watch) {
  CancelRequests(watch);
  SetDue(watch, SteadyTime{}, nullptr);
  by_key_.erase(watch->key);
  watches_.erase(watch->id);
}

// --- The public face ---

StatusOr<std::unique_ptr<ContainerExecutor>> ContainerExecutor::Create(
    ContainerExecutorOptions options) {
  TRACKBED_ASSIGN_OR_RETURN(std::unique_ptr<HttpTransport> transport,
                            NewCurlTransport(options.endpoint));
  return Create(std::move(options), std::move(transport));
}

StatusOr<std::unique_ptr<ContainerExecutor>> ContainerExecutor::Create(
    ContainerExecutorOptions options, std::unique_ptr<HttpTransport> transport) {
  auto impl = std::make_unique<Impl>(std::move(options), std::move(transport));
  TRACKBED_RETURN_IF_ERROR(impl->Initialize());
  return std::unique_ptr<ContainerExecutor>(new ContainerExecutor(std::move(impl)));
}

ContainerExecutor::ContainerExecutor(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ContainerExecutor::~ContainerExecutor() = default;

Status ContainerExecutor::Start(const AttemptSpec& spec) { return impl_->Start(spec); }
Status ContainerExecutor::Adopt(const AttemptKey& key, const std::string& folder) {
  return impl_->Adopt(key, folder);
}
Status ContainerExecutor::Observe(const AttemptKey& key, const std::string& folder) {
  return impl_->Observe(key, folder);
}
Status ContainerExecutor::Poll(std::vector<AttemptReport>* reports) { return impl_->Poll(reports); }
Status ContainerExecutor::Stop(const AttemptKey& key, StopMode mode) {
  return impl_->Stop(key, mode);
}
int ContainerExecutor::WakeDescriptor() const { return impl_->WakeDescriptor(); }

bool StartedInContainer(const std::string& folder) {
  std::string text;
  ClaimRecord claim;
  std::string damage;
  return ReadSmallFile(folder + "/" + kClaimFile, kMaxRecordBytes, &text) == 0 &&
         DecodeClaim(text, &claim, &damage) && claim.pid == 0 && !claim.given_up;
}

}  // namespace trackbed
