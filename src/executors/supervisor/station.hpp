// The supervisor's process: what it keeps while attempts come and go.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

#include "executors/supervisor_channel.hpp"

namespace trackbed {

class Station {
 public:
  // False when this process cannot be a supervisor. Blocks all signals, for good.
  bool Open();
  // The same without an executor to take orders from: as a job, which runs one attempt.
  bool OpenAlone();
  bool alone() const { return orders_taken_ == 0 && orders_ < 0; }

  // Waits for the next order. False when the process should end: its executor is gone, has had
  // nothing for it for long, or somebody wants it to.
  bool WaitForOrder(std::string* order);

  // The executor is not told more than it can take; if it is gone it finds out from the records.
  void Tell(SupervisorWord::Kind kind, int error = 0);

  // What the executor says while an attempt runs; false when there is nothing more.
  bool Hear(ExecutorWord* word);

  // The process ends when its attempt has ended.
  void Retire() { retired_ = true; }

  pid_t pid() const { return pid_; }
  uint64_t start_time() const { return start_time_; }
  const std::string& boot() const { return boot_; }
  uint64_t orders_taken() const { return orders_taken_; }
  int orders() const { return orders_; }    // the socket; -1 once the executor is gone
  int signals() const { return signals_; }  // descriptor of all signals

 private:
  bool SignalledWhileIdle();
  void CloseOrders();

  pid_t pid_ = 0;
  uint64_t start_time_ = 0;
  std::string boot_;
  int orders_ = -1;
  int engine_ = -1;  // descriptor of the executor's process
  int signals_ = -1;
  uint64_t orders_taken_ = 0;
  bool retired_ = false;
};

// `trackbed-supervisor --serve`: leaves the process that started it and runs attempts. The exit
// code.
int Serve();

}  // namespace trackbed
