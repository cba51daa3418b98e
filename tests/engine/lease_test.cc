// One engine at a time: who holds the store, who may take over, and what the old one can still do.
#include <string>
#include <vector>

#include "support/engine_lab.hpp"
#include "trackbed/resources/node_writer.hpp"

namespace trackbed {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// Two engines over one store, each with its own process.
struct Rivals {
  std::unique_ptr<Store> store = NewMemoryStore();
  EngineLab first{store.get()};
  EngineLab second{store.get()};

  Rivals() {
    second.options.holder = {"lab2", "boot2", 99, 1, "trackbed resume", ""};
    second.random = SeededRandom(2);
    // Both see the same attempts at the same time.
    second.options.executor = &first.executor;
    second.options.clock = &first.clock;
  }
};

TEST_CASE("A second engine is refused and told who holds the store") {
  Rivals rivals;
  rivals.first.Open();
  const Status refused = rivals.second.TryOpen();
  CHECK(refused.code() == StatusCode::kFailedPrecondition);
  CHECK(Message(refused) ==
        "the store is held by trackbed run, process 4711 on host lab1 (lease until " +
            FormatTime(rivals.first.clock.now() + seconds(15)) + ")");
  rivals.first.Close();
  CHECK(rivals.second.TryOpen().ok());
}

TEST_CASE("A lease is renewed in time, and not more often than needed") {
  Rivals rivals;
  Pipeline pipeline = NewPipeline("long");
  AddTask(pipeline, "a");
  rivals.first.executor.Script("a", Outcome::Waits());
  rivals.first.Submit(pipeline);
  rivals.first.Step();
  const int64_t writes = rivals.first.process().writes();
  for (int i = 0; i < 600; ++i) {
    rivals.first.StepAfter(milliseconds(100));
    REQUIRE_FALSE(rivals.second.TryOpen().ok());
  }
  CHECK(rivals.first.process().writes() - writes == 12);  // one in five seconds
}

TEST_CASE("An engine that was away too long is fenced: it stores, starts and stops nothing") {
  Rivals rivals;
  Pipeline pipeline = NewPipeline("taken");
  Task& a = AddTask(pipeline, "a");
  a.timeout = seconds(20);
  AddTask(pipeline, "b", {"a"});
  FakeExecutor& executor = rivals.first.executor;
  executor.Script("a", Outcome::Waits());
  const RunId run = rivals.first.Submit(pipeline);
  rivals.first.Step();

  rivals.first.clock.Advance(seconds(15) - Duration(1));
  CHECK_FALSE(rivals.second.TryOpen().ok());
  rivals.first.clock.Advance(Duration(1));
  REQUIRE(rivals.second.TryOpen().ok());
  REQUIRE(rivals.second.engine().Resume(run).ok());
  const size_t events = rivals.first.EventsOf(run).size();
  const size_t started = executor.started().size();

  SECTION("at its next step") {
    executor.Finish(run + "/a/1");
    const Status fenced = rivals.first.engine().Step();
    CHECK(fenced.code() == StatusCode::kFailedPrecondition);
    CHECK(Message(fenced) ==
          "this engine has lost the store: it is now held by trackbed resume, process 99 on host "
          "lab2; nothing was written");
    // And it stays so.
    CHECK(rivals.first.engine().Step() == fenced);
    CHECK(rivals.first.engine().Cancel(run) == fenced);
    CHECK(rivals.first.engine().Resume(run) == fenced);
    CHECK(rivals.first.engine().Retry(run, {}) == fenced);
    CHECK(rivals.first.engine()
              .Submit(std::make_shared<const Pipeline>(pipeline), SubmitOptions())
              .status() == fenced);
  }
  SECTION("when it is asked to cancel") { CHECK_FALSE(rivals.first.engine().Cancel(run).ok()); }
  SECTION("when the timeout of the attempt has passed") {
    rivals.first.clock.Advance(seconds(10));
    CHECK_FALSE(rivals.first.engine().Step().ok());
  }
  CHECK(executor.stops().empty());
  CHECK(executor.started().size() == started);
  CHECK(rivals.first.EventsOf(run).size() == events);
  // Closing it takes nothing from the new holder.
  rivals.first.Close();
  CHECK_FALSE(rivals.first.TryOpen().ok());
}

TEST_CASE("An engine that was replaced kills nothing, though it has nothing to store") {
  Rivals rivals;
  Pipeline pipeline = NewPipeline("kill");
  AddTask(pipeline, "a").grace_period = seconds(1);
  FakeExecutor& executor = rivals.first.executor;
  Outcome stubborn = Outcome::Waits();
  stubborn.ignores_terminate = true;
  executor.Script("a", stubborn);
  const RunId run = rivals.first.Submit(pipeline);
  rivals.first.Step();
  REQUIRE(rivals.first.engine().Cancel(run).ok());
  REQUIRE(executor.stops().size() == 1);
  // Somebody is sure that the first is dead, takes over and takes the cancellation back.
  rivals.second.options.is_gone = [](const LeaseHolder&) { return true; };
  REQUIRE(rivals.second.engine().Resume(run).ok());
  rivals.first.clock.Advance(seconds(1));  // the end of the grace; the lease is not due yet
  CHECK(rivals.first.engine().Step().code() == StatusCode::kFailedPrecondition);
  CHECK(executor.stops().size() == 1);
}

TEST_CASE("A holder that is known to be dead need not be waited out") {
  Rivals rivals;
  Pipeline pipeline = NewPipeline("dead");
  AddTask(pipeline, "a");
  AddTask(pipeline, "b", {"a"});
  rivals.first.executor.Script("a", Outcome::Waits());
  const RunId run = rivals.first.Submit(pipeline);
  rivals.first.Step();
  rivals.first.Crash();
  std::vector<LeaseHolder> asked;
  rivals.second.options.is_gone = [&](const LeaseHolder& holder) {
    asked.push_back(holder);
    return holder.process == 4711;
  };
  rivals.second.Open();
  LeaseHolder first = rivals.first.options.holder;
  first.node = WriteNodes(rivals.first.options.nodes);  // what it may use is there for all to read
  CHECK(asked == std::vector<LeaseHolder>{first});
  REQUIRE(rivals.second.engine().Resume(run).ok());
  rivals.first.executor.Finish(run + "/a/1");
  rivals.second.RunToEnd();
  CHECK(rivals.second.StatusOf(run) == "succeeded");
  CHECK(rivals.first.executor.started().size() == 2);
}

TEST_CASE("After a failed commit the engine is broken and says why ever after") {
  EngineLab lab;
  Pipeline pipeline = NewPipeline("broken");
  AddTask(pipeline, "a");
  const RunId run = lab.Submit(pipeline);
  lab.process().DieAt(1, FaultyStore::Point::before);
  const Status broken = lab.engine().Step();
  CHECK(broken.code() == StatusCode::kUnavailable);
  CHECK(lab.engine().Step() == broken);
  CHECK(lab.engine().Cancel(run) == broken);
  CHECK(lab.executor.started().empty());  // what was not durable was not done
  CHECK(lab.EventsOf(run).size() == 1);
}

}  // namespace
}  // namespace trackbed
