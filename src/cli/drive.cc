#include "cli/drive.hpp"

#include <absl/strings/str_cat.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>

#include "cli/commands.hpp"
#include "cli/exit_code.hpp"

namespace trackbed::cli {
namespace {

// Signals arrive as bytes in a pipe, so that poll sees them. The program, not the library, may
// install handlers.
class SignalPipe {
 public:
  SignalPipe() {
    if (pipe2(ends_.data(), O_CLOEXEC | O_NONBLOCK) != 0) return;
    write_end = ends_[1];
    struct sigaction action{};
    action.sa_handler = [](int signal) {
      const int saved = errno;
      const char byte = static_cast<char>(signal);
      [[maybe_unused]] const ssize_t ignored = ::write(write_end, &byte, 1);
      errno = saved;
    };
    for (size_t i = 0; i < kSignals.size(); ++i) sigaction(kSignals[i], &action, &before_[i]);
  }
  ~SignalPipe() {
    for (size_t i = 0; i < kSignals.size(); ++i) sigaction(kSignals[i], &before_[i], nullptr);
    ::close(ends_[0]);
    ::close(ends_[1]);
  }
  SignalPipe(const SignalPipe&) = delete;
  SignalPipe& operator=(const SignalPipe&) = delete;

  int descriptor() const { return ends_[0]; }
  // The oldest signal not taken yet, or 0.
  int Take() {
    char byte = 0;
    return ::read(ends_[0], &byte, 1) == 1 ? byte : 0;
  }

 private:
  static constexpr std::array<int, 3> kSignals = {SIGINT, SIGTERM, SIGHUP};
  static inline int write_end = -1;
  std::array<int, 2> ends_{-1, -1};
  std::array<struct sigaction, 3> before_{};
};

// Sleeps until a descriptor is readable or `until` has come.
void Wait(int engine, int signals, Duration until) {
  std::array<pollfd, 2> descriptors{{{signals, POLLIN, 0}, {engine, POLLIN, 0}}};
  const auto milliseconds =
      std::chrono::ceil<std::chrono::milliseconds>(std::max(until, Duration(0))).count();
  ::poll(descriptors.data(), engine >= 0 ? 2 : 1,
         engine >= 0 ? static_cast<int>(std::min<int64_t>(milliseconds, 3'600'000)) : 0);
}

}  // namespace

int Drive(Session& session, const RunId& id, Progress& progress) {
  Engine& engine = session.engine();
  SignalPipe signals;
  int interrupts = 0;
  while (true) {
    while (const int signal = signals.Take()) {
      // A terminal that goes away says nothing about the run.
      if (++interrupts > 1 || signal == SIGHUP) {
        progress.Say(
            absl::StrCat("left run ", id, " as it is; continue with: trackbed resume ", id));
        if (const RunState* state = engine.Find(id)) progress.Finish(*state, SystemClock().Now());
        session.Close();
        return kInterrupted;
      }
      progress.Say("stopping the run; once more leaves it running in the background");
      if (Status status = engine.Cancel(id); !status.ok())
        progress.Say(std::string(Message(status)));
    }
    if (Status status = engine.Step(); !status.ok()) {
      (void)Fail(status);
      std::fprintf(stderr, "trackbed: run %s is not finished; continue with: trackbed resume %s\n",
                   id.c_str(), id.c_str());
      return kEnvironment;
    }
    const RunState* state = engine.Find(id);
    if (state == nullptr) break;
    const Time now = SystemClock().Now();
    progress.Refresh(engine, *state, now);
    const Duration refresh =
        state->status() == RunStatus::running ? progress.RefreshInterval() : Duration(0);
    Wait(engine.WakeDescriptor(), signals.descriptor(),
         std::min(engine.NextDeadline() - now, refresh));
  }
  session.Close();
  const StatusOr<StoredRun> ended = LoadRun(session.store(), id);
  if (!ended.ok()) return Fail(ended.status());
  progress.Finish(*ended->state, SystemClock().Now());
  return ExitCodeFor(ended->state->status());
}

}  // namespace trackbed::cli
