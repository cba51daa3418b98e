// Makes the folders of an attempt that a launch record plans.
//
// The supervisor program shares this file: no Abseil here.
#pragma once

#include <string>

#include "executors/attempt_records.hpp"

namespace trackbed {

// Whether `target`, which a record links to, is made to appear as a copy: a regular file that is no
// larger than a script may be. Programs such as Python look beside the real place of a script for
// what it imports, and must find there only what the task sees; and a task that writes into its
// script must not change the copy of the source that others use.
bool AppearsAsCopy(const std::string& target);

// Makes the record's folders and links below `folder`; what is there already stays. False with
// *message.
bool MakeWorkFolder(const std::string& folder, const LaunchRecord& record, std::string* message);

}  // namespace trackbed
