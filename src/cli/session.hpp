// What the commands share: the home folder, its store, and an engine on it.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "trackbed/engine/engine.hpp"
#include "trackbed/engine/store.hpp"
#include "trackbed/executors/executor_choice.hpp"

namespace trackbed::cli {

struct CommonOptions {
  std::string home;  // --home, else $TRACKBED_HOME, else .trackbed in the current folder
  Durability durability = Durability::power;
};

// The home folder as an absolute path.
std::string HomeFolder(const CommonOptions& options);

// Opens the store for reading. kNotFound when there is none: nothing has run here yet.
StatusOr<std::unique_ptr<Store>> OpenForReading(const CommonOptions& options);

// The nodes that somebody added to the store.
StatusOr<std::vector<NodeDescription>> ReadAddedNodes(Store& store);

struct SessionOptions {
  CommonOptions common;
  std::vector<std::string> slots;  // NAME=AMOUNT; empty: those of this machine
  SandboxMode sandbox = SandboxMode::automatic;
  ExecutorChoice executor;
  bool preempt = false;     // tasks are stopped for those that wait with a higher priority
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
  std::unique_ptr<Executor> executor_;
  std::unique_ptr<Engine> engine_;
};

// Slots as they are given on the command line, NAME=AMOUNT; of one named twice the last counts.
StatusOr<std::vector<SlotRequest>> ReadSlots(const std::vector<std::string>& texts);

// What the machine offers, with these slots laid over it.
StatusOr<NodeDescription> ChooseNode(const std::vector<std::string>& slots);

}  // namespace trackbed::cli
