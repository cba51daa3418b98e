// An executor whose attempts succeed only once their output files are kept in an artifact store.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "trackbed/data/artifact_store.hpp"
#include "trackbed/executors/executor.hpp"

namespace trackbed {

// Passes everything on to another executor. Of attempts that exit with 0 and left files, Poll puts
// these into the store before it hands out the report; when that fails, the attempt is reported as
// lost, with the reason. Poll may therefore take as long as copying takes.
class ArtifactKeeper final : public Executor {
 public:
  // Neither is owned; both must outlive it.
  ArtifactKeeper(Executor* executor, ArtifactStore* store) : executor_(executor), store_(store) {}

  Status Start(const AttemptSpec& spec) override;
  Status Adopt(const AttemptKey& key, const std::string& folder) override;
  Status Observe(const AttemptKey& key, const std::string& folder) override;
  Status Poll(std::vector<AttemptReport>* reports) override;
  Status Stop(const AttemptKey& key, StopMode mode) override { return executor_->Stop(key, mode); }
  Status AddNode(const NodeDescription& node) override { return executor_->AddNode(node); }
  std::vector<std::string> SilentNodes() const override { return executor_->SilentNodes(); }
  Status GiveUp(const AttemptKey& key) override { return executor_->GiveUp(key); }
  int WakeDescriptor() const override { return executor_->WakeDescriptor(); }
  int MaxClusterSize() const override { return executor_->MaxClusterSize(); }

 private:
  Status Keep(const AttemptReport& report, const std::string& folder);

  Executor* executor_;
  ArtifactStore* store_;
  std::map<AttemptKey, std::string> folders_;  // of attempts under way
};

}  // namespace trackbed
