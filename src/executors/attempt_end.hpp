// From the record of how an attempt ended to what is reported of it.
#pragma once

#include <string>

#include "executors/attempt_records.hpp"
#include "trackbed/executors/executor.hpp"

namespace trackbed {

// `record` is of an attempt that ran. Reads what the command wrote to its output file in `folder`.
AttemptReport ReportOfEnd(const AttemptKey& key, const std::string& folder,
                          const ExitRecord& record);

}  // namespace trackbed
