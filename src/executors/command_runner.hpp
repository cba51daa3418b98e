// Runs programs beside each other and collects what they say. No shell is involved.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <functional>
#include <list>
#include <string>
#include <vector>

#include "trackbed/base/status.hpp"
#include "trackbed/base/time.hpp"

namespace trackbed {

struct CommandResult {
  int exit_code = -1;  // -1: ended by a signal, or somebody else has waited for it
  bool timed_out = false;
  std::string output;
  std::string error_text;

  bool Succeeded() const { return exit_code == 0 && !timed_out; }
  // What it said was wrong, in one line: of its error text, else that it failed at all.
  std::string Problem() const;
};

// Used by one thread. Programs get /dev/null as input and no other descriptor of this process, a
// process group of their own, and all signals at their defaults.
class CommandRunner {
 public:
  explicit CommandRunner(std::vector<std::string> environment)
      : environment_(std::move(environment)) {}
  // Kills what still runs.
  ~CommandRunner();
  CommandRunner(const CommandRunner&) = delete;
  CommandRunner& operator=(const CommandRunner&) = delete;

  // `words` is the program, as a path, and its arguments. `done` is called by Wait. A program that
  // takes longer than `limit` is killed.
  Status Start(const std::vector<std::string>& words, Duration limit,
               std::function<void(CommandResult)> done);

  // Waits until something ended, `wake` (when not -1) is readable, or `timeout` is over.
  void Wait(int wake, Duration timeout);

  size_t running() const { return commands_.size(); }

 private:
  struct Command {
    pid_t pid = 0;
    int output = -1;
    int errors = -1;
    std::chrono::steady_clock::time_point deadline;
    CommandResult result;
    std::function<void(CommandResult)> done;
  };
  static void Read(int* descriptor, std::string* text);
  static void Collect(Command* command);

  const std::vector<std::string> environment_;
  std::list<Command> commands_;
};

}  // namespace trackbed
