#include "executors/container_strays.hpp"

#include <absl/strings/escaping.h>
#include <errno.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "executors/attempt_records.hpp"
#include "executors/container_files.hpp"
#include "executors/host_files.hpp"

namespace trackbed {
namespace {

constexpr const char* kOwnerFile = "containers";
constexpr size_t kOwnerBytes = 16;
constexpr size_t kMaxOwnerText = 64;

std::string InContainerFolder(const std::string& folder, const char* name) {
  return folder + "/" + kContainerFolder + "/" + name;
}

StatusOr<std::string> ReadOwner(const std::string& home) {
  const std::string path = home + "/" + kOwnerFile;
  std::string owner;
  const int error = ReadSmallFile(path, kMaxOwnerText, &owner);
  if (error != 0) return HostStatus(error, "cannot read " + path);
  const bool legal = owner.size() == 2 * kOwnerBytes &&
                     owner.find_first_not_of("0123456789abcdef") == std::string::npos;
  if (!legal) return DataLoss(path + ": expected 32 hexadecimal digits");
  return owner;
}

}  // namespace

StatusOr<std::string> ContainerOwner(const std::string& home) {
  const std::string path = home + "/" + kOwnerFile;
  if (PathExists(path)) return ReadOwner(home);
  std::string bytes(kOwnerBytes, '\0');
  if (getrandom(bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size())) {
    return HostStatus(errno, "cannot get random bytes");
  }
  const int error = WriteWholeFile(path, absl::BytesToHexString(bytes), true);
  if (error != 0 && error != EEXIST) return HostStatus(error, "cannot write " + path);
  return ReadOwner(home);
}

bool MarkGivenUp(const std::string& folder) {
  // The mark first: who begins just now looks for it later.
  WriteWholeFile(InContainerFolder(folder, kGivenUpFile), "", true);
  return WriteWholeFile(InContainerFolder(folder, kBegunFile), "", true) != EEXIST;
}

bool WasGivenUp(const std::string& folder) {
  return PathExists(InContainerFolder(folder, kGivenUpFile));
}

bool IsStray(const std::string& folder, const std::string& home, const std::string& owner) {
  const StatusOr<std::string> here = ReadOwner(home);
  if (!here.ok() || *here != owner || !folder.starts_with(home + "/")) return false;
  struct stat status{};
  if (lstat(folder.c_str(), &status) != 0) return errno == ENOENT;
  std::string text;
  std::string damage;
  ClaimRecord claim;
  const bool given_up = ReadSmallFile(folder + "/" + kClaimFile, kMaxRecordBytes, &text) == 0 &&
                        DecodeClaim(text, &claim, &damage) && claim.given_up;
  return given_up || WasGivenUp(folder) || PathExists(folder + "/" + kContainerExitFile);
}

}  // namespace trackbed
