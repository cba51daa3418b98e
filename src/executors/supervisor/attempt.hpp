// One attempt, from the claim to the record of its end.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "executors/attempt_records.hpp"
#include "executors/control_group.hpp"
#include "executors/secret_mask.hpp"
#include "executors/supervisor/gang.hpp"
#include "executors/supervisor/station.hpp"
#include "executors/supervisor_channel.hpp"

namespace trackbed {

class Attempt {
 public:
  // `seat`, for a member of a gang in a job, outlives this.
  explicit Attempt(Station* station, const GangSeat* seat = nullptr)
      : station_(*station), seat_(seat) {}
  ~Attempt();
  Attempt(const Attempt&) = delete;
  Attempt& operator=(const Attempt&) = delete;

  // Runs what the order says and tells the executor how that went. Leaves nothing of it behind in
  // this process, or retires the station. 0, or the errno for which nothing ran and nothing was
  // recorded: EEXIST when somebody else has claimed the attempt.
  int Run(std::string_view order);

  // How it ended, once it has.
  const ExitRecord& exit() const { return exit_; }

 private:
  int Load(std::string_view order);
  int Claim();

  // Preparation: false with *message when the command cannot be started.
  bool Prepare(std::string* message);
  bool OpenLog(std::string* message);
  void CollectEnvironment();
  void CollectJobEnvironment();
  std::string ShortenTmp(const std::string& path);
  void MakeControlGroup();
  int64_t AddressSpaceLimit() const;

  // Running.
  bool Start(std::string* message);
  bool StartSandboxed(std::string* message);
  bool AskedToStop();
  void WatchUntilEnd();
  int PatienceMs() const;
  void Beat();
  void OnSignals();
  void OnWords();
  void OnOutput();
  void OnSandboxStatus();
  void AskToEnd();
  void NoteAsked() const;
  void Reap();
  pid_t ReapOne(int* status);
  void SignalAll(int signal);
  void KillSurvivors();
  void Running();

  // The end.
  void Finish();
  void SetResult();
  void MaskOutputFile();
  void DigestOutputs();
  int WriteExit();
  void AddMessage(const std::string& text);

  Station& station_;
  const GangSeat* const seat_;
  Order order_;
  LaunchRecord launch_;
  ExitRecord exit_;
  std::string claim_;       // as written
  std::string group_name_;  // for control groups
  std::string short_tmp_;   // link to tmp/
  ControlGroup group_;
  SecretMask mask_;
  std::vector<std::string> environment_;

  int folder_ = -1;          // the attempt's, to come back to
  int log_ = -1;             // the file
  int output_ = -1;          // where the command writes: the log, or a pipe when values are masked
  int output_reader_ = -1;   // our end of that pipe
  int sandbox_status_ = -1;  // words of the process inside the sandbox
  int record_ = -1;          // the claim; how the attempt ended is written behind it

  pid_t main_ = 0;
  int main_status_ = 0;
  bool main_ended_ = false;
  bool sandboxed_ended_ = false;  // main_status_ came from inside the sandbox
  bool starting_ = false;         // in a sandbox, the command may run
  bool running_ = false;          // the command was seen to run
  bool told_ = false;             // that it does
  bool asked_to_end_ = false;
  bool forced_to_end_ = false;
  int sandboxed_error_ = 0;
  int log_error_ = 0;
  int64_t started_at_ns_ = 0;
  int64_t running_at_ns_ = 0;
  int64_t next_beat_ns_ = 0;
  int64_t gang_failed_at_ns_ = 0;  // when that was seen; 0: it was not
};

}  // namespace trackbed
