// Images that are pulled to one container engine: once for all attempts that wait for one.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "executors/container_connection.hpp"
#include "executors/steady_time.hpp"
#include "trackbed/executors/container_executor.hpp"

namespace trackbed {

// Reads what an engine says while it pulls: JSON objects one after another, a line each.
class PullReader {
 public:
  void Feed(std::string_view bytes);
  // Why it failed; empty: it did not.
  const std::string& error() const { return error_; }
  // How far it is: "2 of 5 layers, 34 of 120 MB". Empty before anything was said.
  std::string Describe() const;

 private:
  struct Layer {
    int64_t bytes = 0;
    int64_t size = 0;  // 0: not known
    bool is_there = false;
  };
  void TakeLine();

  std::string line_;
  std::string error_;
  std::string last_;
  std::map<std::string, Layer> layers_;
};

class ImagePulls {
 public:
  // Why the image is not there; empty: it is. `reached` is false when only the engine did not
  // answer, so that it may be tried again.
  using Done = std::function<void(const std::string& error, bool reached)>;

  ImagePulls(const ContainerExecutorOptions* options, std::string node,
             ContainerConnection* connection);

  // Calls `done`, perhaps at once, when the image was pulled, or could not be.
  void Pull(const std::string& image, Done done);

 private:
  struct UnderWay {
    std::vector<Done> waiting;
    std::shared_ptr<PullReader> reader;
    std::string user;
    SteadyTime told{};
  };
  void OnBytes(const std::string& image, std::string_view bytes);
  void OnDone(const std::string& image, const HttpOutcome& outcome);
  void Finish(const std::string& image, const std::string& error, bool reached);
  void Tell(const std::string& image, const std::string& what) const;

  const ContainerExecutorOptions* const options_;
  const std::string node_;
  ContainerConnection* const connection_;
  std::map<std::string, UnderWay> under_way_;
};

}  // namespace trackbed
