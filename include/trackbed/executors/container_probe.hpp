// Finds out whether containers can be run at an endpoint, for people who want to know before.
#pragma once

#include <string>
#include <vector>

#include "trackbed/base/time.hpp"
#include "trackbed/executors/container_endpoint.hpp"

namespace trackbed {

struct ContainerEngineReport {
  std::string engine;  // "Podman 4.3.1"
  std::string api;     // "1.41"
  // What works but not as one may expect, each with what to do about it.
  std::vector<std::string> warnings;
};

// Asks the engine about itself; waits for its answers, at most `patience` for each.
// kUnavailable says what is wrong (nobody listens, no permission, a certificate that is not
// trusted, no answer) and how to mend it.
StatusOr<ContainerEngineReport> ProbeContainerEngine(const ContainerEndpoint& endpoint,
                                                     Duration patience = std::chrono::seconds(30));

// Only whether it answers, at next to no cost for it; kUnavailable as above.
Status CheckContainerEngine(const ContainerEndpoint& endpoint,
                            Duration patience = std::chrono::seconds(30));

}  // namespace trackbed
