// The engine behind the interface: the C++ engine with its ports, a lock, and a descriptor to wake
// whoever steps it.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "common.hpp"
#include "ports.hpp"
#include "trackbed/engine/engine.hpp"
#include "trackbed/engine/store.hpp"
#include "trackbed/engine/workspace.hpp"
#include "trackbed/executors/artifact_keeper.hpp"

namespace trackbed::capi {

// A file descriptor that is closed.
class Descriptor {
 public:
  explicit Descriptor(int number = -1) : number_(number) {}
  ~Descriptor();
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return number_; }

 private:
  int number_;
};

// An event descriptor: readable from Set until Clear.
class Signal {
 public:
  static StatusOr<std::unique_ptr<Signal>> Create();
  explicit Signal(int descriptor) : descriptor_(descriptor) {}
  void Set() const;
  void Clear() const;
  int descriptor() const { return descriptor_.get(); }

 private:
  Descriptor descriptor_;
};

// All of an engine; in a child of fork() it is left alone, with whatever other threads were doing.
struct EngineCore {
  ~EngineCore();

  // In the order in which they are needed; destroyed the other way round.
  std::unique_ptr<HostClock> host_clock;
  std::unique_ptr<HostRandom> host_random;
  std::unique_ptr<HostSecrets> host_secrets;
  std::unique_ptr<SecretSource> local_secrets;
  std::unique_ptr<HostSink> sink;
  std::unique_ptr<Signal> kick;
  std::unique_ptr<HostExecutor> host_executor;
  std::unique_ptr<Executor> own_processes;  // which run what own_executor is asked to
  std::unique_ptr<Executor> own_executor;
  std::unique_ptr<HostOrder> host_order;
  std::unique_ptr<HostArtifactStore> host_artifacts;
  std::unique_ptr<ArtifactStore> local_artifacts;
  ArtifactStore* artifacts = nullptr;      // one of these; null: there is none
  std::unique_ptr<ArtifactKeeper> keeper;  // of the executor, where there is one
  std::unique_ptr<Store> store;
  // A second connection for whoever asks, so that no question holds up the engine; null when the
  // store is in memory.
  std::unique_ptr<Store> reader;
  std::unique_ptr<Descriptor> wake;
  Workspace workspace{""};
  bool has_home = false;  // else `workspace` is only names
  Clock* clock = nullptr;
  std::vector<NodeDescription> nodes;  // what may be used at once
  // As the engine has them: who explains needs them too.
  Tenancy tenancy;
  GroupPolicy policy;
  std::string placer;  // of the engine; empty: its own choice

  std::unique_ptr<Engine> engine;
  // Guards all above but `reader`; `inside` is the thread that has it, so that a call from a
  // callback is told apart.
  std::mutex mutex;
  std::atomic<std::thread::id> inside;
  std::condition_variable stepped;
  std::mutex asking;                   // guards `reader`
  std::atomic<std::thread::id> asker;  // has it

  // One of the threads that wait steps the engine for all of them where no thread drives it. It
  // polls `ended` too: another may have stepped the engine to the end of its run.
  bool led = false;
  std::unique_ptr<Signal> ended;

  std::mutex thread_mutex;  // guards starting and stopping
  std::thread thread;
  std::atomic<bool> stopping{false};
  std::atomic<bool> driven{false};  // by `thread`

  std::mutex streams_mutex;
  std::vector<trackbed_events*> streams;
};

// The engine, locked.
class Entered {
 public:
  explicit Entered(EngineCore* core) : core_(core), lock_(core->mutex) {
    core_->inside = std::this_thread::get_id();
  }
  ~Entered() {
    if (lock_.owns_lock()) core_->inside = std::thread::id();
  }
  Entered(const Entered&) = delete;
  Entered& operator=(const Entered&) = delete;

  // Waits for the next step of another thread.
  void WaitForStep(std::chrono::steady_clock::time_point until);

 private:
  EngineCore* core_;
  std::unique_lock<std::mutex> lock_;
};

}  // namespace trackbed::capi

struct trackbed_engine {
  pid_t process = 0;
  trackbed::capi::EngineCore* core = nullptr;
};

namespace trackbed::capi {

// The second connection, locked.
class Asking {
 public:
  explicit Asking(EngineCore* core) : core_(core), lock_(core->asking) {
    core_->asker = std::this_thread::get_id();
  }
  ~Asking() { core_->asker = std::thread::id(); }
  Asking(const Asking&) = delete;
  Asking& operator=(const Asking&) = delete;

 private:
  EngineCore* core_;
  std::lock_guard<std::mutex> lock_;
};

// OK when calls on the engine are possible here: in its process, and not in one of its callbacks.
Status CheckEngine(const trackbed_engine* engine);
Status CheckCore(const EngineCore& core, pid_t process);

// Calls `ask(Store&)` with a store that may be read.
template <typename Ask>
auto WithReader(EngineCore* core, Ask&& ask) {
  if (core->reader != nullptr) {
    const Asking asking(core);
    return ask(*core->reader);
  }
  const Entered entered(core);
  return ask(*core->store);
}

// Nobody may use the streams after this.
void DetachStreams(EngineCore* core);

// Tells the event sink and the event streams.
void Publish(EngineCore* core, const RunState& run, uint64_t sequence, const Event& event);

}  // namespace trackbed::capi
