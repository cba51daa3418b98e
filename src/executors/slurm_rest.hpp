// A Slurm cluster by its REST service, slurmrestd. The version of its interface is agreed on before
// the first question, and again when it does not know that any more.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "executors/http_transport.hpp"
#include "executors/slurm_cluster.hpp"
#include "trackbed/executors/slurm_executor.hpp"

namespace trackbed {

class SlurmRest : public SlurmCluster {
 public:
  // kInvalidArgument when the endpoint is none; kFailedPrecondition without libcurl, or without
  // the file of the token. Does not ask the service.
  static StatusOr<std::unique_ptr<SlurmRest>> Create(const SlurmRestOptions& options);

  SlurmRest(SlurmRestOptions options, std::unique_ptr<HttpTransport> transport);

  Status Submit(const std::vector<std::string>& arguments,
                std::function<void(SubmitAnswer)> done) override;
  Status Query(std::function<void(StatusOr<std::multimap<std::string, JobLine>>)> done) override;
  // Would need slurmdbd: kNotFound.
  Status QueryAccounts(const std::vector<std::string>& ids,
                       std::function<void(StatusOr<std::map<std::string, JobLine>>)> done) override;
  Status Cancel(CancelMode mode, const std::vector<SlurmTarget>& jobs,
                std::function<void(Status)> done) override;
  void Wait(int wake, Duration timeout) override;

  // Asks whether the controller behind the service answers; its version: "v0.0.38, Slurm 22.05.8".
  void Ping(std::function<void(StatusOr<std::string>)> done);
  // The names of partitions.
  void Partitions(std::function<void(StatusOr<std::vector<std::string>>)> done);

 private:
  struct Question {
    std::string method;
    std::string path;  // below the version's; complete when it begins with "/"
    std::function<StatusOr<std::string>()> body;  // known once the version is; empty: none
    std::function<void(HttpOutcome)> done;
  };

  void Ask(Question question);
  void Begin();
  void Send(Question question);
  void Negotiate();
  void OnDescription(const HttpOutcome& outcome);
  StatusOr<std::vector<std::string>> Headers() const;

  void CancelOne(CancelMode mode, const SlurmTarget& job, std::function<void(Status)> done);
  void CancelNamed(const std::string& name, const std::function<void(Status)>& done);
  void Delete(CancelMode mode, const std::string& id, std::function<void(Status)> done);

  const SlurmRestOptions options_;
  const std::unique_ptr<HttpTransport> transport_;
  int version_ = 0;  // 0: not agreed yet
  bool negotiating_ = false;
  size_t in_flight_ = 0;
  std::deque<Question> waiting_;
  std::deque<std::function<void()>> due_;  // what is known without asking
};

// "unix:///PATH", "http://HOST:PORT" or "https://HOST:PORT"; kInvalidArgument. Where it is empty
// the options are for Slurm's commands.
Status CheckRestOptions(const SlurmRestOptions& options);

}  // namespace trackbed
