// Runs attempts in containers, through the Docker Engine API of Docker or Podman, on this machine
// and on others that have the same folders at the same paths.
//
// The container of an attempt is named after its key and folder, so that a key runs at most once
// however often Start is called, and by whom. In the attempt's folder (process_executor.hpp) lie
//
//   launch      what to run, written by Start; no secret values
//   claim       that it runs in a container. Made once, never changed
//   endpoint    of the container engine
//   container/  what the container's first process leaves: that it began, how the command ended;
//               and, for it, that the attempt was given up
//   exit        how the attempt ended; made once, before the container is removed
//
// A container outlives the engine, and the next one finds it by its name. Its labels
// (trackbed.key, trackbed.run, trackbed.task, trackbed.attempt) are for people and their tools, but
// for trackbed.owner: containers of this owner whose attempt has ended, was given up or has no
// folder any more are strays, which are removed whenever an endpoint is connected to, and each 20
// seconds while something runs there.
//
// A task sees its image and what its specification names, nothing else of the machine; folders are
// at the paths that they have outside, beside those that the pipeline gives them. It gains no
// privileges, and what it starts dies with its command.
//
// An endpoint that is slow, hangs or goes away delays its own attempts only: no function waits for
// it. What runs there goes on, and is reported when the endpoint answers again. Nodes that have not
// answered for `silence` are SilentNodes; who then gives up an attempt (GiveUp) may try it
// elsewhere.
//
// Starts one thread, with the first attempt, for work with files; libcurl may start another for a
// moment to look up the name of a host. Installs no signal handlers. An executor is used by one
// thread at a time. After fork() only the parent may go on using it. Containers that run when the
// executor is destroyed go on.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "trackbed/executors/container_endpoint.hpp"
#include "trackbed/executors/executor.hpp"

namespace trackbed {

class HttpTransport;

// How accelerators are asked of the container engine.
enum class ContainerDevices : uint8_t {
  automatic,  // cdi for Podman, nvidia for Docker
  nvidia,     // a request to NVIDIA's container runtime, by the devices' UUIDs
  cdi,        // names of the Container Device Interface: nvidia.com/gpu=UUID, amd.com/gpu=N
};

// How to log in to the registry `server` ("ghcr.io"; "docker.io" for Docker Hub).
struct RegistryLogin {
  std::string server;
  std::string user;
  std::string password;  // a reference for `resolve_secret`, such as "secret://env/TOKEN"
};

// A machine of several.
struct ContainerNode {
  ContainerEndpoint endpoint;
  std::string address;  // IP, by which the other nodes reach it; empty: the one in `endpoint`
};

struct ContainerExecutorOptions {
  // Of attempts whose node is none of `nodes`; empty: such attempts are refused.
  ContainerEndpoint endpoint;
  std::map<std::string, ContainerNode> nodes;  // by NodeDescription::name
  // Folder of the store (workspace.hpp), in which all attempts are: its file `containers`, made
  // when missing, says who the owner of the containers is. Empty: strays are left alone.
  std::string home;
  std::string default_image;  // of attempts that name none; empty: such attempts fail to start
  // "UID:GID" inside. Empty: those of this process, so that what tasks write belongs to it (root on
  // an engine that this user runs without root, which maps it so);
  // "image": as the image says, and then what attempts may write to is open to all.
  std::string user;
  std::string network;          // empty: the engine's default; "none", "host", or the name of one
  int64_t shared_memory = 0;    // bytes of /dev/shm where an attempt says nothing; 0: the engine's
  bool read_only_root = false;  // only folders of the task and /tmp can be written
  ContainerDevices devices = ContainerDevices::automatic;
  // Where the control daemon of CUDA's Multi-Process Service listens on the nodes. Attempts that
  // are given a part of a GPU then reach it: they see this folder and share the host's IPC, as MPS
  // asks for. Empty: shares are limits that nobody keeps.
  std::string mps_folder;
  std::vector<RegistryLogin> logins;
  // As `docker login` leaves it (config.json), for registries that `logins` does not name; read
  // whenever an image is pulled. Empty: none.
  std::string credentials_file;
  // Called by Poll with `password` of a login, each time an image is pulled with it.
  std::function<StatusOr<std::string>(const std::string& reference)> resolve_secret;
  // Program that each container runs first. Empty: `trackbed-container-init` beside the running
  // program, else ../libexec/trackbed/trackbed-container-init from there; or, before these,
  // $TRACKBED_CONTAINER_INIT.
  std::string init_path;
  // How long an attempt that has not been created yet waits for an endpoint that cannot be reached.
  Duration patience = std::chrono::seconds(60);
  // How long a node may leave us without an answer until it counts as silent.
  Duration silence = std::chrono::seconds(30);
  // Called by Poll when an image is pulled to a node (empty: to `endpoint`), at most once a second:
  // `what` is "pulling: 2 of 5 layers, 34 of 120 MB", at last "pulled".
  std::function<void(const std::string& node, const std::string& image, const std::string& what)>
      on_pull;
};

class ContainerExecutor : public Executor {
 public:
  // Makes no connection yet. kFailedPrecondition where Trackbed was built without libcurl;
  // kNotFound when there is no trackbed-container-init; what Start says where the home cannot be
  // written.
  static StatusOr<std::unique_ptr<ContainerExecutor>> Create(ContainerExecutorOptions options);
  // The same, with something else in place of libcurl.
  using NewTransport =
      std::function<StatusOr<std::unique_ptr<HttpTransport>>(const ContainerEndpoint& endpoint)>;
  static StatusOr<std::unique_ptr<ContainerExecutor>> Create(ContainerExecutorOptions options,
                                                             const NewTransport& new_transport);
  ~ContainerExecutor() override;

  // kInvalidArgument     the specification cannot be run: no image, a mount that climbs out by
  //                      "..", a node without an endpoint
  // kFailedPrecondition  the folder cannot be written, holds another attempt, was given up, or its
  //                      attempt was started as a process
  // kResourceExhausted   the disk is full
  Status Start(const AttemptSpec& spec) override;
  Status Adopt(const AttemptKey& key, const std::string& folder) override;
  Status Observe(const AttemptKey& key, const std::string& folder) override;
  Status Poll(std::vector<AttemptReport>* reports) override;
  Status Stop(const AttemptKey& key, StopMode mode) override;
  // By the endpoint in its description; one without has ContainerExecutorOptions::endpoint.
  // kInvalidArgument for an endpoint that makes no sense, or where there is none;
  // kFailedPrecondition for another one than the node had before: attempts may go on there.
  Status AddNode(const NodeDescription& node) override;
  std::vector<std::string> SilentNodes() const override;
  Status GiveUp(const AttemptKey& key) override;
  int WakeDescriptor() const override;

 private:
  class Impl;
  explicit ContainerExecutor(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// Whether the attempt in `folder` was started in a container, by whichever executor.
bool StartedInContainer(const std::string& folder);

}  // namespace trackbed
