// Looking after the store: `db check` and `db backup`.
#include <absl/strings/str_cat.h>

#include <cstdio>
#include <string>

#include "cli/commands.hpp"
#include "cli/exit_code.hpp"
#include "cli/terminal.hpp"
#include "trackbed/base/time.hpp"
#include "trackbed/engine/store_check.hpp"
#include "trackbed/engine/workspace.hpp"

namespace trackbed::cli {
namespace {

std::string StoreOf(const CommonOptions& common) {
  return Workspace(HomeFolder(common)).Database();
}

std::string Describe(const StoreReport& report) {
  return absl::StrCat(report.runs, report.runs == 1 ? " run, " : " runs, ", report.events,
                      report.events == 1 ? " event, " : " events, ", report.cached,
                      report.cached == 1 ? " cached result" : " cached results");
}

}  // namespace

int CheckDatabase(const CommonOptions& common, const std::string& file) {
  const std::string path = file.empty() ? StoreOf(common) : file;
  const StatusOr<StoreReport> report = CheckStore(path, SystemClock().Now());
  if (!report.ok()) return Fail(report.status());
  for (const std::string& finding : report->findings) {
    std::fprintf(stderr, "%s: %s\n", path.c_str(), Printable(finding).c_str());
  }
  if (!report->findings.empty()) {
    return Fail(DataLoss(absl::StrCat(path, ": the store is damaged; restore a backup, or go on ",
                                      "with what can be read")));
  }
  std::printf("%s: sound: %s\n", path.c_str(), Describe(*report).c_str());
  return kSuccess;
}

int BackUpDatabase(const CommonOptions& common, const std::string& file) {
  const std::string path = StoreOf(common);
  const StatusOr<StoreReport> report = BackupStore(path, file, SystemClock().Now());
  if (!report.ok()) return Fail(report.status());
  std::printf("%s: copied and sound: %s\n", file.c_str(), Describe(*report).c_str());
  return kSuccess;
}

}  // namespace trackbed::cli
