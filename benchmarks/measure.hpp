// What the benchmarks measure with: time, heap, and the flush of the disk.
#pragma once

#include <fcntl.h>
#include <time.h>
#include <unistd.h>
#if defined(__GLIBC__)
#include <malloc.h>
#endif

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <string>
#include <vector>

namespace trackbed::benchmark {

class Stopwatch {
 public:
  double Seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  }
  // Of the processor, for this thread: what else the machine does is left out, and so is waiting.
  double ProcessorSeconds() const { return ThreadTime() - thread_start_; }

 private:
  static double ThreadTime() {
    struct timespec time{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
  }
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  double thread_start_ = ThreadTime();
};

// Of an even number of values the lower of the two in the middle; 0 of none.
inline double Median(std::vector<double> values) {
  if (values.empty()) return 0;
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>((values.size() - 1) / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

// Bytes in use on the heap, what malloc itself needs included; 0 where it does not say.
inline size_t HeapInUse() {
#if defined(__GLIBC__)
  const struct mallinfo2 info = mallinfo2();
  return info.uordblks + info.hblkhd;
#else
  return 0;
#endif
}

// Gives free memory back to the system, so that every measurement starts alike.
inline void TrimHeap() {
#if defined(__GLIBC__)
  malloc_trim(0);
#endif
}

// Seconds that the disk takes to make 4 KiB durable.
struct FlushTimes {
  std::vector<double> append;     // at the end of a growing file
  std::vector<double> overwrite;  // within a file, as SQLite's log mostly does
};

// Measures each `count` times in `folder` and adds to *times; false when the file cannot be
// written.
inline bool MeasureFlush(const std::string& folder, int count, FlushTimes* times) {
  const std::string path = folder + "/flush";
  const int file = ::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (file < 0) return false;
  std::array<char, 4096> page{};
  bool ok = true;
  for (std::vector<double>* pass : {&times->append, &times->overwrite}) {
    for (int i = 0; ok && i < count; ++i) {
      page.fill(static_cast<char>(i + 1));
      const Stopwatch watch;
      ok = ::pwrite(file, page.data(), page.size(), static_cast<off_t>(i) * 4096) == 4096 &&
           ::fdatasync(file) == 0;
      pass->push_back(watch.Seconds());
    }
  }
  ::close(file);
  ::unlink(path.c_str());
  return ok;
}

}  // namespace trackbed::benchmark
