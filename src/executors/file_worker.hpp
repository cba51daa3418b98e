// Work with files that takes longer than an executor's caller may wait: copying what a task sees,
// digesting what it left.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "trackbed/base/status.hpp"

namespace trackbed {

// Does one job after another on a thread of its own, which starts with the first job and handles no
// signals. Everything but the jobs' `work` happens on the thread that calls.
class FileWorker {
 public:
  FileWorker() = default;
  ~FileWorker();  // waits for the job under way; the others are dropped
  FileWorker(const FileWorker&) = delete;
  FileWorker& operator=(const FileWorker&) = delete;

  Status Initialize();

  // Run calls `done` once `work` has been done on the thread.
  void Submit(std::function<void()> work, std::function<void()> done);
  void Run();
  // Readable when Run has something to do.
  int WakeDescriptor() const { return wake_; }

 private:
  struct Job {
    std::function<void()> work;
    std::function<void()> done;
  };
  void Work();

  int wake_ = -1;
  std::thread thread_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool ending_ = false;
  std::deque<Job> waiting_;
  std::vector<Job> finished_;
};

}  // namespace trackbed
