#include "trackbed/executors/container_endpoint.hpp"

#include <absl/strings/str_cat.h>
#include <absl/strings/str_join.h>
#include <stdlib.h>
#include <unistd.h>

#include <string_view>
#include <vector>

namespace trackbed {
namespace {

std::string Variable(const char* name) {
  const char* value = getenv(name);
  return value == nullptr ? "" : value;
}

// "HOST:PORT", where HOST may be an IPv6 address in brackets.
bool HasHostAndPort(std::string_view text) {
  const size_t colon = text.rfind(':');
  if (colon == std::string_view::npos || colon == 0 || colon + 1 == text.size()) return false;
  return text.find_first_of("/?#@ ") == std::string_view::npos &&
         text.substr(colon + 1).find_first_not_of("0123456789") == std::string_view::npos;
}

}  // namespace

std::string ContainerEndpoint::ToString() const {
  return socket.empty() ? url : "unix://" + socket;
}

StatusOr<ContainerEndpoint> ParseContainerEndpoint(const std::string& text,
                                                   const std::string& certificates) {
  ContainerEndpoint endpoint;
  const size_t mark = text.find("://");
  const std::string scheme = mark == std::string::npos ? "" : text.substr(0, mark);
  std::string rest = mark == std::string::npos ? "" : text.substr(mark + 3);
  if (scheme == "unix" && rest.size() > 1 && rest.starts_with('/')) {
    endpoint.socket = rest;
    return endpoint;
  }
  while (rest.ends_with('/')) rest.pop_back();
  const bool known = scheme == "tcp" || scheme == "http" || scheme == "https";
  if (!known || !HasHostAndPort(rest)) {
    return InvalidArgument(absl::StrCat("the container endpoint: found \"", text,
                                        "\", expected unix:///PATH, tcp://HOST:PORT or "
                                        "https://HOST:PORT"));
  }
  const bool secure = scheme == "https" || (scheme == "tcp" && !certificates.empty());
  endpoint.url = absl::StrCat(secure ? "https://" : "http://", rest);
  if (secure && !certificates.empty()) {
    endpoint.ca_file = certificates + "/ca.pem";
    endpoint.certificate_file = certificates + "/cert.pem";
    endpoint.key_file = certificates + "/key.pem";
    for (const std::string& file :
         {endpoint.ca_file, endpoint.certificate_file, endpoint.key_file}) {
      if (access(file.c_str(), R_OK) != 0) {
        return InvalidArgument(
            absl::StrCat("the container endpoint ", text, ": cannot read ", file));
      }
    }
  }
  return endpoint;
}

StatusOr<ContainerEndpoint> FindContainerEndpoint() {
  if (const std::string host = Variable("DOCKER_HOST"); !host.empty()) {
    std::string certificates = Variable("DOCKER_CERT_PATH");
    if (certificates.empty() && !Variable("DOCKER_TLS_VERIFY").empty()) {
      certificates = Variable("HOME") + "/.docker";
    }
    return ParseContainerEndpoint(host, certificates);
  }
  if (const std::string host = Variable("CONTAINER_HOST"); !host.empty()) {
    return ParseContainerEndpoint(host);
  }
  std::vector<std::string> sockets;
  if (const std::string folder = Variable("XDG_RUNTIME_DIR"); !folder.empty()) {
    sockets = {folder + "/docker.sock", folder + "/podman/podman.sock"};
  }
  sockets.insert(sockets.end(),
                 {"/run/docker.sock", "/var/run/docker.sock", "/run/podman/podman.sock"});
  for (const std::string& socket : sockets) {
    if (access(socket.c_str(), R_OK | W_OK) == 0) return ContainerEndpoint{socket, "", "", "", ""};
  }
  for (const std::string& socket : sockets) {
    if (access(socket.c_str(), F_OK) == 0) {
      return FailedPrecondition(absl::StrCat(
          socket,
          " is there, but this user may not use it; add the user to the group that owns it"
          " (usually docker), or start a Podman of the user's own: "
          "systemctl --user start podman.socket"));
    }
  }
  return NotFound(absl::StrCat(
      "there is no container engine: DOCKER_HOST is not set, and there is none of ",
      absl::StrJoin(sockets, ", "),
      "; start Docker or Podman (systemctl start docker, or podman system service --time=0 "
      "unix:///run/podman/podman.sock), or set DOCKER_HOST"));
}

}  // namespace trackbed
