// Which of the embedded executors runs new attempts, as people say it: on a command line, in the
// options of an embedded engine.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "trackbed/executors/executor_router.hpp"
#include "trackbed/resources/node.hpp"

namespace trackbed {

// Where attempts run.
struct ExecutorChoice {
  std::string on = "process";           // process, docker, slurm
  std::string endpoint;                 // of the container engine; empty: FindContainerEndpoint
  std::string image;                    // of tasks that name none
  std::string network;                  // of containers; empty: the engine's default
  std::string user;                     // in containers; empty: who we are
  bool read_only_root = false;          // ContainerExecutorOptions::read_only_root
  std::vector<std::string> registries;  // SERVER=USER:secret://SOURCE/NAME
  std::string credentials;  // file of docker login; empty: where Docker's own program has it
  // How long a node may be silent until what runs there is tried elsewhere.
  Duration node_lease = std::chrono::seconds(60);
  // What chooses among several nodes: EngineOptions::placer.
  std::string placer;
  // NAME, or GROUP=NAME for tasks of one resource group.
  std::vector<std::string> partitions;
  std::vector<std::string> accounts;
  std::vector<std::string> qualities;
  std::vector<std::string> submit_options;  // more for sbatch
  std::string slurm_endpoint;               // of slurmrestd; empty: Slurm's commands
  std::string slurm_token_file;             // holds a token for it
};

struct ExecutorSurroundings {
  std::string home;                  // ContainerExecutorOptions::home
  ProcessExecutorOptions processes;  // and what jobs of Slurm share with processes
  std::string container_init;        // ContainerExecutorOptions::init_path
  // Those with an endpoint are container engines beside the chosen one.
  std::vector<NodeDescription> nodes;
  // The value behind secret://SOURCE/NAME: passwords of registries.
  std::function<StatusOr<std::string>(std::string_view source, std::string_view name)> secret;
  // Told how the pulls of images come along: "image debian:12 on node-2: pulled". May be empty.
  std::function<void(const std::string& text)> say;
};

// One executor for all attempts: new ones run as chosen, and those of earlier runs are followed
// wherever they run. Who asks for containers or Slurm is told at once when there are none to be
// had: kUnavailable, kNotFound, kFailedPrecondition. kInvalidArgument for a choice that makes no
// sense.
StatusOr<std::unique_ptr<Executor>> OpenExecutors(const ExecutorChoice& choice,
                                                  const ExecutorSurroundings& surroundings);

// The endpoint that is meant, which need not answer.
StatusOr<ContainerEndpoint> ChooseEndpoint(const ExecutorChoice& choice);

// Where jobs of Slurm are meant to go, all but how they are run. kInvalidArgument.
StatusOr<SlurmExecutorOptions> ChooseSlurm(const ExecutorChoice& choice);

// What is handed out where Slurm decides what runs when: more than anybody asks for, but for the
// slots that are `limited` by whoever opens the engine.
NodeDescription UnlimitedNode(const std::vector<SlotRequest>& limited, NodeDescription given);
// Adds nodes like the first, for gangs whose members are to be on different ones; which these
// really are, Slurm decides.
void AddNodesOfSlurm(std::vector<NodeDescription>* nodes);

}  // namespace trackbed
