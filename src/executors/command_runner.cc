#include "executors/command_runner.hpp"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <utility>

#include "executors/host_files.hpp"

namespace trackbed {
namespace {

constexpr size_t kReadAtOnce = 65536;
// Of 100,000 jobs squeue says less.
constexpr size_t kMaxText = size_t{64} << 20;
constexpr size_t kMaxProblem = 400;

std::vector<char*> Pointers(const std::vector<std::string>& texts) {
  std::vector<char*> table;
  table.reserve(texts.size() + 1);
  // posix_spawn does not write to what it is given, but its signature predates const.
  for (const std::string& text : texts) table.push_back(const_cast<char*>(text.c_str()));
  table.push_back(nullptr);
  return table;
}

struct Pipe {
  Pipe() = default;
  ~Pipe() {
    for (const int end : {read, write}) {
      if (end >= 0) close(end);
    }
  }
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;

  bool Open() {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) return false;
    read = ends[0];
    write = ends[1];
    return fcntl(read, F_SETFL, O_NONBLOCK) == 0;
  }
  int read = -1;
  int write = -1;
};

// 0 or an error number.
int SpawnCommand(const std::vector<std::string>& words, const std::vector<std::string>& environment,
                 int output, int errors, pid_t* pid) {
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  posix_spawn_file_actions_init(&actions);
  posix_spawnattr_init(&attributes);
  sigset_t none;
  sigset_t all;
  sigemptyset(&none);
  sigfillset(&all);
  sigdelset(&all, SIGKILL);
  sigdelset(&all, SIGSTOP);
  int error = posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  if (error == 0) error = posix_spawn_file_actions_adddup2(&actions, output, 1);
  if (error == 0) error = posix_spawn_file_actions_adddup2(&actions, errors, 2);
  if (error == 0) error = posix_spawn_file_actions_addclosefrom_np(&actions, 3);
  if (error == 0) error = posix_spawnattr_setsigmask(&attributes, &none);
  if (error == 0) error = posix_spawnattr_setsigdefault(&attributes, &all);
  if (error == 0) error = posix_spawnattr_setpgroup(&attributes, 0);
  if (error == 0) {
    error = posix_spawnattr_setflags(
        &attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  }
  if (error == 0) {
    error = posix_spawn(pid, words.front().c_str(), &actions, &attributes, Pointers(words).data(),
                        Pointers(environment).data());
  }
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  return error;
}

}  // namespace

std::string CommandResult::Problem() const {
  std::string text = error_text;
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  if (text.size() > kMaxProblem) text.erase(0, text.size() - kMaxProblem);
  for (size_t at = 0; (at = text.find('\n', at)) != std::string::npos; at += 2) {
    text.replace(at, 1, "; ");
  }
  if (timed_out) return text.empty() ? "it does not answer" : "it does not answer; " + text;
  return text.empty() ? "it ended with exit code " + std::to_string(exit_code) : text;
}

CommandRunner::~CommandRunner() {
  for (Command& command : commands_) {
    kill(-command.pid, SIGKILL);
    Collect(&command);
  }
}

Status CommandRunner::Start(const std::vector<std::string>& words, Duration limit,
                            std::function<void(CommandResult)> done) {
  Pipe output;
  Pipe errors;
  if (!output.Open() || !errors.Open()) return HostStatus(errno, "cannot make a pipe");
  Command command;
  const int error = SpawnCommand(words, environment_, output.write, errors.write, &command.pid);
  if (error != 0) return HostStatus(error, "cannot run " + words.front());
  command.output = std::exchange(output.read, -1);
  command.errors = std::exchange(errors.read, -1);
  command.deadline = std::chrono::steady_clock::now() + limit;
  command.done = std::move(done);
  commands_.push_back(std::move(command));
  return absl::OkStatus();
}

void CommandRunner::Wait(int wake, Duration timeout) {
  auto now = std::chrono::steady_clock::now();
  auto until = now + timeout;
  std::vector<pollfd> watched = {{wake, POLLIN, 0}};
  for (const Command& command : commands_) {
    watched.push_back({command.output, POLLIN, 0});
    watched.push_back({command.errors, POLLIN, 0});
    until = std::min(until, command.deadline);
  }
  const auto rest = std::chrono::ceil<std::chrono::milliseconds>(until - now).count();
  poll(watched.data(), watched.size(), static_cast<int>(std::max<int64_t>(rest, 0)));

  now = std::chrono::steady_clock::now();
  std::vector<Command> ended;
  for (auto it = commands_.begin(); it != commands_.end();) {
    Command& command = *it;
    Read(&command.output, &command.result.output);
    Read(&command.errors, &command.result.error_text);
    const bool late = now >= command.deadline;
    if (late) {
      command.result.timed_out = true;
      kill(-command.pid, SIGKILL);
    }
    if (late || (command.output < 0 && command.errors < 0)) {
      Collect(&command);
      ended.push_back(std::move(command));
      it = commands_.erase(it);
    } else {
      ++it;
    }
  }
  // What is called may start more.
  for (Command& command : ended) command.done(std::move(command.result));
}

void CommandRunner::Read(int* descriptor, std::string* text) {
  char bytes[kReadAtOnce];
  while (*descriptor >= 0) {
    const ssize_t count = read(*descriptor, bytes, sizeof(bytes));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && errno == EAGAIN) return;
    if (count > 0) {
      if (text->size() < kMaxText) text->append(bytes, static_cast<size_t>(count));
      continue;
    }
    close(*descriptor);
    *descriptor = -1;
  }
}

// It has closed its descriptors, or was killed: its end is a matter of a moment.
void CommandRunner::Collect(Command* command) {
  for (int* descriptor : {&command->output, &command->errors}) {
    if (*descriptor >= 0) close(*descriptor);
    *descriptor = -1;
  }
  int status = 0;
  pid_t pid = 0;
  while ((pid = waitpid(command->pid, &status, 0)) < 0 && errno == EINTR) {
  }
  if (pid == command->pid && WIFEXITED(status)) command->result.exit_code = WEXITSTATUS(status);
}

}  // namespace trackbed
