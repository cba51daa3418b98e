// What is left to do when an attempt's container has ended: takes up what the task left in the
// attempt's folder, and notes how it ended. Reads and digests files; may take long.
#pragma once

#include <string>

#include "executors/attempt_records.hpp"
#include "executors/container_order.hpp"
#include "executors/secret_mask.hpp"

namespace trackbed {

struct ContainerEnd {
  std::string folder;
  SecretMask mask;
  ContainerAnswer container;  // as it was found at last
  int64_t memory_bytes = 0;   // the limit, for the message
  std::string message;        // what went wrong so far, such as with the log
};

// Writes the record of the end (kContainerExitFile) and returns it; `lost` when nothing tells how
// the command ended. The record of an earlier call wins.
struct ConcludedAttempt {
  ExitRecord record;
  bool lost = false;
};
ConcludedAttempt ConcludeAttempt(const ContainerEnd& end);

}  // namespace trackbed
