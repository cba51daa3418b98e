// What the members of a gang are told of it: its size, their rank, the names and addresses of all.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "executors/attempt_records.hpp"
#include "trackbed/executors/executor.hpp"

namespace trackbed {

// Of the gang's main1 with this key: "RUN/TASK/1/sub2".
std::string MemberKey(const AttemptKey& key, const GangMember& member, size_t rank);
// The other way round: of the attempt that this is, or is a member of.
std::string_view AttemptKeyOf(const AttemptSpec& spec);

// Addresses of this machine's own for the members of one gang, by rank: another gang has others, so
// that both can use the same ports. They follow from the key.
std::vector<std::string> LoopbackAddresses(const AttemptSpec& spec);
// The machine's own file with the members at these addresses.
std::string HostsFile(const AttemptSpec& spec);

// BACKENDAI_CLUSTER_…, also of a single process, which counts as a gang of one, and for gangs
// TRACKBED_GANG_RANK, _SIZE, _HOST and _HOSTS. `on_this_machine`: also TRACKBED_GANG_ADDRESSES.
std::map<std::string, std::string> GangEnvironment(const AttemptSpec& spec, bool on_this_machine);

}  // namespace trackbed
