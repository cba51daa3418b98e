#include "executors/attempt_end.hpp"

#include <errno.h>
#include <string.h>

namespace trackbed {

AttemptReport ReportOfEnd(const AttemptKey& key, const std::string& folder,
                          const ExitRecord& record) {
  AttemptReport report;
  report.key = key;
  report.kind = AttemptReport::Kind::exited;
  report.exit_code = record.exit_code;
  report.signal = record.signal;
  report.out_of_memory = record.out_of_memory;
  report.message = record.message;
  report.output_digest = record.output_digest;
  report.wall_time = Duration(record.wall_ns);
  report.cpu_time = Duration(record.cpu_ns);
  report.max_rss_bytes = record.max_rss_bytes;
  const int error = ReadSmallFile(folder + "/" + kOutputFile, kMaxOutputBytes, &report.output_text);
  if (error != 0 && error != ENOENT) {
    if (!report.message.empty()) report.message += "; ";
    report.message += error == EFBIG
                          ? "the output file has more than 1 MiB; the rest is left out"
                          : std::string("the output file cannot be read: ") + strerror(error);
    // Not half a line: half a value would look like a whole one.
    if (error == EFBIG) report.output_text.resize(report.output_text.rfind('\n') + 1);
  }
  return report;
}

}  // namespace trackbed
