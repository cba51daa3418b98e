// Where the files of runs lie below a home folder. Only names; nothing here touches the disk.
//
//   trackbed.db                      the store
//   runs/RUN/TASK/ATTEMPT/           work/ outputs/ output log …
//     members/sub1/                  the same of a member of a gang; main1 has its attempt's folder
//   sources/DIGEST/                  code, as it was when a run was submitted
//   folders/PIPELINE/NAME/           folders that name no path of their own
//   pipelines/PIPELINE/              what every run of a pipeline shares: /pipeline/vfroot
//   results/PIPELINE/                published results of the latest successful run
//   secrets/                         secret://file/…
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "trackbed/engine/event.hpp"
#include "trackbed/executors/executor.hpp"

namespace trackbed {

class Workspace {
 public:
  // `home` is absolute.
  explicit Workspace(std::string home) : home_(std::move(home)) {}

  const std::string& home() const { return home_; }
  std::string Database() const { return home_ + "/trackbed.db"; }
  std::string RunFolder(std::string_view run) const { return Join("/runs/", run); }
  std::string AttemptFolder(std::string_view run, std::string_view task, uint32_t attempt) const;
  // Of a member of a gang, by its host name.
  std::string MemberFolder(std::string_view run, std::string_view task, uint32_t attempt,
                           std::string_view host) const;
  std::string Sources() const { return home_ + "/sources"; }
  std::string FolderOf(std::string_view pipeline, std::string_view name) const;
  std::string PipelineFolder(std::string_view pipeline) const {
    return Join("/pipelines/", pipeline);
  }
  std::string Results(std::string_view pipeline) const { return Join("/results/", pipeline); }
  std::string Secrets() const { return home_ + "/secrets"; }

 private:
  std::string Join(std::string_view middle, std::string_view name) const;
  std::string home_;
};

// By which the other members of a gang reach one: "main1", "sub1", "sub2", ….
std::string GangHost(size_t rank);

AttemptKey MakeAttemptKey(std::string_view run, std::string_view task, uint32_t attempt);

}  // namespace trackbed
