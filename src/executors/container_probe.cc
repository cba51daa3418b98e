#include "trackbed/executors/container_probe.hpp"

#include <absl/strings/str_cat.h>
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>

#include "executors/container_order.hpp"
#include "executors/curl_transport.hpp"
#include "executors/http_transport.hpp"

namespace trackbed {
namespace {

constexpr int kWaitMs = 100;
constexpr int kOk = 200;

// Asks and waits.
HttpOutcome Ask(HttpTransport* transport, const std::string& path, Duration patience) {
  HttpOutcome answer;
  bool done = false;
  HttpRequest request;
  request.path = path;
  request.timeout = patience;
  HttpHandler handler;
  handler.on_done = [&](HttpOutcome outcome) {
    answer = std::move(outcome);
    done = true;
  };
  transport->Send(std::move(request), std::move(handler));
  while (!done) {
    pollfd wake{transport->WakeDescriptor(), POLLIN, 0};
    poll(&wake, 1, kWaitMs);
    transport->Run();
  }
  return answer;
}

// libcurl says "Couldn't connect to server" whatever the reason; the system says more.
int SocketError(const std::string& path) {
  sockaddr_un address{};
  if (path.size() >= sizeof(address.sun_path)) return ENAMETOOLONG;
  address.sun_family = AF_UNIX;
  memcpy(address.sun_path, path.c_str(), path.size() + 1);
  const int file = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (file < 0) return errno;
  const int error =
      connect(file, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0 ? 0 : errno;
  close(file);
  return error;
}

std::string Remedy(const ContainerEndpoint& endpoint, const std::string& error) {
  if (!endpoint.socket.empty()) {
    switch (SocketError(endpoint.socket)) {
      case ENOENT:
        return absl::StrCat(
            "there is no such socket; start the service (systemctl start docker, or "
            "podman system service --time=0 unix://",
            endpoint.socket, ")");
      case EACCES:
      case EPERM:
        return "this user may not use the socket; add the user to the group that owns it (usually "
               "docker), or use a Podman of the user's own";
      case ECONNREFUSED:
        return "the socket is left over and nobody listens on it; start the service again "
               "(systemctl restart docker, or podman system service)";
      case ENAMETOOLONG:
        return "the path of the socket is longer than 107 bytes; use a shorter one, or a link";
      default:
        return absl::StrCat(error, "; is the service busy or stuck?");
    }
  }
  if (error.find("ertificate") != std::string::npos || error.find("SSL") != std::string::npos) {
    return absl::StrCat(error,
                        "; the certificates (DOCKER_CERT_PATH: ca.pem, cert.pem, key.pem) do "
                        "not fit those of the server");
  }
  return absl::StrCat(error, "; is the service running, and does a firewall let us through?");
}

// Docker says so among its options, Podman by a field of its own.
bool RunsWithoutRoot(const nlohmann::json& info) {
  const auto field = info.find("Rootless");
  if (field != info.end() && *field == true) return true;
  const auto options = info.find("SecurityOptions");
  if (options == info.end() || !options->is_array()) return false;
  return std::any_of(options->begin(), options->end(), [](const nlohmann::json& option) {
    return option.is_string() &&
           option.get_ref<const std::string&>().find("rootless") != std::string::npos;
  });
}

void AddWarnings(const nlohmann::json& info, ContainerEngineReport* report) {
  const auto is = [&](const char* name, bool value) {
    const auto found = info.find(name);
    return found != info.end() && found->is_boolean() && found->get<bool>() == value;
  };
  if (is("MemoryLimit", false)) {
    report->warnings.emplace_back(
        "memory limits do not work there: the kernel's memory control group is off; tasks that ask "
        "for mem will not start or not be limited");
  }
  if (is("CpuCfsQuota", false)) {
    report->warnings.emplace_back(
        "limits of cpu do not work there: the kernel's cpu control group is off");
  }
  if (!RunsWithoutRoot(info)) return;
  report->warnings.emplace_back(
      "it runs without root: users inside containers are others outside; where its socket is not "
      "yours, run with --user 0:0 so that files of tasks belong to you");
  const auto groups = info.find("CgroupVersion");
  if (groups != info.end() && *groups == "1") {
    report->warnings.emplace_back(
        "it runs without root on control groups of version 1, which only root may use: tasks are "
        "not held to their mem and cpu");
  }
}

// The answer to `path`, or what keeps it from us.
StatusOr<HttpOutcome> AskEngine(const ContainerEndpoint& endpoint, HttpTransport* transport,
                                const std::string& path, Duration patience) {
  HttpOutcome answer = Ask(transport, path, patience);
  const std::string where = "the container engine at " + endpoint.ToString() + ": ";
  if (!answer.error.empty()) return Unavailable(where + Remedy(endpoint, answer.error));
  if (answer.status != kOk) return Unavailable(where + ErrorText(answer.status, answer.body));
  return answer;
}

Status NoEngine(const ContainerEndpoint& endpoint) {
  return Unavailable("the container engine at " + endpoint.ToString() +
                     ": what answers there is no Docker Engine API");
}

}  // namespace

Status CheckContainerEngine(const ContainerEndpoint& endpoint, Duration patience) {
  TRACKBED_ASSIGN_OR_RETURN(const std::unique_ptr<HttpTransport> transport,
                            NewCurlTransport(endpoint));
  TRACKBED_ASSIGN_OR_RETURN(const HttpOutcome answer,
                            AskEngine(endpoint, transport.get(), "/_ping", patience));
  return ReadPing(answer.head) ? absl::OkStatus() : NoEngine(endpoint);
}

StatusOr<ContainerEngineReport> ProbeContainerEngine(const ContainerEndpoint& endpoint,
                                                     Duration patience) {
  TRACKBED_ASSIGN_OR_RETURN(const std::unique_ptr<HttpTransport> transport,
                            NewCurlTransport(endpoint));
  TRACKBED_ASSIGN_OR_RETURN(const HttpOutcome answer,
                            AskEngine(endpoint, transport.get(), "/version", patience));
  const auto version = ReadVersion(answer.body);
  if (!version) return NoEngine(endpoint);
  ContainerEngineReport report;
  report.engine = version->description;
  report.api = version->api;
  const HttpOutcome info = Ask(transport.get(), "/v" + version->api + "/info", patience);
  if (info.error.empty() && info.status == kOk) {
    const auto json = nlohmann::json::parse(info.body, nullptr, /*allow_exceptions=*/false);
    if (json.is_object()) AddWarnings(json, &report);
  } else {
    report.warnings.push_back(
        "it does not tell about itself: " +
        (info.error.empty() ? ErrorText(info.status, info.body) : info.error));
  }
  return report;
}

}  // namespace trackbed
