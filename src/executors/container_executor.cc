// The port: what the folders of attempts say, and to which container engine an attempt belongs.
// What is done there is container_host.cc.
#include "trackbed/executors/container_executor.hpp"

#include <absl/strings/str_cat.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "executors/adoption.hpp"
#include "executors/attempt_name.hpp"
#include "executors/attempt_records.hpp"
#include "executors/container_files.hpp"
#include "executors/container_host.hpp"
#include "executors/container_order.hpp"
#include "executors/container_strays.hpp"
#include "executors/curl_transport.hpp"
#include "executors/file_worker.hpp"
#include "executors/host_files.hpp"
#include "executors/http_transport.hpp"
#include "executors/launch_plan.hpp"
#include "trackbed/resources/node.hpp"

namespace trackbed {
namespace {

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

}  // namespace

class ContainerExecutor::Impl {
 public:
  Impl(ContainerExecutorOptions options, NewTransport new_transport)
      : options_(std::move(options)), new_transport_(std::move(new_transport)) {}
  ~Impl();
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  Status Initialize();
  Status Start(const AttemptSpec& spec);
  Status Adopt(const AttemptKey& key, const std::string& folder);
  Status Observe(const AttemptKey& key, const std::string& folder);
  Status Poll(std::vector<AttemptReport>* reports);
  Status Stop(const AttemptKey& key, StopMode mode);
  Status AddNode(const NodeDescription& node);
  std::vector<std::string> SilentNodes() const;
  Status GiveUp(const AttemptKey& key);
  int WakeDescriptor() const { return epoll_; }

 private:
  Status AddHost(const std::string& node, const ContainerEndpoint& endpoint);
  Status WatchDescriptor(int descriptor) const;
  // Where new attempts of `node` run.
  StatusOr<ContainerHost*> HostOf(const std::string& node) const;
  // Of an attempt that is watched; else null.
  const std::string* FolderOf(const AttemptKey& key) const;

  StatusOr<std::unique_ptr<ContainerOrder>> Plan(const AttemptSpec& spec, std::string* script);
  Status WriteFiles(const ContainerOrder& order, const std::string& script,
                    const std::string& endpoint);
  StatusOr<Found> WatchExisting(const AttemptKey& key, const std::string& folder,
                                std::unique_ptr<ContainerOrder>* order);
  // The host that the folder names.
  StatusOr<ContainerHost*> HostOfExisting(const AttemptKey& key, const std::string& folder) const;
  void Wake() const;
  void ArmTimer();

  ContainerExecutorOptions options_;
  const NewTransport new_transport_;
  std::string owner_;
  FileWorker worker_;
  pid_t owner_process_ = 0;
  int epoll_ = -1;
  int wake_ = -1;
  int timer_ = -1;
  std::vector<AttemptReport> reports_;
  std::map<std::string, std::unique_ptr<ContainerHost>> hosts_;  // by node; "": options_.endpoint
};

ContainerExecutor::Impl::~Impl() {
  hosts_.clear();
  for (const int descriptor : {epoll_, wake_, timer_}) {
    if (descriptor >= 0) close(descriptor);
  }
}

Status ContainerExecutor::Impl::WatchDescriptor(int descriptor) const {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.fd = descriptor;
  if (epoll_ctl(epoll_, EPOLL_CTL_ADD, descriptor, &event) == 0) return absl::OkStatus();
  return HostStatus(errno, "cannot watch descriptors");
}

Status ContainerExecutor::Impl::Initialize() {
  owner_process_ = getpid();
  TRACKBED_ASSIGN_OR_RETURN(options_.init_path, FindInit(options_.init_path));
  if (!options_.home.empty()) {
    TRACKBED_ASSIGN_OR_RETURN(owner_, ContainerOwner(options_.home));
  }
  TRACKBED_RETURN_IF_ERROR(worker_.Initialize());
  epoll_ = epoll_create1(EPOLL_CLOEXEC);
  wake_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  timer_ = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
  if (epoll_ < 0 || wake_ < 0 || timer_ < 0) return HostStatus(errno, "cannot make descriptors");
  for (const int descriptor : {wake_, timer_, worker_.WakeDescriptor()}) {
    TRACKBED_RETURN_IF_ERROR(WatchDescriptor(descriptor));
  }
  if (!options_.endpoint.ToString().empty()) {
    TRACKBED_RETURN_IF_ERROR(AddHost("", options_.endpoint));
  }
  for (const auto& [name, node] : options_.nodes) {
    TRACKBED_RETURN_IF_ERROR(AddHost(name, node.endpoint));
  }
  Wake();  // nodes are asked whether they answer
  return absl::OkStatus();
}

Status ContainerExecutor::Impl::AddHost(const std::string& node,
                                        const ContainerEndpoint& endpoint) {
  TRACKBED_ASSIGN_OR_RETURN(std::unique_ptr<HttpTransport> transport, new_transport_(endpoint));
  ContainerHost::Shared shared;
  shared.options = &options_;
  shared.owner = owner_;
  shared.worker = &worker_;
  shared.reports = &reports_;
  shared.wake = [this] { Wake(); };
  auto host =
      std::make_unique<ContainerHost>(std::move(shared), node, endpoint, std::move(transport));
  TRACKBED_RETURN_IF_ERROR(WatchDescriptor(host->WakeDescriptor()));
  hosts_[node] = std::move(host);
  return absl::OkStatus();
}

StatusOr<ContainerHost*> ContainerExecutor::Impl::HostOf(const std::string& node) const {
  for (const std::string& name : {node, std::string()}) {
    if (const auto found = hosts_.find(name); found != hosts_.end()) return found->second.get();
  }
  return InvalidArgument(absl::StrCat("the node \"", node,
                                      "\" has no container engine; give it an ",
                                      "endpoint in its description"));
}

const std::string* ContainerExecutor::Impl::FolderOf(const AttemptKey& key) const {
  for (const auto& [node, host] : hosts_) {
    if (const std::string* folder = host->FolderOf(key)) return folder;
  }
  return nullptr;
}

// --- Starting ---

Status ContainerExecutor::Impl::Start(const AttemptSpec& spec) {
  TRACKBED_RETURN_IF_ERROR(CheckOwner(owner_process_));
  if (const std::string* folder = FolderOf(spec.key)) {
    if (*folder == spec.folder) return absl::OkStatus();
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
    TRACKBED_ASSIGN_OR_RETURN(ContainerHost * host, HostOf(spec.node));
    TRACKBED_RETURN_IF_ERROR(WriteFiles(*order, script, host->endpoint()));
    ClaimRecord claim;
    claim.key = spec.key;
    const int error = WriteWholeFile(spec.folder + "/" + kClaimFile, EncodeClaim(claim), true);
    if (error == EEXIST) continue;
    if (error != 0) return HostStatus(error, "cannot write to the folder " + spec.folder);
    host->Begin(spec.key, std::move(order));
    return absl::OkStatus();
  }
  return Internal("the claim in " + spec.folder + " appears and disappears");
}

StatusOr<std::unique_ptr<ContainerOrder>> ContainerExecutor::Impl::Plan(const AttemptSpec& spec,
                                                                        std::string* script) {
  auto order = std::make_unique<ContainerOrder>();
  order->name = AttemptName(spec.key, spec.folder);
  order->image = spec.image.empty() ? options_.default_image : spec.image;
  if (order->image.empty()) {
    return InvalidArgument(
        "the task names no image to run in; give it one (image: debian:12), or a default "
        "(--image debian:12)");
  }
  TRACKBED_RETURN_IF_ERROR(CheckImageName(order->image));
  order->owner = owner_;
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

Status ContainerExecutor::Impl::WriteFiles(const ContainerOrder& order, const std::string& script,
                                           const std::string& endpoint) {
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
    error = WriteWholeFile(folder + "/" + kContainerEndpointFile, endpoint, false);
  }
  if (error != 0) return HostStatus(error, "cannot write to the folder " + folder);
  return absl::OkStatus();
}

Status ContainerExecutor::Impl::Adopt(const AttemptKey& key, const std::string& folder) {
  TRACKBED_RETURN_IF_ERROR(CheckOwner(owner_process_));
  if (FolderOf(key) != nullptr) return absl::OkStatus();
  return AdoptOrGiveUp(key, folder, [&] { return WatchExisting(key, folder, nullptr); });
}

Status ContainerExecutor::Impl::Observe(const AttemptKey& key, const std::string& folder) {
  TRACKBED_RETURN_IF_ERROR(CheckOwner(owner_process_));
  if (FolderOf(key) != nullptr) return absl::OkStatus();
  return ObserveStarted(key, folder, [&] { return WatchExisting(key, folder, nullptr); });
}

StatusOr<ContainerHost*> ContainerExecutor::Impl::HostOfExisting(const AttemptKey& key,
                                                                 const std::string& folder) const {
  std::string endpoint;
  if (ReadSmallFile(folder + "/" + kContainerEndpointFile, kMaxRecordBytes, &endpoint) != 0) {
    return HostOf("");
  }
  std::string known;
  for (const auto& [node, host] : hosts_) {
    if (host->endpoint() == endpoint) return host.get();
    absl::StrAppend(&known, known.empty() ? "" : ", ", host->endpoint());
  }
  // Elsewhere it would not be found, and be taken for lost.
  return FailedPrecondition(absl::StrCat("the attempt ", key, " was started on ", endpoint,
                                         ", not on ", known, "; name that endpoint (--endpoint)"));
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
  if (WasGivenUp(folder)) {
    AttemptReport report;
    report.key = key;
    report.kind = AttemptReport::Kind::lost;
    report.message = "it was given up: its node did not answer";
    reports_.push_back(std::move(report));
    Wake();
    return Found::something;
  }
  TRACKBED_ASSIGN_OR_RETURN(ContainerHost * host, HostOfExisting(key, folder));
  EarlierAttempt attempt;
  attempt.key = key;
  attempt.folder = folder;
  if (order != nullptr) attempt.order = std::move(*order);
  if (ReadSmallFile(folder + "/" + kContainerLaunchFile, kMaxRecordBytes, &text) != 0 ||
      !DecodeLaunch(text, &attempt.launch, &damage)) {
    attempt.launch = LaunchRecord();
  }
  // Its end may be noted already.
  ExitRecord record;
  const bool ended =
      ReadSmallFile(folder + "/" + kContainerExitFile, kMaxRecordBytes, &text) == 0 &&
      DecodeExit(text, &record, &damage);
  host->TakeUp(std::move(attempt), ended ? &record : nullptr);
  return Found::something;
}

// --- The port ---

void ContainerExecutor::Impl::Wake() const {
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = write(wake_, &one, sizeof(one));
}

void ContainerExecutor::Impl::ArmTimer() {
  SteadyTime next = SteadyTime::max();
  for (const auto& [node, host] : hosts_) next = std::min(next, host->NextDue());
  itimerspec spec{};
  if (next != SteadyTime::max()) {
    const auto delay = std::max<Duration>(next - SteadyNow(), Duration(1));
    spec.it_value.tv_sec = std::chrono::duration_cast<std::chrono::seconds>(delay).count();
    spec.it_value.tv_nsec = (delay % std::chrono::seconds(1)).count();
  }
  timerfd_settime(timer_, 0, &spec, nullptr);
}

Status ContainerExecutor::Impl::Poll(std::vector<AttemptReport>* reports) {
  TRACKBED_RETURN_IF_ERROR(CheckOwner(owner_process_));
  uint64_t ignored = 0;
  [[maybe_unused]] const ssize_t drained = read(wake_, &ignored, sizeof(ignored));
  [[maybe_unused]] const ssize_t expired = read(timer_, &ignored, sizeof(ignored));
  worker_.Run();
  for (const auto& [node, host] : hosts_) host->Run();
  ArmTimer();
  reports->insert(reports->end(), std::make_move_iterator(reports_.begin()),
                  std::make_move_iterator(reports_.end()));
  reports_.clear();
  return absl::OkStatus();
}

Status ContainerExecutor::Impl::Stop(const AttemptKey& key, StopMode mode) {
  TRACKBED_RETURN_IF_ERROR(CheckOwner(owner_process_));
  for (const auto& [node, host] : hosts_) {
    if (host->Stop(key, mode)) return absl::OkStatus();
  }
  const bool ended = std::any_of(reports_.begin(), reports_.end(),
                                 [&](const AttemptReport& report) { return report.key == key; });
  if (ended) return absl::OkStatus();
  return NotFound("the attempt " + key + " is not being watched");
}

Status ContainerExecutor::Impl::AddNode(const NodeDescription& node) {
  TRACKBED_RETURN_IF_ERROR(CheckOwner(owner_process_));
  ContainerEndpoint endpoint;
  if (!node.endpoint.empty()) {
    TRACKBED_ASSIGN_OR_RETURN(endpoint, ParseContainerEndpoint(node.endpoint, node.certificates));
  }
  if (const auto known = hosts_.find(node.name); known != hosts_.end()) {
    if (options_.nodes[node.name].endpoint == endpoint) return absl::OkStatus();
    return FailedPrecondition(absl::StrCat("the node \"", node.name, "\" is at ",
                                           known->second->endpoint(), " until this run ends"));
  }
  if (node.endpoint.empty()) return HostOf(node.name).status();
  options_.nodes[node.name].endpoint = endpoint;
  TRACKBED_RETURN_IF_ERROR(AddHost(node.name, endpoint));
  Wake();
  return absl::OkStatus();
}

std::vector<std::string> ContainerExecutor::Impl::SilentNodes() const {
  std::vector<std::string> silent;
  for (const auto& [node, host] : hosts_) {
    if (!node.empty() && host->is_silent()) silent.push_back(node);
  }
  return silent;
}

Status ContainerExecutor::Impl::GiveUp(const AttemptKey& key) {
  TRACKBED_RETURN_IF_ERROR(CheckOwner(owner_process_));
  for (const auto& [node, host] : hosts_) {
    if (!host->GiveUp(key)) continue;
    std::erase_if(reports_, [&](const AttemptReport& report) { return report.key == key; });
    return absl::OkStatus();
  }
  return NotFound("the attempt " + key + " is not being watched");
}

// --- The public face ---

StatusOr<std::unique_ptr<ContainerExecutor>> ContainerExecutor::Create(
    ContainerExecutorOptions options) {
  return Create(std::move(options), NewCurlTransport);
}

StatusOr<std::unique_ptr<ContainerExecutor>> ContainerExecutor::Create(
    ContainerExecutorOptions options, const NewTransport& new_transport) {
  auto impl = std::make_unique<Impl>(std::move(options), new_transport);
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
Status ContainerExecutor::AddNode(const NodeDescription& node) { return impl_->AddNode(node); }
std::vector<std::string> ContainerExecutor::SilentNodes() const { return impl_->SilentNodes(); }
Status ContainerExecutor::GiveUp(const AttemptKey& key) { return impl_->GiveUp(key); }
int ContainerExecutor::WakeDescriptor() const { return impl_->WakeDescriptor(); }

bool StartedInContainer(const std::string& folder) {
  std::string text;
  ClaimRecord claim;
  std::string damage;
  return ReadSmallFile(folder + "/" + kClaimFile, kMaxRecordBytes, &text) == 0 &&
         DecodeClaim(text, &claim, &damage) && claim.pid == 0 && !claim.given_up;
}

}  // namespace trackbed
