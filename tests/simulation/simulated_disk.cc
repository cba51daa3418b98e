#include "simulation/simulated_disk.hpp"

#include <sqlite3.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <utility>
#include <vector>

namespace trackbed {
namespace {

constexpr size_t kSector = 512;
constexpr size_t kSharedRegion = 32 * 1024;  // what SQLite asks for

using SharedRegion = std::array<char, kSharedRegion>;

struct Handle;

}  // namespace

// One file: what readers see, what a power cut leaves for certain, and the writes between.
class SimulatedFile {
 public:
  struct Write {
    size_t offset = 0;
    std::string bytes;
    bool truncates = false;  // to `offset`
  };

  std::string content;
  std::string flushed;
  std::vector<Write> pending;

  // Of SQLite's locks: who holds which of the five levels.
  std::map<const Handle*, int> locks;
  // Of its shared memory: the regions, who has them, and who holds which of the eight locks.
  std::vector<std::shared_ptr<SharedRegion>> shared;
  std::vector<const Handle*> sharers;
  std::array<std::map<const Handle*, bool>, SQLITE_SHM_NLOCK> shared_locks;  // true: exclusive

  static void Apply(const Write& write, std::string* content) {
    if (write.truncates) {
      content->resize(std::min(content->size(), write.offset));
      return;
    }
    const size_t end = write.offset + write.bytes.size();
    if (content->size() < end) content->resize(end);
    content->replace(write.offset, write.bytes.size(), write.bytes);
  }
  void Do(Write write) {
    Apply(write, &content);
    pending.push_back(std::move(write));
  }
  void Flush() {
    for (const Write& write : pending) Apply(write, &flushed);
    pending.clear();
  }
  void LosePower(RandomSource* random) {
    const uint64_t keeps = random->Next() % 3;  // all of it, none of it, or any part
    for (const Write& write : pending) {
      if (write.truncates) {
        if (keeps == 0 || (keeps == 2 && random->Next() % 2 == 0)) Apply(write, &flushed);
        continue;
      }
      for (size_t at = 0; at < write.bytes.size();) {
        const size_t length =
            std::min(kSector - (write.offset + at) % kSector, write.bytes.size() - at);
        if (keeps == 0 || (keeps == 2 && random->Next() % 2 == 0)) {
          Apply({write.offset + at, write.bytes.substr(at, length), false}, &flushed);
        }
        at += length;
      }
    }
    pending.clear();
    content = flushed;
    locks.clear();
    shared.clear();
    sharers.clear();
    for (auto& holders : shared_locks) holders.clear();
  }
  void Release(const Handle* handle) {
    locks.erase(handle);
    std::erase(sharers, handle);
    for (auto& holders : shared_locks) holders.erase(handle);
  }
};

struct DiskProcess::Implementation {
  SimulatedDisk* disk = nullptr;
  Clock* clock = nullptr;
  std::map<std::string, std::shared_ptr<SimulatedFile>>* files = nullptr;
  RandomSource* random = nullptr;
  std::string name;
  sqlite3_vfs vfs{};
  std::vector<Handle*> handles;

  struct Trap {
    int64_t at = -1;
    DiskFault fault = DiskFault::fails;
    bool refusing = false;
  };
  Trap change;
  Trap read;
  int64_t changes = 0;
  int64_t reads = 0;
  bool dead = false;
  bool failed = false;

  enum class Verdict : uint8_t { done, in_part, refused };
  Verdict Judge(Trap* trap, int64_t* count) {
    if (dead) return Verdict::refused;
    ++*count;
    if (trap->refusing) return Verdict::refused;
    if (*count != trap->at) return Verdict::done;
    failed = true;
    if (trap->fault == DiskFault::dies) {
      Die();
      return Verdict::in_part;
    }
    trap->refusing = trap->fault == DiskFault::refuses;
    return Verdict::refused;
  }
  void Die();
};

namespace {

using Process = DiskProcess::Implementation;
using Verdict = Process::Verdict;

struct Handle {
  sqlite3_file base{};
  Process* process = nullptr;
  // What SQLite does not know how to destroy; Close does.
  std::shared_ptr<SimulatedFile>* file = nullptr;
  // A dead process may still look at what it had.
  std::vector<std::shared_ptr<SharedRegion>>* shared = nullptr;
};

Handle* Of(sqlite3_file* file) { return reinterpret_cast<Handle*>(file); }
SimulatedFile& FileOf(sqlite3_file* file) { return **Of(file)->file; }

int Close(sqlite3_file* file) {
  Handle* handle = Of(file);
  (*handle->file)->Release(handle);
  std::erase(handle->process->handles, handle);
  delete handle->file;
  delete handle->shared;
  return SQLITE_OK;
}

int Read(sqlite3_file* file, void* bytes, int amount, sqlite3_int64 offset) {
  Process& process = *Of(file)->process;
  if (process.Judge(&process.read, &process.reads) != Verdict::done) return SQLITE_IOERR_READ;
  const std::string& content = FileOf(file).content;
  const auto length = static_cast<size_t>(amount);
  const auto from = static_cast<size_t>(offset);
  const size_t there = from < content.size() ? std::min(content.size() - from, length) : 0;
  if (there > 0) std::memcpy(bytes, content.data() + from, there);
  if (there == length) return SQLITE_OK;
  std::memset(static_cast<char*>(bytes) + there, 0, length - there);
  return SQLITE_IOERR_SHORT_READ;
}

int Write(sqlite3_file* file, const void* bytes, int amount, sqlite3_int64 offset) {
  Process& process = *Of(file)->process;
  SimulatedFile& target = FileOf(file);
  SimulatedFile::Write write{
      static_cast<size_t>(offset),
      std::string(static_cast<const char*>(bytes), static_cast<size_t>(amount)), false};
  switch (process.Judge(&process.change, &process.changes)) {
    case Verdict::refused:
      return SQLITE_IOERR_WRITE;
    case Verdict::in_part:
      write.bytes.resize(process.random->Next() % write.bytes.size());
      if (!write.bytes.empty()) target.Do(std::move(write));
      return SQLITE_IOERR_WRITE;
    case Verdict::done:
      break;
  }
  if (process.disk->full && write.offset + write.bytes.size() > target.content.size()) {
    process.failed = true;
    return SQLITE_FULL;
  }
  target.Do(std::move(write));
  return SQLITE_OK;
}

int Truncate(sqlite3_file* file, sqlite3_int64 size) {
  Process& process = *Of(file)->process;
  if (process.Judge(&process.change, &process.changes) != Verdict::done) {
    return SQLITE_IOERR_TRUNCATE;
  }
  FileOf(file).Do({static_cast<size_t>(size), "", true});
  return SQLITE_OK;
}

int Sync(sqlite3_file* file, int /*flags*/) {
  Process& process = *Of(file)->process;
  if (process.Judge(&process.change, &process.changes) != Verdict::done) {
    return SQLITE_IOERR_FSYNC;
  }
  if (!process.disk->lies) FileOf(file).Flush();
  return SQLITE_OK;
}

int FileSize(sqlite3_file* file, sqlite3_int64* size) {
  *size = static_cast<sqlite3_int64>(FileOf(file).content.size());
  return SQLITE_OK;
}

// The five levels as SQLite's documentation of locking has them (www.sqlite.org/lockingv3.html).
int Lock(sqlite3_file* file, int level) {
  Handle* handle = Of(file);
  if (handle->process->dead) return SQLITE_IOERR_LOCK;
  SimulatedFile& target = FileOf(file);
  int highest = SQLITE_LOCK_NONE;  // of the others
  for (const auto& [other, held] : target.locks) {
    if (other != handle) highest = std::max(highest, held);
  }
  int& held = target.locks[handle];
  if (level <= held) return SQLITE_OK;
  if (level == SQLITE_LOCK_SHARED && highest >= SQLITE_LOCK_PENDING) return SQLITE_BUSY;
  if (level > SQLITE_LOCK_SHARED && highest >= SQLITE_LOCK_RESERVED) return SQLITE_BUSY;
  if (level == SQLITE_LOCK_EXCLUSIVE && highest >= SQLITE_LOCK_SHARED) {
    held = SQLITE_LOCK_PENDING;
    return SQLITE_BUSY;
  }
  held = level;
  return SQLITE_OK;
}

int Unlock(sqlite3_file* file, int level) {
  Handle* handle = Of(file);
  if (!handle->process->dead) FileOf(file).locks[handle] = level;
  return SQLITE_OK;
}

int CheckReservedLock(sqlite3_file* file, int* reserved) {
  *reserved = 0;
  for (const auto& [other, held] : FileOf(file).locks) {
    if (held >= SQLITE_LOCK_RESERVED) *reserved = 1;
  }
  return SQLITE_OK;
}

int FileControl(sqlite3_file* /*file*/, int /*operation*/, void* /*argument*/) {
  return SQLITE_NOTFOUND;
}
int SectorSize(sqlite3_file* /*file*/) { return kSector; }
int DeviceCharacteristics(sqlite3_file* /*file*/) { return SQLITE_IOCAP_POWERSAFE_OVERWRITE; }

int ShmMap(sqlite3_file* file, int region, int size, int extend, void volatile** memory) {
  Handle* handle = Of(file);
  if (handle->process->dead) return SQLITE_IOERR_SHMMAP;
  SimulatedFile& target = FileOf(file);
  if (std::find(target.sharers.begin(), target.sharers.end(), handle) == target.sharers.end()) {
    // Whoever comes first finds it empty, as SQLite's own locking sees to.
    if (target.sharers.empty()) target.shared.clear();
    target.sharers.push_back(handle);
  }
  const auto index = static_cast<size_t>(region);
  if (static_cast<size_t>(size) != kSharedRegion) return SQLITE_IOERR_SHMSIZE;
  *memory = nullptr;
  if (index >= target.shared.size() && extend == 0) return SQLITE_OK;
  while (index >= target.shared.size()) {
    target.shared.push_back(std::make_shared<SharedRegion>());
    target.shared.back()->fill(0);
  }
  handle->shared->push_back(target.shared[index]);
  *memory = target.shared[index]->data();
  return SQLITE_OK;
}

int ShmLock(sqlite3_file* file, int offset, int count, int flags) {
  Handle* handle = Of(file);
  if (handle->process->dead) return SQLITE_IOERR_SHMLOCK;
  auto& locks = FileOf(file).shared_locks;
  const auto from = static_cast<size_t>(offset);
  const size_t end = from + static_cast<size_t>(count);
  if ((flags & SQLITE_SHM_UNLOCK) != 0) {
    for (size_t i = from; i < end; ++i) locks[i].erase(handle);
    return SQLITE_OK;
  }
  const bool exclusive = (flags & SQLITE_SHM_EXCLUSIVE) != 0;
  for (size_t i = from; i < end; ++i) {
    for (const auto& [other, is_exclusive] : locks[i]) {
      if (other != handle && (exclusive || is_exclusive)) return SQLITE_BUSY;
    }
  }
  for (size_t i = from; i < end; ++i) locks[i][handle] = exclusive;
  return SQLITE_OK;
}

void ShmBarrier(sqlite3_file* /*file*/) {}

int ShmUnmap(sqlite3_file* file, int /*remove*/) {
  Handle* handle = Of(file);
  SimulatedFile& target = FileOf(file);
  std::erase(target.sharers, handle);
  for (auto& holders : target.shared_locks) holders.erase(handle);
  return SQLITE_OK;
}

constexpr sqlite3_io_methods kMethods = {2,
                                         Close,
                                         Read,
                                         Write,
                                         Truncate,
                                         Sync,
                                         FileSize,
                                         Lock,
                                         Unlock,
                                         CheckReservedLock,
                                         FileControl,
                                         SectorSize,
                                         DeviceCharacteristics,
                                         ShmMap,
                                         ShmLock,
                                         ShmBarrier,
                                         ShmUnmap,
                                         nullptr,
                                         nullptr};

Process& Of(sqlite3_vfs* vfs) { return *static_cast<Process*>(vfs->pAppData); }

int Open(sqlite3_vfs* vfs, const char* path, sqlite3_file* file, int flags, int* flags_out) {
  Process& process = Of(vfs);
  file->pMethods = nullptr;
  if (process.dead) return SQLITE_CANTOPEN;
  std::shared_ptr<SimulatedFile> found;
  if (path == nullptr) {
    found = std::make_shared<SimulatedFile>();  // a temporary one, gone when it is closed
  } else if (const auto entry = process.files->find(path); entry != process.files->end()) {
    found = entry->second;
  } else {
    if ((flags & SQLITE_OPEN_CREATE) == 0) return SQLITE_CANTOPEN;
    // A new name is durable at once; what is in the file is not.
    found = (*process.files)[path] = std::make_shared<SimulatedFile>();
  }
  auto* handle = new (file) Handle;
  handle->base.pMethods = &kMethods;
  handle->process = &process;
  handle->file = new std::shared_ptr<SimulatedFile>(std::move(found));
  handle->shared = new std::vector<std::shared_ptr<SharedRegion>>();
  process.handles.push_back(handle);
  if (flags_out != nullptr) *flags_out = flags;
  return SQLITE_OK;
}

int Delete(sqlite3_vfs* vfs, const char* path, int /*sync*/) {
  Process& process = Of(vfs);
  if (process.Judge(&process.change, &process.changes) != Verdict::done) {
    return SQLITE_IOERR_DELETE;
  }
  return process.files->erase(path) > 0 ? SQLITE_OK : SQLITE_IOERR_DELETE_NOENT;
}

int Access(sqlite3_vfs* vfs, const char* path, int /*flags*/, int* result) {
  *result = Of(vfs).files->contains(path) ? 1 : 0;
  return SQLITE_OK;
}

int FullPathname(sqlite3_vfs* /*vfs*/, const char* path, int size, char* out) {
  sqlite3_snprintf(size, out, "%s", path);
  return SQLITE_OK;
}

int Randomness(sqlite3_vfs* vfs, int size, char* out) {
  for (int i = 0; i < size; ++i) out[i] = static_cast<char>(Of(vfs).random->Next());
  return size;
}

// Nobody else runs meanwhile, so there is no use in waiting.
int Sleep(sqlite3_vfs* /*vfs*/, int microseconds) { return microseconds; }

int CurrentTime(sqlite3_vfs* vfs, sqlite3_int64* out) {
  constexpr sqlite3_int64 kUnixEpochInJulianMilliseconds = 210866760000000;
  *out = kUnixEpochInJulianMilliseconds + ToNanoseconds(Of(vfs).clock->Now()) / 1'000'000;
  return SQLITE_OK;
}

int LastError(sqlite3_vfs* /*vfs*/, int /*size*/, char* /*out*/) { return 0; }

}  // namespace

void DiskProcess::Implementation::Die() {
  dead = true;
  for (const Handle* handle : handles) (*handle->file)->Release(handle);
}

DiskProcess::DiskProcess(SimulatedDisk* disk, Clock* clock)
    : implementation_(std::make_unique<Implementation>()) {
  static std::atomic<int64_t> counter{0};
  Implementation& process = *implementation_;
  process.disk = disk;
  process.clock = clock;
  process.files = &disk->files_;
  process.random = disk->random_;
  process.name = "simulated-" + std::to_string(++counter);
  process.vfs.iVersion = 2;
  process.vfs.szOsFile = sizeof(Handle);
  process.vfs.mxPathname = 256;
  process.vfs.zName = process.name.c_str();
  process.vfs.pAppData = &process;
  process.vfs.xOpen = Open;
  process.vfs.xDelete = Delete;
  process.vfs.xAccess = Access;
  process.vfs.xFullPathname = FullPathname;
  process.vfs.xRandomness = Randomness;
  process.vfs.xSleep = Sleep;
  process.vfs.xGetLastError = LastError;
  process.vfs.xCurrentTimeInt64 = CurrentTime;
  sqlite3_vfs_register(&process.vfs, 0);
}

DiskProcess::~DiskProcess() { sqlite3_vfs_unregister(&implementation_->vfs); }

const std::string& DiskProcess::vfs() const { return implementation_->name; }
void DiskProcess::FailAt(int64_t operation, DiskFault fault) {
  implementation_->change = {implementation_->changes + operation, fault, false};
}
void DiskProcess::FailReadAt(int64_t operation, DiskFault fault) {
  implementation_->read = {implementation_->reads + operation, fault, false};
}
void DiskProcess::Mend() { implementation_->change = implementation_->read = {}; }
void DiskProcess::Die() { implementation_->Die(); }
bool DiskProcess::dead() const { return implementation_->dead; }
bool DiskProcess::has_failed() const { return implementation_->failed; }
int64_t DiskProcess::operations() const { return implementation_->changes; }
int64_t DiskProcess::reads() const { return implementation_->reads; }

SimulatedDisk::SimulatedDisk(RandomSource* random) : random_(random) {}
SimulatedDisk::~SimulatedDisk() = default;

void SimulatedDisk::LosePower() {
  for (auto& [path, file] : files_) file->LosePower(random_);
}

int64_t SimulatedDisk::bytes() const {
  size_t total = 0;
  for (const auto& [path, file] : files_) total += file->content.size();
  return static_cast<int64_t>(total);
}

void SimulatedDisk::Damage(const std::string& path, size_t offset) {
  const auto found = files_.find(path);
  if (found == files_.end() || offset >= found->second->content.size()) return;
  for (std::string* bytes : {&found->second->content, &found->second->flushed}) {
    if (offset < bytes->size()) (*bytes)[offset] = static_cast<char>(~(*bytes)[offset]);
  }
}

size_t SimulatedDisk::SizeOf(const std::string& path) const {
  const auto found = files_.find(path);
  return found == files_.end() ? 0 : found->second->content.size();
}

}  // namespace trackbed
