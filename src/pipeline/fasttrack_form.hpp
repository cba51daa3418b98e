// What the reader and the writer of Backend.AI FastTrack's form agree on.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace trackbed::fasttrack {

// Labels that keep what a Pipeline has no field for.
inline constexpr std::string_view kNameLabel = "fasttrack/name";
inline constexpr std::string_view kVersionLabel = "fasttrack/version";
inline constexpr std::string_view kProjectLabel = "fasttrack/project";
inline constexpr std::string_view kOwnershipPrefix = "fasttrack/ownership.";
inline constexpr std::string_view kFolderPrefix = "fasttrack/folder.";
inline constexpr std::string_view kTypeLabel = "fasttrack/type";
inline constexpr std::string_view kModuleLabel = "fasttrack/module_uri";
inline constexpr std::string_view kEnvironmentProjectLabel = "fasttrack/environment.project";
inline constexpr std::string_view kSharedMemoryLabel = "fasttrack/shmem";
inline constexpr std::string_view kResourceOptionPrefix = "fasttrack/resource_opts.";
inline constexpr std::string_view kServicePrefix = "fasttrack/service.";

inline constexpr std::string_view kCustomTask = "Custom Task";
inline constexpr std::string_view kDeployment = "deployment";

// Where Backend.AI mounts a folder under its alias.
inline constexpr std::string_view kMountRoot = "/home/work/";

// How a secret of FastTrack is referred to here.
inline constexpr std::string_view kSecretSource = "secret://env/";

// "${{ params.NAME }}" or "${{ secrets.NAME }}": all that FastTrack substitutes.
struct Substitution {
  bool secret = false;
  std::string name;
  size_t length = 0;  // of the whole, from "${{" to "}}"
};

// The substitution that `text` begins with, or none.
std::optional<Substitution> ParseSubstitution(std::string_view text);

// Whether the type of a task, in any of the spellings known, is a service's or a program's.
bool IsServiceType(std::string_view type);
bool IsCommandType(std::string_view type);

}  // namespace trackbed::fasttrack
