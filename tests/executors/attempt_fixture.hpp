// What the executor's tests share: a scratch folder, attempts in it, and waiting with a deadline.
#pragma once

#include <poll.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include "support/catch.hpp"
#include "trackbed/executors/process_executor.hpp"

namespace trackbed {

inline std::string ReadAll(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

inline void WriteAll(const std::string& path, const std::string& text) {
  std::filesystem::create_directories(std::filesystem::path(path).parent_path());
  std::ofstream(path, std::ios::binary) << text;
}

inline bool Eventually(const std::function<bool()>& holds, int timeout_ms = 20000) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(timeout_ms);
  while (!holds()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    poll(nullptr, 0, 2);
  }
  return true;
}

class ScratchFolder {
 public:
  ScratchFolder() {
    char name[] = "/tmp/trackbed-test-XXXXXX";
    if (mkdtemp(name) != nullptr) path_ = name;
  }
  ~ScratchFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;
  const std::string& path() const { return path_; }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

inline std::unique_ptr<ProcessExecutor> MakeExecutor(ProcessExecutorOptions options = {}) {
  auto executor = ProcessExecutor::Create(std::move(options));
  INFO(executor.status());
  REQUIRE(executor.ok());
  return *std::move(executor);
}

inline AttemptSpec ScriptSpec(const ScratchFolder& scratch, const std::string& script,
                              const std::string& key = "run/task/1") {
  AttemptSpec spec;
  spec.key = key;
  spec.folder = scratch / ("attempts/" + key);
  spec.command = {script};
  return spec;
}

// Polls until the attempt ended; its last report. *started counts the reports of kind `started`.
inline AttemptReport WaitForEnd(Executor* executor, const AttemptKey& key, int* started = nullptr,
                                int timeout_ms = 60000) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(timeout_ms);
  while (std::chrono::steady_clock::now() < deadline) {
    std::vector<AttemptReport> reports;
    REQUIRE(executor->Poll(&reports).ok());
    for (AttemptReport& report : reports) {
      if (report.key != key) continue;
      if (report.kind != AttemptReport::Kind::started) return report;
      if (started != nullptr) ++*started;
    }
    pollfd wake{executor->WakeDescriptor(), POLLIN, 0};
    poll(&wake, 1, 1000);
  }
  FAIL("no end of " << key << " in time");
  return {};
}

inline AttemptReport RunToEnd(Executor* executor, const AttemptSpec& spec) {
  const Status status = executor->Start(spec);
  INFO(status);
  REQUIRE(status.ok());
  return WaitForEnd(executor, spec.key);
}

inline std::string LogOf(const AttemptSpec& spec) { return ReadAll(spec.folder + "/log"); }

}  // namespace trackbed
