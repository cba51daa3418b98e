// A disk in memory, for SQLite, that does what real disks and the processes that write to them do:
// operations fail, space runs out, a process dies in the middle of a write, and what was not
// flushed when the power went is kept, lost or torn, sector by sector.
//
//   SimulatedDisk disk(&random);
//   DiskProcess process(&disk, &clock);
//   auto store = OpenSqliteStore("/trackbed.db", {.vfs = process.vfs()});
//   process.FailAt(7, DiskFault::dies);
//
// Not thread-safe. Everything random follows from the source it is given.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "trackbed/base/random.hpp"
#include "trackbed/base/time.hpp"

namespace trackbed {

class SimulatedFile;

class SimulatedDisk {
 public:
  // `random` is not owned.
  explicit SimulatedDisk(RandomSource* random);
  ~SimulatedDisk();
  SimulatedDisk(const SimulatedDisk&) = delete;
  SimulatedDisk& operator=(const SimulatedDisk&) = delete;

  // Nothing can grow any more.
  bool full = false;
  // Says that it has flushed, and has not.
  bool lies = false;

  // Of what was written since a file was last flushed, each sector of 512 bytes is kept or lost.
  // Every process must be dead.
  void LosePower();

  // Of all files, as a reader sees them now.
  int64_t bytes() const;
  // Overwrites one byte, as bad hardware would.
  void Damage(const std::string& path, size_t offset);
  size_t SizeOf(const std::string& path) const;
  // What is in the files, and to put it there, flushed, in place of what there is. No file may be
  // open.
  std::map<std::string, std::string> Contents() const;
  void SetContents(const std::map<std::string, std::string>& contents);

 private:
  friend class DiskProcess;
  RandomSource* random_;
  std::map<std::string, std::shared_ptr<SimulatedFile>> files_;
};

enum class DiskFault : uint8_t {
  dies,     // the process: this operation is done in part, later ones not at all
  fails,    // this operation fails and changes nothing
  refuses,  // this operation and all later ones fail, until Mend
  fills,    // the disk is full from this operation on, until somebody makes room
};

// A process that uses the disk: a SQLite VFS of its own. Its connections must be closed before it
// is destroyed.
class DiskProcess {
 public:
  // `disk` and `clock` are not owned.
  DiskProcess(SimulatedDisk* disk, Clock* clock);
  ~DiskProcess();
  DiskProcess(const DiskProcess&) = delete;
  DiskProcess& operator=(const DiskProcess&) = delete;

  // What SQLite knows it by.
  const std::string& vfs() const;

  // The n-th operation from now on that changes or flushes the disk (1: the next).
  void FailAt(int64_t operation, DiskFault fault);
  // Every n-th read and later ones, in the same way.
  void FailReadAt(int64_t operation, DiskFault fault);
  void Mend();
  // Ends the process: nothing it does from now on has an effect, and its locks are free.
  void Die();
  bool dead() const;
  // Whether a fault that was asked for has happened since the process began.
  bool has_failed() const;
  // How many operations changed or flushed the disk.
  int64_t operations() const;
  int64_t reads() const;

  struct Implementation;

 private:
  std::unique_ptr<Implementation> implementation_;
};

}  // namespace trackbed
