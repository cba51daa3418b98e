// How the members of a gang reach each other by their names: main1, sub1, …
//
// All on one container engine: on a network of their own there, whose names the engine resolves.
// Else, and where an engine has no networks to give: on the networks of their machines, with the
// addresses of all members in /etc/hosts. Two members on one machine then share its ports, unless
// they listen on the address that their name has.
#pragma once

#include <string>
#include <vector>

#include "trackbed/base/status.hpp"
#include "trackbed/executors/container_executor.hpp"

namespace trackbed {

struct GangNetwork {
  std::string name;                // of the network to make and join; empty: that of the machine
  std::vector<std::string> hosts;  // then: "sub1:127.3.7.2", for /etc/hosts
};

// Of the gang that `spec` is a member of. `owner` tells apart whose gangs these are, in the name of
// the network; `has_networks`: the engine can make some. Looks up names of machines, which may take
// long, where they are on several. kInvalidArgument: some member could not be reached.
StatusOr<GangNetwork> PlanGangNetwork(const AttemptSpec& spec,
                                      const ContainerExecutorOptions& options,
                                      const std::string& owner, bool has_networks);

}  // namespace trackbed
