#include "executors/gang_network.hpp"

#include <absl/strings/str_cat.h>
#include <arpa/inet.h>
#include <netdb.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <memory>
#include <set>

#include "executors/attempt_name.hpp"
#include "executors/gang_environment.hpp"

namespace trackbed {
namespace {

const ContainerNode* NodeOf(const ContainerExecutorOptions& options, const std::string& name) {
  const auto found = options.nodes.find(name);
  return found == options.nodes.end() ? nullptr : &found->second;
}

std::string EndpointOf(const ContainerExecutorOptions& options, const std::string& name) {
  const ContainerNode* node = NodeOf(options, name);
  return (node == nullptr ? options.endpoint : node->endpoint).ToString();
}

// "https://[::1]:2376" -> "::1"; empty for a socket.
std::string HostInUrl(const std::string& url) {
  const size_t begin = url.find("://");
  if (begin == std::string::npos) return "";
  const std::string rest = url.substr(begin + 3);
  std::string host = rest.substr(0, rest.rfind(':'));
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  return host;
}

StatusOr<std::string> AddressOf(const std::string& host) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* list = nullptr;
  const int error = getaddrinfo(host.c_str(), nullptr, &hints, &list);
  if (error != 0) {
    return InvalidArgument(absl::StrCat("the address of ", host, ": ", gai_strerror(error)));
  }
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> owned(list, freeaddrinfo);
  std::array<char, NI_MAXHOST> text{};
  getnameinfo(list->ai_addr, list->ai_addrlen, text.data(), text.size(), nullptr, 0,
              NI_NUMERICHOST);
  return std::string(text.data());
}

StatusOr<std::string> AddressOfNode(const ContainerExecutorOptions& options,
                                    const std::string& name) {
  const ContainerNode* node = NodeOf(options, name);
  if (node != nullptr && !node->address.empty()) return node->address;
  const std::string host = HostInUrl(node == nullptr ? options.endpoint.url : node->endpoint.url);
  if (!host.empty()) return AddressOf(host);
  return InvalidArgument(absl::StrCat(
      "the other members of the gang cannot reach the node \"", name,
      "\": its container engine is a socket of this machine; give the node an address"));
}

}  // namespace

StatusOr<GangNetwork> PlanGangNetwork(const AttemptSpec& spec,
                                      const ContainerExecutorOptions& options,
                                      const std::string& owner, bool has_networks) {
  if (options.network == "none") {
    return InvalidArgument("a gang needs a network, and containers have none (--network none)");
  }
  std::set<std::string> endpoints;
  bool all_here = true;
  for (const GangMember& member : spec.gang) {
    endpoints.insert(EndpointOf(options, member.node));
    const ContainerNode* node = NodeOf(options, member.node);
    all_here = all_here && (node == nullptr || node->address.empty()) &&
               EndpointOf(options, member.node).starts_with("unix://");
  }
  GangNetwork network;
  if (endpoints.size() <= 1 && has_networks && options.network != "host") {
    network.name = AttemptName(AttemptKey(AttemptKeyOf(spec)), owner);
    return network;
  }
  const std::vector<std::string> loopback = LoopbackAddresses(spec);
  for (size_t rank = 0; rank < spec.gang.size(); ++rank) {
    std::string address = loopback[rank];
    if (!all_here && endpoints.size() > 1) {
      TRACKBED_ASSIGN_OR_RETURN(address, AddressOfNode(options, spec.gang[rank].node));
    }
    network.hosts.push_back(absl::StrCat(spec.gang[rank].host, ":", address));
  }
  return network;
}

}  // namespace trackbed
