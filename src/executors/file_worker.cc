#include "executors/file_worker.hpp"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <chrono>

#include "executors/host_files.hpp"

namespace trackbed {

FileWorker::~FileWorker() {
  if (thread_.joinable()) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      ending_ = true;
    }
    changed_.notify_one();
    thread_.join();
  }
  if (wake_ >= 0) close(wake_);
}

Status FileWorker::Initialize() {
  wake_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  return wake_ >= 0 ? absl::OkStatus() : HostStatus(errno, "cannot make a descriptor");
}

void FileWorker::Submit(std::function<void()> work, std::function<void()> done) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    waiting_.push_back({std::move(work), std::move(done)});
  }
  if (thread_.joinable()) {
    changed_.notify_one();
    return;
  }
  // The host's signals are for its own threads.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  thread_ = std::thread([this] { Work(); });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

void FileWorker::Work() {
  std::unique_lock<std::mutex> lock(mutex_);
  while (true) {
    // A day at a time: to wait without a limit would need a newer C++ run time than all else does.
    while (!ending_ && waiting_.empty()) changed_.wait_for(lock, std::chrono::hours(24));
    if (ending_) return;
    Job job = std::move(waiting_.front());
    waiting_.pop_front();
    lock.unlock();
    job.work();
    lock.lock();
    finished_.push_back(std::move(job));
    const uint64_t one = 1;
    [[maybe_unused]] const ssize_t written = write(wake_, &one, sizeof(one));
  }
}

void FileWorker::Run() {
  uint64_t ignored = 0;
  [[maybe_unused]] const ssize_t drained = read(wake_, &ignored, sizeof(ignored));
  std::vector<Job> finished;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    finished.swap(finished_);
  }
  for (Job& job : finished) job.done();
}

}  // namespace trackbed
