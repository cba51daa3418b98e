// The records in an attempt's folder, by which engine and supervisor talk across crashes.
//
// Text, one "key value" a line, the last line "end". Values have line breaks and backslashes
// escaped; where a line has several values, those but the last have spaces escaped too. Reading is
// strict: whatever a writer of ours cannot have written is an error, so a damaged record is never
// half-believed.
//
// The supervisor program shares this file: no Abseil here.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace trackbed {

// Names inside the attempt's folder.
inline constexpr const char* kClaimFile = "claim";  // the claim, then the record of the end
inline constexpr const char* kScriptFile = "script";
inline constexpr const char* kLogFile = "log";
inline constexpr const char* kOutputFile = "output";
inline constexpr const char* kOutputsFolder = "outputs";
inline constexpr const char* kWorkFolder = "work";
inline constexpr const char* kInputsFolder = "inputs";
inline constexpr const char* kTemporaryFolder = "tmp";

// What the supervisor is to do; sent to it, not kept. Paths of folders and links are relative to
// the attempt's.
struct LaunchRecord {
  std::string key;
  std::vector<std::string> command;                              // looked up in the command's PATH
  std::vector<std::pair<std::string, std::string>> environment;  // without secret values
  std::vector<std::string> secret_names;                         // values: in the order
  std::vector<std::string> folders;                              // to make, parents first
  std::vector<std::pair<std::string, std::string>> links;        // path, target
  std::vector<std::string> notes;                                // first lines of the log
  std::string bubblewrap;                                        // program; empty: no sandbox
  std::vector<std::string> bubblewrap_arguments;
  std::string cgroup_parent;  // empty: no control groups
  int64_t memory_bytes = 0;   // limit; 0: none
  int64_t cpu_thousandths = 0;
  bool has_accelerators = false;  // the drivers of which reserve more addresses than they use
};

// Who runs the attempt.
struct ClaimRecord {
  std::string key;
  bool given_up = false;  // nobody, ever: made to stop others from starting it
  pid_t pid = 0;
  uint64_t start_time = 0;  // of the process, in clock ticks since the boot
  std::string boot;
  std::string cgroup;  // name of the attempt's control groups
};

// How it ended.
struct ExitRecord {
  bool ran = true;  // false: could not be started, `message` says why
  int exit_code = 0;
  int signal = 0;
  bool out_of_memory = false;
  int64_t wall_ns = 0;
  int64_t cpu_ns = 0;
  int64_t max_rss_bytes = 0;
  std::string output_digest;
  std::string message;
};

// The exit code of a command that succeeded and left outputs that cannot be digested: a socket, a
// pipe, a file that cannot be read. Nothing of them could be handed on, so it has failed (EX_IOERR
// of sysexits.h).
inline constexpr int kOutputsNotKept = 74;

// A link to the attempt's tmp/ that its supervisor makes when that lies deep.
std::string ShortTemporaryPath(pid_t supervisor, uint64_t start_time);

std::string EncodeLaunch(const LaunchRecord& record);
std::string EncodeClaim(const ClaimRecord& record);
std::string EncodeExit(const ExitRecord& record);

// False, with *error, unless `text` is exactly a record.
bool DecodeLaunch(std::string_view text, LaunchRecord* record, std::string* error);
bool DecodeClaim(std::string_view text, ClaimRecord* record, std::string* error);
bool DecodeExit(std::string_view text, ExitRecord* record, std::string* error);

// What kClaimFile holds. False, with *error, unless it begins with a claim. *exit is empty while no
// whole record of the end follows; *error then says what does instead, if anything.
bool DecodeClaimFile(std::string_view text, ClaimRecord* claim, std::optional<ExitRecord>* exit,
                     std::string* error);

// What a name in a folder holds; folder and name are joined by the caller.
// 0, or the errno of reading a regular file (never waits, never follows a last link); EFBIG when it
// has more than `limit` bytes, of which *text then has the first.
int ReadSmallFile(const std::string& path, size_t limit, std::string* text);
inline constexpr size_t kMaxRecordBytes = size_t{64} << 20;

// Writes the file `path` as a whole or not at all; 0 or errno. With `exclusive`, EEXIST when it is
// there already, whoever made it: of many callers exactly one succeeds.
int WriteWholeFile(const std::string& path, std::string_view text, bool exclusive);

// Makes the file `path` with `text` as WriteWholeFile does with `exclusive`, and sets `space` bytes
// aside for it where the file system can: a full disk keeps it from being made, not from being
// completed. *file is its descriptor, at the end of the text; -1 after an error.
int MakeWholeFile(const std::string& path, std::string_view text, int64_t space, int* file);

// Writes all of `text`; 0 or errno.
int WriteFully(int descriptor, std::string_view text);

// Field 22 of /proc/PID/stat and the parent; false when there is no such process.
bool ReadProcessStat(pid_t pid, uint64_t* start_time, pid_t* parent);

// What identifies the time since the machine was started; empty when unknown.
std::string BootIdentity();

// Descriptor of the socket over which a supervisor gets its orders.
inline constexpr int kOrdersDescriptor = 3;
// With this argument it takes orders.
inline constexpr const char* kServeFlag = "--serve";
// With this one and an attempt's folder, it runs the order in kOrderFile there, once.
inline constexpr const char* kJobFlag = "--job";
inline constexpr const char* kOrderFile = "order";
// Of a gang.
inline constexpr const char* kMembersFolder = "members";  // one for each member but the first
inline constexpr const char* kHostsFile = "hosts";        // what a member sees as /etc/hosts
// Of one that runs as a job (supervisor/gang.hpp).
inline constexpr const char* kGangFlag = "--gang";
inline constexpr const char* kMemberFlag = "--member";
inline constexpr const char* kGangFile = "gang";
inline constexpr const char* kAddressFile = "address";
inline constexpr const char* kFailedFile = "failed";
// In a job the supervisor touches the claim every so often while the command runs, so that it is
// seen to be there by who cannot ask; and ends the command when this file is there: made when the
// attempt was given up, in case that what runs it cannot be reached.
inline constexpr int kBeatMs = 4000;
inline constexpr const char* kFenceFile = "fence";
// Made by it when somebody asked that attempt to end.
inline constexpr const char* kAskedFile = "asked";
// By signals talk those that have no socket to it. This one makes a supervisor kill its attempt;
// SIGTERM makes it ask.
inline constexpr int kKillSignal = 12;  // SIGUSR2
// Makes it end after its attempt: so that the end of the process is the end of the attempt for
// whoever watches it from outside.
inline constexpr int kRetireSignal = 10;  // SIGUSR1

}  // namespace trackbed
