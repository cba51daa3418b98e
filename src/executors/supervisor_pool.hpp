// The supervisor processes of one executor: each runs one attempt at a time, and is kept for the
// next. They are no children of this process, so that a host that waits for all of its children
// does not wait for them.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "executors/supervisor_channel.hpp"
#include "executors/supervisor_process.hpp"
#include "trackbed/base/status.hpp"

namespace trackbed {

class SupervisorPool {
 public:
  // What a supervisor has to say about the attempt that it was given with `tag`.
  struct News {
    uint64_t tag = 0;
    bool gone = false;  // the process has ended, or is about to, and said nothing
    SupervisorWord word;
  };

  SupervisorPool() = default;
  // Those that run something go on, and end with it; the others end.
  ~SupervisorPool();
  SupervisorPool(const SupervisorPool&) = delete;
  SupervisorPool& operator=(const SupervisorPool&) = delete;

  // Descriptors of the pool are added to `epoll`; OwnsEvent knows the data of their events.
  Status Prepare(const std::string& program, int epoll);
  static bool OwnsEvent(uint64_t data) { return (data & kEventBit) != 0; }

  // Has a supervisor run the order (EncodeOrder); its id, for Stop. kUnavailable when there are no
  // processes or descriptors to be had.
  StatusOr<uint64_t> Run(std::string_view order, uint64_t tag);

  // Passes it on to what the supervisor runs; nothing happens when that has ended.
  void Stop(uint64_t supervisor, ExecutorWord::Kind kind);

  // Appends what an event has brought.
  void OnEvent(uint64_t data, std::vector<News>* news);

  const DetachedSpawner& spawner() const { return spawner_; }

 private:
  static constexpr uint64_t kEventBit = uint64_t{1} << 63U;

  struct Supervisor {
    int socket = -1;
    bool busy = false;
    uint64_t tag = 0;
  };

  StatusOr<uint64_t> StartSupervisor();
  Status Watch(int descriptor, uint64_t id) const;
  void WatchStarter(pid_t pid);
  void Remove(uint64_t id);

  DetachedSpawner spawner_;
  std::string program_;
  int epoll_ = -1;
  uint64_t next_id_ = 1;
  std::map<uint64_t, Supervisor> supervisors_;
  std::vector<uint64_t> idle_;
  // A supervisor leaves the process that was our child at once; that one is to be collected.
  std::map<uint64_t, int> starters_;
};

}  // namespace trackbed
