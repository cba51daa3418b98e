// Drives attempts on one container engine: one step after another, each an answer of the engine
// that leads to the next request. Whatever goes wrong on the way, the next step is to look at what
// there is (Look): the container's state and the files of its attempt decide, never what we
// remember.
//
//   image -> create -> attach -> start -> (runs) -> look -> log -> conclude -> remove -> report
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "executors/attempt_log.hpp"
#include "executors/container_connection.hpp"
#include "executors/container_log.hpp"
#include "executors/container_order.hpp"
#include "executors/file_worker.hpp"
#include "executors/image_pulls.hpp"
#include "executors/steady_time.hpp"
#include "trackbed/executors/container_executor.hpp"

namespace trackbed {

// An attempt that was started earlier, as its folder tells of it.
struct EarlierAttempt {
  AttemptKey key;
  std::string folder;
  std::unique_ptr<ContainerOrder> order;  // null: it cannot be created any more, only found
  LaunchRecord launch;
};

class ContainerHost {
 public:
  // What a host shares with the others of its executor, all of which outlives it.
  struct Shared {
    const ContainerExecutorOptions* options = nullptr;
    std::string owner;  // of the containers; empty: nobody, and nothing is swept
    FileWorker* worker = nullptr;
    std::vector<AttemptReport>* reports = nullptr;
    std::function<void()> wake;  // Poll has something to do
  };

  // `node` is its name, or empty; `endpoint` what `transport` leads to.
  ContainerHost(Shared shared, std::string node, const ContainerEndpoint& endpoint,
                std::unique_ptr<HttpTransport> transport);
  ~ContainerHost() = default;
  ContainerHost(const ContainerHost&) = delete;
  ContainerHost& operator=(const ContainerHost&) = delete;

  // Runs a new attempt, whose folder is claimed.
  void Begin(const AttemptKey& key, std::unique_ptr<ContainerOrder> order);
  // Watches one that was started earlier; when `ended`, all that may be left is its container.
  void TakeUp(EarlierAttempt attempt, const ExitRecord* ended);
  // False when the attempt is not watched here.
  bool Stop(const AttemptKey& key, StopMode mode);
  bool GiveUp(const AttemptKey& key);

  // Of an attempt that is watched here; else null.
  const std::string* FolderOf(const AttemptKey& key) const;
  bool is_silent() const { return connection_.is_silent(); }
  const std::string& endpoint() const { return endpoint_; }

  // Does what can be done now.
  void Run();
  // When Run has something to do, though the descriptor is not readable.
  SteadyTime NextDue() const;
  int WakeDescriptor() const { return connection_.WakeDescriptor(); }

 private:
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
    std::unique_ptr<ContainerOrder> order;
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
    SteadyTime began = SteadyNow();
    std::string image_id;
    std::string image_digest;
    int64_t memory_bytes = 0;
    std::string network;  // made for its gang
    std::string problem;  // with the log
    std::string create_error;
    std::string start_error;
    AttemptReport last;
  };

  using Step = void (ContainerHost::*)(Watch*);
  using Answered = void (ContainerHost::*)(Watch*, const HttpOutcome&);

  // --- The steps ---
  Watch* NewWatch(const AttemptKey& key, const std::string& folder,
                  std::unique_ptr<ContainerOrder> order);
  static void SetMask(Watch* watch, const std::vector<std::string>& environment);
  void Prepare(Watch* watch);
  void FindImage(Watch* watch);
  void OnImage(Watch* watch, const HttpOutcome& outcome);
  void UseImage(Watch* watch, const ImageAnswer& image);
  void OnPulled(Watch* watch, const std::string& error, bool reached);
  void PlanNetwork(Watch* watch);
  void MakeNetwork(Watch* watch);
  void OnNetwork(Watch* watch, const HttpOutcome& outcome);
  void CreateContainer(Watch* watch);
  void OnCreated(Watch* watch, const HttpOutcome& outcome);
  void AttachBeforeStart(Watch* watch);
  void Attach(Watch* watch);
  void OnLogBytes(Watch* watch, std::string_view bytes);
  static bool ToldOfSuccess(const Watch& watch);
  void OnLogEnd(Watch* watch, bool clean);
  void StartContainer(Watch* watch);
  void OnStarted(Watch* watch, const HttpOutcome& outcome);
  void SendStop(Watch* watch);
  void Look(Watch* watch);
  void OnState(Watch* watch, const HttpOutcome& outcome);
  void OnLooked(Watch* watch, const ContainerAnswer& answer);
  void OnGone(Watch* watch);
  void RemoveHalfMade(Watch* watch);
  void OnHalfMadeRemoved(Watch* watch, const HttpOutcome& outcome);
  void FetchLog(Watch* watch);
  void OnLog(Watch* watch, const HttpOutcome& outcome);
  void Conclude(Watch* watch);
  void OnConcluded(Watch* watch, const ExitRecord& record, bool lost);
  void Remove(Watch* watch);
  void OnRemoved(Watch* watch, const HttpOutcome& outcome);
  void RemoveNetwork(Watch* watch);
  void OnNetworkRemoved(Watch* watch, const HttpOutcome& outcome);
  void FailToStart(Watch* watch, std::string message);
  void Lose(Watch* watch, std::string message);
  void RemoveAndReport(Watch* watch, AttemptReport::Kind kind, std::string message);

  // --- Requests ---
  void Request(Watch* watch, HttpRequest request, Answered then);
  void OnConnection();
  void TakeEnds();
  bool OutOfPatience(const Watch& watch) const;
  void FailUnreached(Watch* watch, const std::string& why);
  void Unreached(Watch* watch, const HttpOutcome& outcome, Step step);
  void CancelRequests(Watch* watch);

  // --- All containers here ---
  bool ListMatters() const;
  void ListContainers();
  void OnList(const std::vector<ListedContainer>& list);
  void Delete(const std::string& path);
  void SweepNetworks();

  // --- Time and reports ---
  bool Needed() const { return !watches_.empty() || !node_.empty(); }
  void Later(Watch* watch, Duration delay, Step step);
  void SetDue(Watch* watch, SteadyTime due, std::function<void()> again);
  void RunDue();
  Watch* Find(uint64_t id);
  void ReportStarted(Watch* watch);
  AttemptReport FromExit(const Watch& watch, const ExitRecord& record) const;
  void FinishWatch(Watch* watch);
  void RemoveWatch(Watch* watch);

  const Shared shared_;
  const ContainerExecutorOptions& options_;
  const std::string node_;
  const ContainerEndpoint where_;
  const std::string endpoint_;
  ContainerConnection connection_;
  ImagePulls pulls_;
  SteadyTime list_due_{};
  SteadyTime ends_due_{};  // while it is silent
  bool listing_ = false;
  bool has_networks_ = true;  // it can make some, as far as we know
  bool networks_due_ = true;  // some may be left that nobody uses
  enum class NetworkState : uint8_t { asked_for, made };
  std::map<std::string, NetworkState> networks_;  // of gangs
  struct KnownImage {
    ImageAnswer answer;
    SteadyTime until{};
  };
  std::map<std::string, KnownImage> images_;

  uint64_t next_id_ = 1;
  std::map<uint64_t, Watch> watches_;
  std::map<AttemptKey, uint64_t> by_key_;
  std::set<std::pair<SteadyTime, uint64_t>> due_;
  std::vector<uint64_t> unconnected_;  // wait for the connection, to take their next step
};

}  // namespace trackbed
