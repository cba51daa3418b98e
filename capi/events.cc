// Event streams: of one run from the store, of all runs as they happen.
#include <unistd.h>

#include <atomic>
#include <deque>

#include "engine.hpp"
#include "trackbed/engine/event_json.hpp"
#include "trackbed/engine/run_queries.hpp"
#include "trackbed/pipeline/writer.hpp"

using namespace trackbed;        // NOLINT(google-build-using-namespace)
using namespace trackbed::capi;  // NOLINT(google-build-using-namespace)

namespace {

constexpr size_t kUsualCapacity = 65536;
constexpr size_t kJsonBatch = 1024;

struct KeptEvent {
  uint64_t sequence = 0;
  RunId run;
  std::string task;
  Event event;
};

}  // namespace

struct trackbed_events {
  pid_t process = 0;
  EngineCore* core = nullptr;  // null once the engine is closed
  std::unique_ptr<Signal> signal;
  std::vector<KeptEvent> batch;  // what the caller was given last

  // Of one run:
  int64_t run = 0;  // its number; 0: all runs
  RunId run_id;
  std::shared_ptr<const Pipeline> pipeline;
  uint64_t next = 1;
  std::atomic<bool> told{false};  // that there is more; one word of it is enough

  // Of all:
  size_t capacity = kUsualCapacity;
  std::mutex mutex;  // of what follows
  std::deque<KeptEvent> queue;
  uint64_t lost = 0;
};

namespace {

Status CheckStream(const trackbed_events* events) {
  if (events == nullptr) return MissingArgument("events");
  if (events->core == nullptr && events->process == ::getpid()) {
    return FailedPrecondition("the engine of these events is closed");
  }
  if (events->process != ::getpid()) {
    return FailedPrecondition("this stream belongs to the parent process");
  }
  return CheckCore(*events->core, events->process);
}

Status TakeStored(trackbed_events* events, size_t limit) {
  // Before reading, so that what comes meanwhile sets it again.
  events->signal->Clear();
  events->told = false;
  TRACKBED_RETURN_IF_ERROR(WithReader(events->core, [&](Store& store) {
    return store.ReadSomeEvents(
        events->run, events->next, limit, [&](uint64_t sequence, Event event) {
          const std::vector<Task>& tasks = events->pipeline->tasks;
          const bool has_task = event.task < tasks.size();
          events->batch.push_back(
              {sequence, {}, has_task ? tasks[event.task].name : "", std::move(event)});
        });
  }));
  if (!events->batch.empty()) events->next = events->batch.back().sequence + 1;
  if (events->batch.size() == limit) events->signal->Set();
  return absl::OkStatus();
}

Status TakeQueued(trackbed_events* events, size_t limit) {
  const std::lock_guard lock(events->mutex);
  if (events->lost > 0) {
    return DataLoss(std::to_string(std::exchange(events->lost, 0)) +
                    " events came while this stream was full; the streams of the runs have them");
  }
  const size_t count = std::min(limit, events->queue.size());
  for (size_t i = 0; i < count; ++i) {
    events->batch.push_back(std::move(events->queue.front()));
    events->queue.pop_front();
  }
  if (events->queue.empty()) events->signal->Clear();
  return absl::OkStatus();
}

Status Take(trackbed_events* events, size_t limit) {
  TRACKBED_RETURN_IF_ERROR(CheckStream(events));
  events->batch.clear();
  if (limit == 0) return absl::OkStatus();
  return events->run != 0 ? TakeStored(events, limit) : TakeQueued(events, limit);
}

const RunId& RunOf(const trackbed_events& events, const KeptEvent& kept) {
  return events.run != 0 ? events.run_id : kept.run;
}

}  // namespace

namespace trackbed::capi {

void Publish(EngineCore* core, const RunState& run, uint64_t sequence, const Event& event) {
  if (event.type == EventType::run_finished && core->led) core->ended->Set();
  if (core->sink != nullptr) core->sink->Tell(run, sequence, event);
  const std::lock_guard lock(core->streams_mutex);
  for (trackbed_events* stream : core->streams) {
    if (stream->run != 0) {
      if (stream->run_id == run.id() && !stream->told.exchange(true)) stream->signal->Set();
      continue;
    }
    const std::lock_guard queue_lock(stream->mutex);
    if (stream->queue.size() >= stream->capacity) {
      ++stream->lost;
    } else {
      const bool has_task = event.task != kNoTask;
      stream->queue.push_back(
          {sequence, run.id(), has_task ? run.pipeline().tasks[event.task].name : "", event});
    }
    // More than one would only say the same.
    if (stream->queue.size() == 1 || stream->lost == 1) stream->signal->Set();
  }
}

void DetachStreams(EngineCore* core) {
  const std::lock_guard lock(core->streams_mutex);
  for (trackbed_events* stream : core->streams) {
    stream->core = nullptr;
    stream->signal->Set();
  }
  core->streams.clear();
}

}  // namespace trackbed::capi

trackbed_status trackbed_events_open(trackbed_engine* engine,
                                     const trackbed_events_options* options, trackbed_events** out,
                                     trackbed_error** error) noexcept {
  return Guard(error, [&]() -> Status {
    TRACKBED_RETURN_IF_ERROR(CheckEngine(engine));
    TRACKBED_NEED(out);
    trackbed_events_options read;
    TRACKBED_RETURN_IF_ERROR(ReadOptions(options, "options", &read));
    EngineCore* core = engine->core;
    auto events = std::make_unique<trackbed_events>();
    events->process = engine->process;
    events->core = core;
    TRACKBED_ASSIGN_OR_RETURN(events->signal, Signal::Create());
    std::string given;
    TRACKBED_RETURN_IF_ERROR(ReadText(read.run, "options.run", &given));
    if (given.empty()) {
      if (read.capacity != 0) events->capacity = read.capacity;
    } else {
      events->next = std::max<uint64_t>(read.from, 1);
      TRACKBED_RETURN_IF_ERROR(WithReader(core, [&](Store& store) -> Status {
        TRACKBED_ASSIGN_OR_RETURN(events->run_id, ResolveRun(store, given));
        TRACKBED_ASSIGN_OR_RETURN(const RunRecord record, store.FindRun(events->run_id));
        events->run = record.number;
        TRACKBED_ASSIGN_OR_RETURN(Pipeline pipeline, ReadPipelineOf(store, record));
        events->pipeline = std::make_shared<const Pipeline>(std::move(pipeline));
        return absl::OkStatus();
      }));
      events->signal->Set();
    }
    const std::lock_guard lock(core->streams_mutex);
    core->streams.push_back(events.get());
    *out = events.release();
    return absl::OkStatus();
  });
}

trackbed_status trackbed_events_next(trackbed_events* events, trackbed_event* out,
                                     size_t event_size, size_t capacity, size_t* count,
                                     trackbed_error** error) noexcept {
  return Guard(error, [&]() -> Status {
    TRACKBED_NEED(count);
    TRACKBED_RETURN_IF_ERROR(CheckItems(out, event_size, capacity, "out"));
    TRACKBED_RETURN_IF_ERROR(Take(events, capacity));
    for (size_t i = 0; i < events->batch.size(); ++i) {
      const KeptEvent& kept = events->batch[i];
      CopyOut(GiveEvent(RunOf(*events, kept), kept.task, kept.sequence, kept.event), event_size,
              At(out, event_size, i));
    }
    *count = events->batch.size();
    return absl::OkStatus();
  });
}

trackbed_status trackbed_events_next_json(trackbed_events* events, size_t limit,
                                          trackbed_bytes* lines, size_t* count,
                                          trackbed_error** error) noexcept {
  return Guard(error, [&]() -> Status {
    TRACKBED_NEED(lines);
    TRACKBED_RETURN_IF_ERROR(Take(events, limit == 0 ? kJsonBatch : limit));
    std::string text;
    for (const KeptEvent& kept : events->batch) {
      text += EventToJson(RunOf(*events, kept), kept.task, kept.sequence, kept.event);
      text += '\n';
    }
    TRACKBED_RETURN_IF_ERROR(GiveBytes(text, lines));
    if (count != nullptr) *count = events->batch.size();
    return absl::OkStatus();
  });
}

int trackbed_events_descriptor(const trackbed_events* events) noexcept {
  return events == nullptr ? -1 : events->signal->descriptor();
}

void trackbed_events_close(trackbed_events* events) noexcept {
  if (events == nullptr) return;
  const std::unique_ptr<trackbed_events> owned(events);
  if (events->process != ::getpid() || events->core == nullptr) return;
  (void)Guard(nullptr, [&]() -> Status {
    const std::lock_guard lock(events->core->streams_mutex);
    std::erase(events->core->streams, events);
    return absl::OkStatus();
  });
}
