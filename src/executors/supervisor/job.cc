#include "executors/supervisor/job.hpp"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "executors/attempt_records.hpp"
#include "executors/supervisor/attempt.hpp"
#include "executors/supervisor/gang.hpp"
#include "executors/supervisor/station.hpp"

namespace trackbed {
namespace {

constexpr int kCannotRun = 71;
constexpr int kNotRun = 127;
constexpr int kSignalled = 128;

int RunIn(const std::string& folder, const GangSeat* seat) {
  std::string order;
  int error = ReadSmallFile(folder + "/" + kOrderFile, kMaxRecordBytes, &order);
  if (error != 0) {
    // Where a job is started again its attempt has been claimed before.
    std::string claim;
    if (error == ENOENT && ReadSmallFile(folder + "/" + kClaimFile, kMaxRecordBytes, &claim) == 0) {
      return 0;
    }
    fprintf(stderr, "trackbed-supervisor: cannot read the order in %s: %s\n", folder.c_str(),
            strerror(error));
    return kCannotRun;
  }
  Station station;
  if (!station.OpenAlone()) {
    fprintf(stderr, "trackbed-supervisor: cannot watch processes here: %s\n", strerror(errno));
    return kCannotRun;
  }
  Attempt attempt(&station, seat);
  error = attempt.Run(order);
  if (error == EEXIST) return 0;
  if (error != 0) {
    fprintf(stderr, "trackbed-supervisor: cannot use the folder %s: %s\n", folder.c_str(),
            strerror(error));
    return kCannotRun;
  }
  const ExitRecord& end = attempt.exit();
  if (!end.ran) return kNotRun;
  return end.signal != 0 ? kSignalled + end.signal : end.exit_code;
}

}  // namespace

int RunJob(const std::string& folder) { return RunIn(folder, nullptr); }

int RunMember(const std::string& gang_folder) {
  GangSeat seat;
  if (!seat.Take(gang_folder)) {
    fprintf(stderr, "trackbed-supervisor: this is no step of a job with several tasks\n");
    return kCannotRun;
  }
  const int code = RunIn(seat.folder(), &seat);
  if (code != 0) seat.Fail();
  return code;
}

}  // namespace trackbed
