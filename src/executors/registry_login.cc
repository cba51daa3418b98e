#include "executors/registry_login.hpp"

#include <absl/strings/ascii.h>
#include <absl/strings/escaping.h>
#include <absl/strings/match.h>
#include <absl/strings/str_cat.h>
#include <errno.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "executors/answer_json.hpp"
#include "executors/attempt_records.hpp"
#include "executors/host_files.hpp"

namespace trackbed {
namespace {

using Json = nlohmann::json;

constexpr size_t kMaxCredentialsBytes = size_t{1} << 20;
constexpr unsigned kOthers = 077;
constexpr const char* kDockerHub = "docker.io";
// Docker Hub goes by its old address in credentials.
constexpr const char* kDockerHubAddress = "https://index.docker.io/v1/";

// "https://ghcr.io/v2/" -> "ghcr.io".
std::string ServerOf(std::string_view key) {
  if (const size_t scheme = key.find("://"); scheme != std::string_view::npos) {
    key.remove_prefix(scheme + 3);
  }
  const std::string server(key.substr(0, key.find('/')));
  const bool hub = server == "index.docker.io" || server == "registry-1.docker.io";
  return hub ? kDockerHub : server;
}

// The program that keeps the credentials of `server`; empty: none does.
std::string HelperOf(const Json& json, const std::string& server) {
  std::string helper = TextMember(ObjectMember(json, "credHelpers"), server);
  return helper.empty() ? TextMember(json, "credsStore") : helper;
}

StatusOr<RegistryCredentials> ReadEntry(const Json& entry, const std::string& server) {
  RegistryCredentials credentials{server, TextMember(entry, "username"),
                                  TextMember(entry, "password"),
                                  TextMember(entry, "identitytoken")};
  const std::string encoded = TextMember(entry, "auth");
  if (encoded.empty()) return credentials;
  std::string decoded;
  const bool legal = absl::Base64Unescape(encoded, &decoded);
  const size_t colon = decoded.find(':');
  if (!legal || colon == std::string::npos) {
    return InvalidArgument(
        absl::StrCat("the credentials of ", server, ": \"auth\" is not USER:PASSWORD in Base64"));
  }
  credentials.user = decoded.substr(0, colon);
  credentials.password = decoded.substr(colon + 1);
  while (credentials.password.ends_with('\0')) credentials.password.pop_back();
  return credentials;
}

StatusOr<RegistryCredentials> ReadCredentialsFile(const std::string& path,
                                                  const std::string& server) {
  std::string text;
  const int error = ReadSmallFile(path, kMaxCredentialsBytes, &text);
  if (error != 0) return HostStatus(error, "cannot read the credentials in " + path);
  StatusOr<RegistryCredentials> credentials = ReadCredentials(text, server);
  if (!credentials.ok()) {
    return FailedPrecondition(absl::StrCat(path, ": ", AbslView(Message(credentials.status()))));
  }
  struct stat status{};
  const bool empty = credentials->user.empty() && credentials->identity_token.empty();
  if (!empty && stat(path.c_str(), &status) == 0 && (status.st_mode & kOthers) != 0) {
    return FailedPrecondition(absl::StrCat(path, " can be read by others; run: chmod 600 ", path));
  }
  return credentials;
}

template <size_t Count>
bool HoldsAny(const std::string& text, const std::array<std::string_view, Count>& words) {
  return std::any_of(words.begin(), words.end(), [&](std::string_view word) {
    return absl::StrContains(text, AbslView(word));
  });
}

}  // namespace

std::string RegistryOf(std::string_view image) {
  const size_t slash = image.find('/');
  if (slash == std::string_view::npos) return kDockerHub;
  const std::string_view first = image.substr(0, slash);
  const bool host = first.find_first_of(".:") != std::string_view::npos || first == "localhost";
  return host ? std::string(first) : kDockerHub;
}

StatusOr<RegistryCredentials> ReadCredentials(std::string_view text, const std::string& server) {
  const Json json = ParseAnswer(text);
  if (!json.is_object()) {
    return InvalidArgument("expected what docker login writes: {\"auths\": {\"SERVER\": …}}");
  }
  for (const auto& [key, entry] : ObjectMember(json, "auths").items()) {
    if (ServerOf(key) != server || !entry.is_object() || entry.empty()) continue;
    return ReadEntry(entry, server);
  }
  if (const std::string helper = HelperOf(json, server); !helper.empty()) {
    return FailedPrecondition(absl::StrCat("the credentials of ", server,
                                           " are kept by the program docker-credential-", helper,
                                           ", which is not asked; give them with --registry"));
  }
  return RegistryCredentials{server, "", "", ""};
}

StatusOr<RegistryCredentials> FindCredentials(const ContainerExecutorOptions& options,
                                              const std::string& server) {
  for (const RegistryLogin& login : options.logins) {
    if (login.server != server) continue;
    if (!options.resolve_secret) return NotFound("no secrets were given");
    TRACKBED_ASSIGN_OR_RETURN(std::string password, options.resolve_secret(login.password));
    return RegistryCredentials{server, login.user, std::move(password), ""};
  }
  if (options.credentials_file.empty()) return RegistryCredentials{server, "", "", ""};
  return ReadCredentialsFile(options.credentials_file, server);
}

std::string RegistryAuthorization(const RegistryCredentials& credentials) {
  Json json = {
      {"serveraddress", credentials.server == kDockerHub ? kDockerHubAddress : credentials.server}};
  if (credentials.identity_token.empty()) {
    json["username"] = credentials.user;
    json["password"] = credentials.password;
  } else {
    json["identitytoken"] = credentials.identity_token;
  }
  std::string encoded;
  absl::WebSafeBase64Escape(json.dump(-1, ' ', false, Json::error_handler_t::replace), &encoded);
  while (encoded.size() % 4 != 0) encoded += '=';
  return encoded;
}

std::string DescribePullError(const std::string& image, const std::string& user,
                              const std::string& error) {
  constexpr std::array<std::string_view, 5> kUnknown = {"manifest unknown", "name unknown",
                                                        "repository name not known",
                                                        "does not exist", "not found"};
  constexpr std::array<std::string_view, 6> kDenied = {
      "unauthorized", "authentication required",        "no basic auth",
      "denied",       "incorrect username or password", "forbidden"};
  const std::string lower = absl::AsciiStrToLower(error);
  const bool unknown = HoldsAny(lower, kUnknown);
  const bool denied = HoldsAny(lower, kDenied);
  const std::string registry = RegistryOf(image);
  std::string what;
  if (denied && user.empty()) {
    // Some registries say this of images that there are not, too.
    what = absl::StrCat(registry, " asks for a login", unknown ? ", or has no such image" : "",
                        "; give one (--registry ", registry,
                        "=USER:secret://env/TOKEN, or docker login)");
  } else if (denied) {
    what = absl::StrCat(registry, " refuses the login of ", user,
                        unknown ? ", or has no such image" : "");
  } else if (unknown) {
    what = absl::StrCat(registry, " has no such image");
  }
  return absl::StrCat("cannot pull the image \"", image, "\": ", what, what.empty() ? "" : ": ",
                      error);
}

}  // namespace trackbed
