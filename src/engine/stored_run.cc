// Runs as the store has them.
#include "engine/stored_run.hpp"

#include <absl/strings/str_cat.h>

#include <memory>
#include <string>
#include <utility>

#include "engine/map_run.hpp"
#include "trackbed/engine/engine.hpp"
#include "trackbed/pipeline/writer.hpp"

namespace trackbed {
namespace {

// Of the run of a map, what it was made from; it is in its first event.
StatusOr<MapBinding> ReadMapBinding(Store& store, const RunRecord& record) {
  RunSubmitted submitted;
  Status decoded = absl::OkStatus();
  TRACKBED_RETURN_IF_ERROR(store.ReadSomeEvents(
      record.number, 1, 1,
      [&](uint64_t, const Event& event) { decoded = Decode(event.detail, &submitted); }));
  TRACKBED_RETURN_IF_ERROR(decoded);
  if (submitted.map) return *std::move(submitted.map);
  return DataLoss(
      absl::StrCat("run ", record.id, ": its first event does not say which map it is of"));
}

Status DamagedPipeline(const RunRecord& run, const Status& status) {
  return DataLoss(
      absl::StrCat("run ", run.id, ": its pipeline cannot be read: ", AbslView(Message(status))));
}

}  // namespace

StatusOr<Pipeline> ReadPipelineOf(Store& store, const RunRecord& run) {
  const StatusOr<std::string> encoded = store.ReadPipeline(run.version);
  if (absl::IsNotFound(encoded.status())) return DamagedPipeline(run, encoded.status());
  if (!encoded.ok()) return encoded.status();
  StatusOr<Pipeline> pipeline = DecodePipeline(*encoded);
  if (pipeline.ok() && IsMapRun(run.id)) {
    TRACKBED_ASSIGN_OR_RETURN(const MapBinding map, ReadMapBinding(store, run));
    pipeline = PipelineOfMap(*pipeline, map);
  }
  if (!pipeline.ok()) return DamagedPipeline(run, pipeline.status());
  return pipeline;
}

Status ReadRunState(Store& store, const RunRecord& record, std::optional<RunState>* state) {
  TRACKBED_ASSIGN_OR_RETURN(Pipeline pipeline, ReadPipelineOf(store, record));
  StatusOr<Graph> graph =
      IsMapRun(record.id) ? GraphOfMap(pipeline.tasks.size()) : Graph::Build(pipeline);
  if (!graph.ok()) return DamagedPipeline(record, graph.status());
  state->emplace(record.id, std::make_shared<const Pipeline>(std::move(pipeline)),
                 *std::move(graph));
  Status applied = absl::OkStatus();
  uint64_t expected = 1;
  TRACKBED_RETURN_IF_ERROR(
      store.ReadEvents(record.number, 1, [&](uint64_t sequence, const Event& event) {
        if (!applied.ok()) return;
        if (sequence != expected++) {
          applied =
              DataLoss(absl::StrCat("run ", record.id, ": event ", expected - 1, " is missing"));
          return;
        }
        applied = (*state)->Apply(event);
      }));
  if (applied.ok() && expected == 1) {
    return DataLoss(absl::StrCat("run ", record.id, " has no events"));
  }
  return applied;
}

StatusOr<StoredRun> LoadRun(Store& store, const RunId& id) {
  TRACKBED_ASSIGN_OR_RETURN(RunRecord record, store.FindRun(id));
  std::optional<RunState> state;
  TRACKBED_RETURN_IF_ERROR(ReadRunState(store, record, &state));
  return StoredRun{std::move(record), std::make_shared<const RunState>(*std::move(state))};
}

}  // namespace trackbed
