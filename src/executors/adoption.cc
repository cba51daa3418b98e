#include "executors/adoption.hpp"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include "executors/host_files.hpp"

namespace trackbed {

Status CheckOwner(pid_t owner) {
  if (getpid() == owner) return absl::OkStatus();
  return FailedPrecondition("an executor cannot be used after fork() in the child");
}

int ClaimForNobody(const AttemptKey& key, const std::string& folder) {
  ClaimRecord given_up;
  given_up.key = key;
  given_up.given_up = true;
  return WriteWholeFile(folder + "/" + kClaimFile, EncodeClaim(given_up), true);
}

Status CheckClaim(const ClaimRecord& claim, const AttemptKey& key, const std::string& folder) {
  if (claim.key != key) {
    return FailedPrecondition("the folder " + folder + " belongs to the attempt " + claim.key);
  }
  if (claim.given_up) return NotFound("the attempt " + key + " was given up before it started");
  return absl::OkStatus();
}

StatusOr<Found> FindStarted(const std::string& folder, WatchExistingAttempt watch_existing) {
  if (!PathExists(folder)) return Found::nothing;
  StatusOr<Found> found = watch_existing();
  if (absl::IsNotFound(found.status())) return FailedPrecondition(Message(found.status()));
  return found;
}

Status AdoptOrGiveUp(const AttemptKey& key, const std::string& folder,
                     WatchExistingAttempt watch_existing) {
  // Twice: somebody may claim the attempt between our look and our own claim.
  for (int attempt = 0; attempt < 2; ++attempt) {
    if (PathExists(folder)) {
      TRACKBED_ASSIGN_OR_RETURN(const Found found, watch_existing());
      if (found == Found::something) return absl::OkStatus();
    } else {
      TRACKBED_RETURN_IF_ERROR(MakeFolders(folder));
      chmod(folder.c_str(), 0700);
    }
    const int error = ClaimForNobody(key, folder);
    if (error == 0) return NotFound("the attempt " + key + " was never started");
    if (error != EEXIST) return HostStatus(error, "cannot write to the folder " + folder);
  }
  return Internal("the claim in " + folder + " appears and disappears");
}

Status ObserveStarted(const AttemptKey& key, const std::string& folder,
                      WatchExistingAttempt watch_existing) {
  if (PathExists(folder)) {
    TRACKBED_ASSIGN_OR_RETURN(const Found found, watch_existing());
    if (found == Found::something) return absl::OkStatus();
  }
  return NotFound("the attempt " + key + " was never started");
}

}  // namespace trackbed
