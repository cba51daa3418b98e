#include "executors/gang_environment.hpp"

#include <absl/strings/str_cat.h>
#include <absl/strings/str_join.h>

#include "executors/attempt_records.hpp"
#include "trackbed/base/sha256.hpp"

namespace trackbed {
namespace {

constexpr const char* kMachineHosts = "/etc/hosts";
constexpr size_t kMaxHostsBytes = size_t{1} << 20;

// "sub" and "2" of "sub2".
std::pair<std::string, std::string> RoleOf(const std::string& host) {
  const size_t digits = host.find_last_not_of("0123456789") + 1;
  return {host.substr(0, digits), host.substr(digits)};
}

}  // namespace

std::string MemberKey(const AttemptKey& key, const GangMember& member, size_t rank) {
  return rank == 0 ? key : absl::StrCat(key, "/", member.host);
}

std::string_view AttemptKeyOf(const AttemptSpec& spec) {
  std::string_view key = spec.key;
  if (spec.rank == 0 || spec.rank >= spec.gang.size()) return key;
  const std::string ending = absl::StrCat("/", spec.gang[spec.rank].host);
  if (key.ends_with(ending)) key.remove_suffix(ending.size());
  return key;
}

std::vector<std::string> LoopbackAddresses(const AttemptSpec& spec) {
  // 127.0.0.0/8 is the machine's own; what begins with 127.0 is left to others.
  const std::string digest = ContentAddress(absl::StrCat("gang ", AbslView(AttemptKeyOf(spec))));
  const std::string hex = digest.substr(digest.find(':') + 1, 4);
  const uint32_t block = 256 + static_cast<uint32_t>(std::stoul(hex, nullptr, 16)) % (0xf000 - 256);
  std::vector<std::string> addresses;
  for (size_t rank = 0; rank < spec.gang.size(); ++rank) {
    const uint32_t host = (block << 8U) + static_cast<uint32_t>(rank / 250 * 256 + rank % 250) + 1;
    addresses.push_back(
        absl::StrCat("127.", host >> 16U, ".", host >> 8U & 0xffU, ".", host & 0xffU));
  }
  return addresses;
}

std::string HostsFile(const AttemptSpec& spec) {
  std::string text;
  (void)ReadSmallFile(kMachineHosts, kMaxHostsBytes, &text);  // a machine may have none
  if (!text.empty() && !text.ends_with('\n')) text += '\n';
  const std::vector<std::string> addresses = LoopbackAddresses(spec);
  for (size_t rank = 0; rank < spec.gang.size(); ++rank) {
    absl::StrAppend(&text, addresses[rank], " ", spec.gang[rank].host, "\n");
  }
  return text;
}

std::map<std::string, std::string> GangEnvironment(const AttemptSpec& spec, bool on_this_machine) {
  std::vector<std::string> hosts;
  for (const GangMember& member : spec.gang) hosts.push_back(member.host);
  if (hosts.empty()) hosts.emplace_back("main1");
  const std::string& host = hosts[std::min(spec.rank, hosts.size() - 1)];
  const auto [role, index] = RoleOf(host);
  const std::string size = absl::StrCat(hosts.size());
  const std::string rank = absl::StrCat(spec.rank);
  const std::string all = absl::StrJoin(hosts, ",");
  std::map<std::string, std::string> environment = {
      {"BACKENDAI_CLUSTER_SIZE", size},
      {"BACKENDAI_CLUSTER_REPLICAS",
       hosts.size() == 1 ? "main:1" : absl::StrCat("main:1,sub:", hosts.size() - 1)},
      {"BACKENDAI_CLUSTER_HOSTS", all},
      {"BACKENDAI_CLUSTER_HOST", host},
      {"BACKENDAI_CLUSTER_ROLE", role},
      {"BACKENDAI_CLUSTER_IDX", index},
      {"BACKENDAI_CLUSTER_LOCAL_RANK", rank},
  };
  if (spec.gang.empty()) return environment;
  environment["TRACKBED_GANG_RANK"] = rank;
  environment["TRACKBED_GANG_SIZE"] = size;
  environment["TRACKBED_GANG_HOST"] = host;
  environment["TRACKBED_GANG_HOSTS"] = all;
  if (on_this_machine) {
    environment["TRACKBED_GANG_ADDRESSES"] = absl::StrJoin(LoopbackAddresses(spec), ",");
  }
  return environment;
}

}  // namespace trackbed
