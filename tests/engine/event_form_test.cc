// Whole events as trackbed.v1.Event, and back.
#include "support/catch.hpp"
#include "trackbed/engine/event.hpp"

namespace trackbed {
namespace {

Event MakeEvent(EventType type, TaskIndex task, uint32_t attempt, std::string detail) {
  return Event{FromNanoseconds(1'700'000'000'123'456'789), task, attempt, type, std::move(detail)};
}

TEST_CASE("an event of every type comes back as it went") {
  RunSubmitted submitted;
  submitted.parameters = {{"alpha", 0.5}, {"mode", std::string("fast")}, {"n", int64_t{3}}};
  submitted.seed = UINT64_MAX;
  AttemptEnded ended;
  ended.reason = FailureReason::signal;
  ended.signal = 9;
  ended.outputs = {{"ok", true}};
  ended.retry_at = FromNanoseconds(5);
  TaskCached cached;
  cached.cache_fields = {{"script", "true"}, {"script", "order matters"}};
  cached.result.run = "other-run";
  const Event events[] = {
      MakeEvent(EventType::run_submitted, kNoTask, 0, Encode(submitted)),
      MakeEvent(EventType::run_resumed, kNoTask, 0, ""),
      MakeEvent(EventType::run_cancel_requested, kNoTask, 0, ""),
      MakeEvent(EventType::run_retried, kNoTask, 0, Encode(RunRetried{{0, 7}})),
      MakeEvent(EventType::run_finished, kNoTask, 0, Encode(RunFinished{RunStatus::failed})),
      MakeEvent(EventType::attempt_intended, 0, 1,
                Encode(AttemptIntended{"", "asked", {}, {}, "", {}})),
      MakeEvent(EventType::attempt_succeeded, 3, 2, ""),
      MakeEvent(EventType::attempt_failed, 3, 2, Encode(ended)),
      MakeEvent(EventType::attempt_cancelled, 3, 2, Encode(ended)),
      MakeEvent(EventType::attempt_unknown, 3, 2,
                Encode(AttemptUnknown{{"a", "b"}, FromNanoseconds(7)})),
      MakeEvent(EventType::attempt_known, 3, 2, ""),
      MakeEvent(EventType::task_skipped, 4, 0,
                Encode(TaskSkipped{SkipReason::condition, "not: x"})),
      MakeEvent(EventType::task_cached, 5, 0, Encode(cached)),
      MakeEvent(EventType::task_failed, 6, 0, Encode(ended)),
  };
  for (const Event& event : events) {
    CAPTURE(std::string(ToString(event.type)));
    const StatusOr<std::string> bytes = EncodeEvent(event);
    REQUIRE(bytes.ok());
    const StatusOr<Event> back = DecodeEvent(*bytes);
    REQUIRE(back.ok());
    CHECK(*back == event);
  }
}

TEST_CASE("bytes that are no event are refused") {
  CHECK(absl::IsDataLoss(DecodeEvent("\xff\xff\xff").status()));
  CHECK(absl::IsDataLoss(DecodeEvent("").status()));  // no type
  const Event skipped = MakeEvent(EventType::run_resumed, kNoTask, 0, "\x08\x01");
  CHECK(Message(EncodeEvent(skipped).status()) == "an event of this type has no detail");
  const Event damaged = MakeEvent(EventType::task_skipped, 1, 0, "\xff\xff");
  CHECK(absl::IsDataLoss(EncodeEvent(damaged).status()));
}

TEST_CASE("a detail of another type is refused") {
  // A skip that calls itself a success: type 12, detail 15.
  StatusOr<std::string> bytes = EncodeEvent(MakeEvent(
      EventType::task_skipped, 1, 0, Encode(TaskSkipped{SkipReason::condition, "because"})));
  REQUIRE(bytes.ok());
  const size_t type = bytes->find('\x14');  // 20, task_skipped
  REQUIRE(type != std::string::npos);
  (*bytes)[type] = '\x0c';
  CHECK(Message(DecodeEvent(*bytes).status()) ==
        "the detail of an event does not belong to its type");
}

}  // namespace
}  // namespace trackbed
