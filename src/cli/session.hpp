// What the commands share: the home folder, its store, and an engine on it.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "trackbed/engine/engine.hpp"
#include "trackbed/engine/store.hpp"
#include "trackbed/executors/executor_router.hpp"

namespace trackbed::cli {

struct CommonOptions {
  std::string home;  // --home, else $TRACKBED_HOME, else .trackbed in the current folder
  Durability durability = Durability::power;
};

// The home folder as an absolute path.
std::string HomeFolder(const CommonOptions& options);

// Opens the store for reading. kNotFound when there is none: nothing has run here yet.
StatusOr<std::unique_ptr<Store>> OpenForReading(const CommonOptions& options);

// Where attempts run.
struct ExecutorChoice {
  std::string on = "process";           // process, docker, slurm
  std::string endpoint;                 // of the container engine; empty: FindContainerEndpoint
  std::string image;                    // of tasks that name none
  std::string network;                  // of containers; empty: the engine's default
  std::string user;                     // in containers; empty: who we are
  std::vector<std::string> registries;  // SERVER=USER:secret://SOURCE/NAME
  std::string credentials;  // file of docker login; empty: where Docker's own program has it
  // NAME, or GROUP=NAME for tasks of one resource group.
  std::vector<std::string> partitions;
  std::vector<std::string> accounts;
  std::vector<std::string> qualities;
  std::vector<std::string> submit_options;  // more for sbatch
  std::string slurm_endpoint;               // of slurmrestd; empty: Slurm's commands
  std::string slurm_token_file;             // holds a token for it
};

struct SessionOptions {
  CommonOptions common;
  std::vector<std::string> slots;  // NAME=AMOUNT; empty: those of this machine
  SandboxMode sandbox = SandboxMode::automatic;
  ExecutorChoice executor;
  std::string description;  // of this process, for others who want the store
  bool wait = false;        // for the store, when another process holds it
  EventSink sink;
  std::function<void(const std::string& text)> say;  // to the user, what is no event; may be empty
};

// A store with an engine that holds its lease.
class Session {
 public:
  static StatusOr<std::unique_ptr<Session>> Open(SessionOptions options);

  Engine& engine() { return *engine_; }
  Store& store() { return *store_; }
  const std::string& home() const { return home_; }
  const NodeDescription& node() const { return node_; }
  // The engine goes first: it holds the others.
  void Close() { engine_.reset(); }

 private:
  std::string home_;
  NodeDescription node_;
  std::unique_ptr<Store> store_;
  std::unique_ptr<SecretSource> secrets_;
  std::unique_ptr<ExecutorRouter> executor_;
  std::unique_ptr<Engine> engine_;
};

// The endpoint that is meant, which need not answer.
StatusOr<ContainerEndpoint> ChooseEndpoint(const ExecutorChoice& choice);

// Where jobs of Slurm are meant to go, all but how they are run. kInvalidArgument.
StatusOr<SlurmExecutorOptions> ChooseSlurm(const ExecutorChoice& choice);

// What the machine offers, with `slots` (NAME=AMOUNT) laid over it.
StatusOr<NodeDescription> ChooseNode(const std::vector<std::string>& slots);

}  // namespace trackbed::cli
