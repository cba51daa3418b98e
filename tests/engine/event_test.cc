// The details of events: what is written is read back, and what is foreign is refused.
#include "trackbed/engine/event.hpp"

#include <bit>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "engine/utf8.hpp"
#include "nlohmann/json.hpp"
#include "support/engine_lab.hpp"
#include "trackbed/engine/event_json.hpp"

namespace trackbed {
namespace {

// Random details, with a taste for the extreme.
class Maker {
 public:
  explicit Maker(uint64_t seed) : random_(seed) {}

  uint64_t Number(uint64_t below) { return random_.Next() % below; }
  bool Coin() { return Number(2) == 0; }
  int64_t Integer() {
    constexpr int64_t kExtremes[] = {0, 1, -1, INT64_MAX, INT64_MIN, 1'000'000'007};
    return Coin() ? kExtremes[Number(6)] : static_cast<int64_t>(random_.Next());
  }
  std::string Text() {
    static const std::vector<std::string> pieces = {
        "",   "a",    "train", std::string("\0", 1), "\n", "ü", "漢",
        "🙂", "\x7f", "=",     std::string(300, 'x')};
    std::string text;
    for (uint64_t i = Number(4); i > 0; --i) text += pieces[Number(pieces.size())];
    return text;
  }
  Value AnyValue() {
    switch (Number(4)) {
      case 0:
        return Text();
      case 1: {
        constexpr double kExtremes[] = {0.0,
                                        -0.0,
                                        0.1,
                                        std::numeric_limits<double>::denorm_min(),
                                        std::numeric_limits<double>::max(),
                                        -1e-300};
        return kExtremes[Number(6)];
      }
      case 2:
        return Integer();
      default:
        return Coin();
    }
  }
  std::map<std::string, Value> Values() {
    std::map<std::string, Value> values;
    for (uint64_t i = Number(4); i > 0; --i) values[Text()] = AnyValue();
    return values;
  }
  CacheFields Fields() {
    CacheFields fields;
    for (uint64_t i = Number(4); i > 0; --i) fields.emplace_back(Text(), Text());
    return fields;
  }

  std::vector<HeldSlot> Held() {
    std::vector<HeldSlot> held;
    for (uint64_t i = Number(3); i > 0; --i) {
      held.push_back({Text(), Text(), Quantity::FromThousandths(static_cast<int64_t>(Number(9)))});
    }
    return held;
  }

  void Make(MapBinding* map) {
    map->task = Text();
    map->numbered = Coin();
    map->count = Number(9);
    for (uint64_t i = map->numbered ? 0 : map->count; i > 0; --i) map->items.push_back(Text());
    map->batch = 1 + Number(4);
    map->concurrency = static_cast<uint32_t>(Number(4));
    map->fresh = Coin();
    map->cache_off = Text();
    for (uint64_t i = Number(3); i > 0; --i) map->outputs.push_back(Text());
    for (uint64_t i = Number(3); i > 0; --i) {
      MapBinding::Upstream& upstream = map->upstream.emplace_back();
      upstream = {Text(), Text(), Coin(), std::nullopt};
      if (Coin()) {
        upstream.result =
            TaskResult{Values(), Text(), Text(), Text(), static_cast<uint32_t>(Number(5))};
      }
    }
  }
  void Make(RunSubmitted* detail) {
    detail->parameters = Values();
    detail->seed = random_.Next();
    if (Coin()) {
      detail->source.host_path = "/" + Text();
      detail->source.digest = Text();
      for (uint64_t i = Number(3); i > 0; --i) detail->source.files[Text()] = Text();
    }
    for (uint64_t i = Number(3); i > 0; --i) detail->folders.push_back({Text(), Text(), Text()});
    detail->use_cache = Coin();
    detail->priority = Coin() ? -5 : 0;
    if (Coin()) detail->tenant = "research/ada";
    if (Coin()) Make(&detail->map.emplace());
  }
  void Make(RunFinished* detail) { detail->status = static_cast<RunStatus>(Number(4)); }
  void Make(RunRetried* detail) {
    for (uint64_t i = Number(5); i > 0; --i) {
      detail->tasks.push_back(static_cast<TaskIndex>(random_.Next()));
    }
    for (uint64_t i = Number(3); i > 0; --i) {
      detail->batches.push_back(
          {static_cast<TaskIndex>(random_.Next()), static_cast<TaskIndex>(random_.Next())});
    }
  }
  void Make(AttemptIntended* detail) {
    *detail = {Text(), Text(), Fields(), Held(), Text(), {}, Text()};
    for (uint64_t i = Number(3); i > 0; --i) detail->gang.push_back({Text(), Held()});
  }
  void Make(AttemptEnded* detail) {
    detail->reason = static_cast<FailureReason>(Number(10));
    detail->exit_code = static_cast<int>(Integer());
    detail->signal = static_cast<int>(Number(65));
    detail->message = Text();
    detail->outputs = Values();
    detail->output_digest = Text();
    detail->wall_time = Duration(Integer());
    detail->cpu_time = Duration(Integer());
    detail->max_rss_bytes = Integer();
    detail->retry_at = FromNanoseconds(Integer());
  }
  void Make(TaskSkipped* detail) { *detail = {static_cast<SkipReason>(Number(5)), Text()}; }
  void Make(CachedResult* detail) {
    *detail = {Text(), Text(), static_cast<uint32_t>(random_.Next()), Values(), Text()};
  }
  void Make(TaskCached* detail) {
    detail->cache_key = Text();
    detail->cache_fields = Fields();
    Make(&detail->result);
  }

 private:
  SeededRandom random_;
};

template <typename Detail>
void CheckRoundTrips() {
  for (uint64_t seed = 0; seed < 500; ++seed) {
    CAPTURE(seed);
    Detail detail;
    Maker(seed).Make(&detail);
    const std::string bytes = Encode(detail);
    Detail read;
    Maker(seed + 1).Make(&read);  // what was in it before must not shine through
    REQUIRE(Decode(bytes, &read).ok());
    CHECK(read == detail);
    CHECK(Encode(read) == bytes);  // equal details have equal bytes
  }
  Detail detail;
  CHECK(Decode(std::string("\xff\xff\xff\xff"), &detail).code() == StatusCode::kDataLoss);
  CHECK(Decode("not a detail at all", &detail).code() == StatusCode::kDataLoss);
}

TEST_CASE("Every detail is read back as it was written") {
  CheckRoundTrips<RunSubmitted>();
  CheckRoundTrips<RunFinished>();
  CheckRoundTrips<RunRetried>();
  CheckRoundTrips<AttemptIntended>();
  CheckRoundTrips<AttemptEnded>();
  CheckRoundTrips<TaskSkipped>();
  CheckRoundTrips<TaskCached>();
}

TEST_CASE("Numbers keep their bits") {
  for (const double number : {-0.0, 0.1, 1e308, 5e-324}) {
    AttemptEnded detail;
    detail.outputs = {{"x", number}};
    AttemptEnded read;
    REQUIRE(Decode(Encode(detail), &read).ok());
    CHECK(std::bit_cast<uint64_t>(std::get<double>(read.outputs["x"])) ==
          std::bit_cast<uint64_t>(number));
  }
}

TEST_CASE("A number of a later version is not taken for one of ours") {
  AttemptEnded ended;
  ended.reason = static_cast<FailureReason>(200);
  CHECK(Message(Decode(Encode(ended), &ended)) ==
        "the detail of an event holds the unknown number 200");
  TaskSkipped skipped;
  skipped.reason = static_cast<SkipReason>(5);
  CHECK(Decode(Encode(skipped), &skipped).code() == StatusCode::kDataLoss);
  RunFinished finished;
  finished.status = static_cast<RunStatus>(4);
  CHECK(Decode(Encode(finished), &finished).code() == StatusCode::kDataLoss);
}

// Of seven bits: of others protobuf would complain aloud.
TEST_CASE("Random bytes are refused or read, never worse") {
  SeededRandom random(7);
  for (int i = 0; i < 20'000; ++i) {
    std::string bytes(random.Next() % 40, '\0');
    for (char& c : bytes) c = static_cast<char>(random.Next() & 0x7fU);
    RunSubmitted submitted;
    AttemptEnded ended;
    TaskCached cached;
    (void)Decode(bytes, &submitted);
    (void)Decode(bytes, &ended);
    (void)Decode(bytes, &cached);
  }
}

TEST_CASE("A message that is not UTF-8 is made readable when it is stored") {
  AttemptEnded ended;
  ended.message = "a\xff\xc3";
  AttemptEnded read;
  REQUIRE(Decode(Encode(ended), &read).ok());
  CHECK(read.message == "a\xEF\xBF\xBD\xEF\xBF\xBD");
}

TEST_CASE("UTF-8 is told from other bytes") {
  for (const std::string_view good :
       {"", "plain", "\xc2\x80", "ü漢🙂", "\xef\xbf\xbf", "\xf4\x8f\xbf\xbf", "\xed\x9f\xbf"}) {
    CAPTURE(good);
    CHECK(IsUtf8(good));
    CHECK(ReplaceInvalidUtf8(good) == good);
  }
  for (const std::string_view bad : {"\x80", "\xc0\x80", "\xc1\xbf", "\xe0\x9f\xbf", "\xed\xa0\x80",
                                     "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80",
                                     "\xff", "\xc2", "\xe2\x82", "\xf0\x9f\x99", "a\xe2(\xa1"}) {
    CAPTURE(bad);
    CHECK_FALSE(IsUtf8(bad));
    CHECK(IsUtf8(ReplaceInvalidUtf8(bad)));
  }
  CHECK(ReplaceInvalidUtf8("a\xe2(b") == "a\xEF\xBF\xBD(b");
}

TEST_CASE("Everything that has a number has a name") {
  CHECK(ToString(EventType::run_submitted) == "run_submitted");
  CHECK(ToString(EventType::task_failed) == "task_failed");
  CHECK(ToString(static_cast<EventType>(99)) == "unknown");
  CHECK(ToString(RunStatus::cancelled) == "cancelled");
  CHECK(ToString(TaskState::skipped) == "skipped");
  for (int i = 0; i <= 8; ++i) CHECK(ToString(static_cast<FailureReason>(i)) != "unknown");
  for (int i = 0; i <= 4; ++i) CHECK(ToString(static_cast<SkipReason>(i)) != "unknown");
}

// ---- JSON ------------------------------------------------------------------------------------

TEST_CASE("Events and runs are JSON that says what happened") {
  EngineLab lab;
  Pipeline pipeline = NewPipeline("json");
  Task& train = AddTask(pipeline, "train");
  train.outputs = {{"accuracy", ValueType::number}, {"name", ValueType::string}};
  train.cache = CacheMode::on;
  AddTask(pipeline, "bad").retry.max_attempts = 2;
  AddTask(pipeline, "after", {"bad"});
  Outcome failure = Outcome::Failure(3);
  failure.message = "a\"b\n\xff";
  lab.executor.Script("bad", failure);
  lab.executor.Script("train", Outcome::Success("accuracy=0.95\nname=a\"b\n"));
  std::vector<nlohmann::json> events;
  lab.options.sink = [&](const RunState& run, uint64_t, const Event& event) {
    const std::string line = EventToJson(run, event);
    CHECK(line.find('\n') == std::string::npos);
    events.push_back(nlohmann::json::parse(line));
  };
  SubmitOptions options;
  options.parameters = {{"alpha", 0.5}};
  const RunId run = lab.Submit(pipeline, options);
  lab.RunToEnd();
  REQUIRE(events.size() == lab.EventsOf(run).size());
  const auto find = [&](const std::string& name, const std::string& task) {
    for (const nlohmann::json& event : events) {
      if (event["event"] == name && event.value("task", "") == task) return event;
    }
    return nlohmann::json();
  };
  CHECK(find("run_submitted", "")["run"] == run);
  CHECK(find("run_submitted", "")["parameters"]["alpha"] == 0.5);
  CHECK(find("attempt_intended", "train").contains("cache_key"));
  CHECK(find("attempt_intended", "bad")["not_cached"] == "the task says cache: false");
  CHECK(find("attempt_succeeded", "train")["outputs"]["accuracy"] == 0.95);
  CHECK(find("attempt_succeeded", "train")["outputs"]["name"] == "a\"b");
  CHECK(find("attempt_failed", "bad")["exit_code"] == 3);
  CHECK(find("attempt_failed", "bad")["attempt"] == 1);
  CHECK(find("attempt_failed", "bad")["reason"] == "exit_code");
  CHECK(find("attempt_failed", "bad").contains("retry_at"));
  CHECK(find("task_skipped", "after")["reason"] == "upstream_failed");
  CHECK(find("run_finished", "")["status"] == "failed");

  const StoredRun stored = lab.Stored(run);
  const auto json = nlohmann::json::parse(RunToJson(stored.record, *stored.state));
  CHECK(json["run"] == run);
  CHECK(json["status"] == "failed");
  CHECK(json["tasks"][0]["state"] == "succeeded");
  CHECK(json["tasks"][0]["outputs"]["accuracy"] == 0.95);
  CHECK(json["tasks"][1]["failure"]["exit_code"] == 3);
  CHECK(json["tasks"][2]["skipped"]["reason"] == "upstream_failed");

  const RunId again = lab.Submit(pipeline, options);
  lab.RunToEnd();
  CHECK(find("task_cached", "train")["from_run"] == run);
  const StoredRun second = lab.Stored(again);
  CHECK(nlohmann::json::parse(RunToJson(second.record, *second.state))["tasks"][0]["cached"]);
}

}  // namespace
}  // namespace trackbed
