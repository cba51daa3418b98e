// A gang in a cluster's job: several supervisors, each for one member, that find each other and end
// together by files in the gang's folder, which all of them share.
//
//   gang          made once, by the job whose members run
//   NAME/address  made by each member before it starts: where it is
//   stop          made by the executor: how the gang is to end
//   failed        made once, by the first member that failed: its name
//
// NAME is the attempt's folder itself for the first member, members/sub1 and so on for the others.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace trackbed {

inline constexpr const char* kStopFile = "stop";
inline constexpr const char* kStopPolitely = "terminate";
inline constexpr const char* kStopByForce = "kill";

// `trackbed-supervisor --gang FOLDER COUNT PROCESSORS`: runs srun with COUNT supervisors of this
// program, unless somebody has claimed the gang. The exit code.
int RunGang(const std::string& program, const std::string& folder, const std::string& count,
            const std::string& processors);

// Of the variable of a job with this name: whether it lists accelerators that the job may use.
bool IsListOfDevices(std::string_view name);

// The place of one member in its gang.
class GangSeat {
 public:
  // The member that this process of a step is to run; false where it is in none.
  bool Take(const std::string& gang_folder);

  // Of this member: relative to nothing, below the gang's.
  const std::string& folder() const { return folders_[rank_]; }

  // Says that this member is here and waits for the others; false with *message when they do not
  // come, or one has failed. *environment gets what tells the command where they are.
  bool Meet(std::vector<std::string>* environment, std::string* message) const;

  // Of a variable "NAME=VALUE" that the job has, what is this member's: where all members are on
  // one node, which was given the devices of all, the lists of devices are dealt out.
  std::string OwnPart(std::string_view variable) const;

  // What kStopFile says; empty: nothing.
  std::string StopWord() const;

  // Whether a member has failed.
  bool HasFailed() const;
  void Fail() const;

 private:
  std::string gang_folder_;
  std::vector<std::string> names_;    // "main1", "sub1", …
  std::vector<std::string> folders_;  // of the members
  size_t rank_ = 0;
  bool on_one_node_ = false;
};

}  // namespace trackbed
