// The supervisor as the first process of a cluster's job.
#pragma once

#include <string>

namespace trackbed {

// `trackbed-supervisor --job FOLDER`: runs the attempt there, unless somebody has claimed it, and
// removes the order once it is claimed. The exit code: as a shell would have it, for those who look
// at jobs and not at attempts; 0 for an attempt that others have claimed.
int RunJob(const std::string& folder);

// `trackbed-supervisor --member FOLDER`: the same for one member of the gang in FOLDER, which one
// the step of the job says.
int RunMember(const std::string& gang_folder);

}  // namespace trackbed
