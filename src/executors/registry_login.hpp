// Who we are to a registry of images.
#pragma once

#include <string>
#include <string_view>

#include "trackbed/base/status.hpp"
#include "trackbed/executors/container_executor.hpp"

namespace trackbed {

// "nginx" -> "docker.io"; "ghcr.io/x/y:1" -> "ghcr.io".
std::string RegistryOf(std::string_view image);

struct RegistryCredentials {
  std::string server;
  std::string user;  // empty, with an empty token: there are none
  std::string password;
  std::string identity_token;  // instead of the password
};

// Of the registry `server`: from `options.logins`, else from `options.credentials_file`; empty ones
// when neither knows it. Read anew each time, and kept nowhere. kFailedPrecondition: the file may
// be read by others, or leaves this registry to a helper program.
StatusOr<RegistryCredentials> FindCredentials(const ContainerExecutorOptions& options,
                                              const std::string& server);

// What a file as `docker login` leaves it ("config.json") says about `server`. kInvalidArgument:
// it is no such file.
StatusOr<RegistryCredentials> ReadCredentials(std::string_view text, const std::string& server);

// The value of the header X-Registry-Auth.
std::string RegistryAuthorization(const RegistryCredentials& credentials);

// Why an image could not be pulled, in words that say what to do: an unknown image, a missing login
// and a refused one are told apart. `error` is what the engine said, `user` who asked.
std::string DescribePullError(const std::string& image, const std::string& user,
                              const std::string& error);

}  // namespace trackbed
