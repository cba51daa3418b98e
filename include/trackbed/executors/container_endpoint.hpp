// Where a container engine is reached: the Docker Engine API of Docker or Podman.
#pragma once

#include <string>

#include "trackbed/base/status.hpp"

namespace trackbed {

struct ContainerEndpoint {
  std::string socket;  // absolute path of a unix socket; empty: `url`
  std::string url;     // "http://HOST:PORT" or "https://HOST:PORT"
  // For https, PEM files. The server's certificate is always verified.
  std::string ca_file;  // empty: the system's authorities
  std::string certificate_file;
  std::string key_file;

  // "unix:///run/docker.sock", "https://node1:2376".
  std::string ToString() const;
  friend bool operator==(const ContainerEndpoint&, const ContainerEndpoint&) = default;
};

// Reads "unix:///PATH", "tcp://HOST:PORT", "http://…" or "https://…". With `certificates`, a folder
// with ca.pem, cert.pem and key.pem as Docker has them, tcp means https. kInvalidArgument.
StatusOr<ContainerEndpoint> ParseContainerEndpoint(const std::string& text,
                                                   const std::string& certificates = "");

// What the environment says as Docker's own program reads it: DOCKER_HOST, DOCKER_TLS_VERIFY,
// DOCKER_CERT_PATH; else CONTAINER_HOST; else the first of the usual sockets that exists. kNotFound
// lists where it looked.
StatusOr<ContainerEndpoint> FindContainerEndpoint();

}  // namespace trackbed
