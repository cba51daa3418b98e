#include "executors/supervisor/gang.hpp"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <iterator>
#include <utility>

#include "executors/attempt_records.hpp"
#include "executors/process_tree.hpp"
#include "executors/supervisor/spawn.hpp"
#include "executors/supervisor/station.hpp"

namespace trackbed {
namespace {

constexpr int kCannotRun = 71;
constexpr int kSignalled = 128;
// How long what srun leaves behind may take to end by itself.
constexpr int kLeftoverPatienceMs = 500;
constexpr size_t kMaxWord = 4096;
constexpr size_t kMaxHosts = size_t{1} << 20;
constexpr int kMeetPeriodMs = 50;
constexpr time_t kMeetPatienceSeconds = 120;
constexpr long kMaxMembers = 100'000;

const char* Variable(const char* name) {
  const char* value = getenv(name);
  return value == nullptr ? "" : value;
}

// The address of this machine as the one that started the job sees it.
std::string OwnAddress() {
  const char* other = Variable("SLURM_LAUNCH_NODE_IPADDR");
  sockaddr_storage address{};
  socklen_t size = 0;
  if (auto* four = reinterpret_cast<sockaddr_in*>(&address);
      inet_pton(AF_INET, other, &four->sin_addr) == 1) {
    four->sin_family = AF_INET;
    four->sin_port = htons(9);
    size = sizeof(*four);
  } else if (auto* six = reinterpret_cast<sockaddr_in6*>(&address);
             inet_pton(AF_INET6, other, &six->sin6_addr) == 1) {
    six->sin6_family = AF_INET6;
    six->sin6_port = htons(9);
    size = sizeof(*six);
  } else {
    return "127.0.0.1";
  }
  // Connecting sends nothing; it chooses the address that packets would come from.
  const int probe = socket(address.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  char text[INET6_ADDRSTRLEN] = "127.0.0.1";
  if (probe >= 0 && connect(probe, reinterpret_cast<sockaddr*>(&address), size) == 0 &&
      getsockname(probe, reinterpret_cast<sockaddr*>(&address), &size) == 0) {
    const void* bytes =
        address.ss_family == AF_INET
            ? static_cast<const void*>(&reinterpret_cast<sockaddr_in*>(&address)->sin_addr)
            : static_cast<const void*>(&reinterpret_cast<sockaddr_in6*>(&address)->sin6_addr);
    inet_ntop(address.ss_family, bytes, text, sizeof(text));
  }
  if (probe >= 0) close(probe);
  return text;
}

// All are on this machine: each gets an address of its own here, other ones than another gang has,
// so that both can use the same ports.
void UseLoopback(const std::string& gang_folder, std::vector<std::string>* addresses) {
  constexpr uint32_t kFirstBlock = 256;  // what begins with 127.0 is left to others
  constexpr uint32_t kBlocks = 0xf000 - kFirstBlock;
  uint32_t hash = 2166136261U;  // FNV-1a
  for (const char c : gang_folder) {
    hash = (hash ^ static_cast<unsigned char>(c)) * 16777619U;
  }
  const uint32_t block = kFirstBlock + hash % kBlocks;
  for (size_t rank = 0; rank < addresses->size(); ++rank) {
    const uint32_t host = (block << 8U) + static_cast<uint32_t>(rank / 250 * 256 + rank % 250) + 1;
    (*addresses)[rank] = "127." + std::to_string(host >> 16U) + "." +
                         std::to_string(host >> 8U & 0xffU) + "." + std::to_string(host & 0xffU);
  }
}

// Passes signals on to srun and waits for it, and for the process that it leaves behind to watch
// over it: a job in whose process group there is one left, be it one that has ended and that nobody
// has waited for, takes Slurm another three seconds to end. The exit code.
int WaitForStep(const Station& station, pid_t srun) {
  int code = kCannotRun;
  int left_ms = -1;
  while (true) {
    int status = 0;
    pid_t pid = 0;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
      if (pid != srun) continue;
      code = WIFSIGNALED(status) ? kSignalled + WTERMSIG(status) : WEXITSTATUS(status);
      left_ms = kLeftoverPatienceMs;
    }
    if (pid < 0 && errno == ECHILD) return code;
    pollfd woken{station.signals(), POLLIN, 0};
    if (poll(&woken, 1, left_ms) == 0) {
      for (const ProcessIdentity& process : Descendants(getpid())) SignalProcess(process, SIGKILL);
    }
    signalfd_siginfo info{};
    while (read(station.signals(), &info, sizeof(info)) == sizeof(info)) {
      if (info.ssi_signo != SIGCHLD && left_ms < 0) kill(srun, static_cast<int>(info.ssi_signo));
    }
  }
}

// The part `index` of `count` equal ones of a list with commas; all of it where there are none.
std::string PartOfList(const std::string& list, size_t index, size_t count) {
  std::vector<std::string> items;
  for (size_t begin = 0; begin <= list.size();) {
    const size_t end = std::min(list.find(',', begin), list.size());
    items.push_back(list.substr(begin, end - begin));
    begin = end + 1;
  }
  if (items.size() < count || items.size() % count != 0) return list;
  const size_t each = items.size() / count;
  std::string part;
  for (size_t i = index * each; i < (index + 1) * each; ++i) {
    part += (part.empty() ? "" : ",") + items[i];
  }
  return part;
}

}  // namespace

int RunGang(const std::string& program, const std::string& folder, const std::string& count,
            const std::string& processors) {
  const std::string mark = folder + "/" + kGangFile;
  const int error = WriteWholeFile(mark, Variable("SLURM_JOB_ID"), true);
  if (error == EEXIST) return 0;
  if (error != 0) {
    fprintf(stderr, "trackbed-supervisor: cannot use the folder %s: %s\n", folder.c_str(),
            strerror(error));
    return kCannotRun;
  }
  // Which sbatch puts into a job's environment, and slurmrestd does not.
  const std::string nodes = Variable("SLURM_JOB_NUM_NODES");
  std::vector<std::string> words = {"srun",
                                    "--nodes=" + (nodes.empty() ? "1" : nodes),
                                    "--ntasks=" + count,
                                    "--cpus-per-task=" + processors,
                                    "--kill-on-bad-exit=0",
                                    "--wait=0",
                                    program,
                                    kMemberFlag,
                                    folder};
  Station station;
  if (!station.OpenAlone()) {
    fprintf(stderr, "trackbed-supervisor: cannot watch processes here: %s\n", strerror(errno));
    return kCannotRun;
  }
  SpawnRequest request;
  request.arguments = std::move(words);
  request.environment = OwnEnvironment();
  request.program = FindProgram(request.arguments.front(), request.environment);
  pid_t srun = 0;
  const int failure = request.program.empty() ? errno : Spawn(request, &srun);
  if (failure != 0) {
    fprintf(stderr, "trackbed-supervisor: cannot run srun: %s\n", strerror(failure));
    return kCannotRun;
  }
  return WaitForStep(station, srun);
}

bool IsListOfDevices(std::string_view name) {
  constexpr std::string_view kLists[] = {"CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES",
                                         "ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES",
                                         "GPU_DEVICE_ORDINAL",   "ZE_AFFINITY_MASK"};
  return std::find(std::begin(kLists), std::end(kLists), name) != std::end(kLists);
}

bool GangSeat::Take(const std::string& gang_folder) {
  gang_folder_ = gang_folder;
  const long rank = atol(*Variable("SLURM_PROCID") == 0 ? "-1" : Variable("SLURM_PROCID"));
  const long count = atol(Variable("SLURM_STEP_NUM_TASKS"));
  if (rank < 0 || rank >= count || count > kMaxMembers) return false;
  rank_ = static_cast<size_t>(rank);
  on_one_node_ = count > 1 && Variable("SLURM_STEP_NUM_NODES") == std::string_view("1");
  for (long i = 0; i < count; ++i) {
    names_.push_back(i == 0 ? "main1" : "sub" + std::to_string(i));
    folders_.push_back(i == 0 ? gang_folder
                              : gang_folder + "/" + kMembersFolder + "/" + names_.back());
  }
  return true;
}

bool GangSeat::Meet(std::vector<std::string>* environment, std::string* message) const {
  const int error = WriteWholeFile(folder() + "/" + kAddressFile, OwnAddress(), true);
  if (error != 0) {
    *message = std::string("cannot say where it is: ") + strerror(error);
    return false;
  }
  const time_t deadline = time(nullptr) + kMeetPatienceSeconds;
  std::vector<std::string> addresses(names_.size());
  for (size_t i = 0; i < names_.size(); ++i) {
    while (ReadSmallFile(folders_[i] + "/" + kAddressFile, kMaxWord, &addresses[i]) != 0) {
      const bool failed = HasFailed();
      if (failed || time(nullptr) > deadline) {
        *message = failed ? "another member of the gang could not start"
                          : "the member " + names_[i] + " of the gang did not arrive";
        return false;
      }
      poll(nullptr, 0, kMeetPeriodMs);
    }
  }
  if (std::adjacent_find(addresses.begin(), addresses.end(), std::not_equal_to<>()) ==
      addresses.end()) {
    UseLoopback(gang_folder_, &addresses);
  }
  std::string list;
  std::string hosts;
  for (size_t i = 0; i < names_.size(); ++i) {
    list += (i == 0 ? "" : ",") + addresses[i];
    hosts += addresses[i] + " " + names_[i] + "\n";
  }
  // Of each member its own: what is read while another writes it would not be whole.
  std::string known;
  ReadSmallFile("/etc/hosts", kMaxHosts, &known);
  if (!known.empty() && !known.ends_with('\n')) known += '\n';
  WriteWholeFile(folder() + "/" + kHostsFile, known + hosts, false);
  environment->push_back("TRACKBED_GANG_ADDRESSES=" + list);
  return true;
}

std::string GangSeat::OwnPart(std::string_view variable) const {
  const size_t equals = variable.find('=');
  const std::string_view name = variable.substr(0, equals);
  const std::string value(variable.substr(equals + 1));
  std::string own = std::string(name) + "=";
  if (!on_one_node_) return own + value;
  if (IsListOfDevices(name)) {
    return own + PartOfList(value, rank_, names_.size());
  }
  // Of the parts of a GPU that the members have together, each has the same.
  const long percent = atol(value.c_str());
  const long members = static_cast<long>(names_.size());
  if (name == "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE" && percent >= members) {
    return own + std::to_string(percent / members);
  }
  return own + value;
}

std::string GangSeat::StopWord() const {
  std::string word;
  return ReadSmallFile(gang_folder_ + "/" + kStopFile, kMaxWord, &word) == 0 ? word : "";
}

bool GangSeat::HasFailed() const {
  struct stat status{};
  return stat((gang_folder_ + "/" + kFailedFile).c_str(), &status) == 0;
}

void GangSeat::Fail() const {
  WriteWholeFile(gang_folder_ + "/" + kFailedFile, names_[rank_], true);
}

}  // namespace trackbed
