// Names inside the attempt's folder that only attempts in containers have. kContainerFolder is
// mounted into the container at the path that it has outside, and is all that the two sides share
// beside the folders of the task.
//
// The container's first process shares this file: no Abseil here.
#pragma once

namespace trackbed {

inline constexpr const char* kContainerFolder = "container";
// Beside it, written and read outside only:
inline constexpr const char* kContainerLaunchFile = "launch";      // a LaunchRecord
inline constexpr const char* kContainerExitFile = "exit";          // an ExitRecord, made once
inline constexpr const char* kContainerEndpointFile = "endpoint";  // where the container is

// In it:
inline constexpr const char* kBegunFile = "begun";  // the container's first process ran
inline constexpr const char* kEndFile = "end";      // how the command ended: an ExitRecord
// The attempt was given up and may be tried elsewhere: the first process does not begin the
// command, or ends it.
inline constexpr const char* kGivenUpFile = "given-up";
// The file of NAME=VALUE lines is in the folder too: a file that is itself mounted could not be
// replaced by a rename. And a script too long for a command line.

// How the first process leaves when `begun` was there: nothing was run.
inline constexpr int kExitBegunBefore = 75;

}  // namespace trackbed
