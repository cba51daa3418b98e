#include "trackbed/executors/artifact_keeper.hpp"

namespace trackbed {

Status ArtifactKeeper::Start(const AttemptSpec& spec) {
  folders_[spec.key] = spec.folder;
  Status status = executor_->Start(spec);
  if (!status.ok()) folders_.erase(spec.key);
  return status;
}

Status ArtifactKeeper::Adopt(const AttemptKey& key, const std::string& folder) {
  folders_[key] = folder;
  Status status = executor_->Adopt(key, folder);
  if (!status.ok()) folders_.erase(key);
  return status;
}

Status ArtifactKeeper::Observe(const AttemptKey& key, const std::string& folder) {
  folders_[key] = folder;
  Status status = executor_->Observe(key, folder);
  if (!status.ok()) folders_.erase(key);
  return status;
}

Status ArtifactKeeper::Poll(std::vector<AttemptReport>* reports) {
  const size_t first = reports->size();
  TRACKBED_RETURN_IF_ERROR(executor_->Poll(reports));
  for (size_t i = first; i < reports->size(); ++i) {
    AttemptReport& report = (*reports)[i];
    if (report.kind == AttemptReport::Kind::started) continue;
    const auto folder = folders_.extract(report.key);
    if (folder.empty() || report.kind != AttemptReport::Kind::exited || report.exit_code != 0 ||
        report.signal != 0 || report.output_digest.empty()) {
      continue;
    }
    const Status kept = Keep(report, folder.mapped() + "/outputs");
    if (kept.ok()) continue;
    report.kind = AttemptReport::Kind::lost;
    report.message = "its outputs could not be kept: " + std::string(Message(kept));
  }
  return absl::OkStatus();
}

Status ArtifactKeeper::Keep(const AttemptReport& report, const std::string& folder) {
  TRACKBED_ASSIGN_OR_RETURN(const bool known, store_->Has(report.output_digest));
  return known ? absl::OkStatus() : store_->Put(report.output_digest, folder);
}

}  // namespace trackbed
