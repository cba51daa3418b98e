// Makes the folders of an attempt that a launch record plans.
#pragma once

#include <string>

#include "executors/attempt_records.hpp"

namespace trackbed {

// Larger files are not copied into the working folder but linked.
inline constexpr int64_t kLargestCopy = 16 << 20;

// Whether `target`, which a record links to, is made to appear as a copy: a regular file that is no
// larger than a script may be.
bool AppearsAsCopy(const std::string& target);

// Makes the record's folders and links below `folder`; what is there already stays. False with
// *message.
bool MakeWorkFolder(const std::string& folder, const LaunchRecord& record, std::string* message);

}  // namespace trackbed
