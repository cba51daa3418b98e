// Tasks that ask somebody, as documents say them: read, checked, written, drawn, exported.
#include <algorithm>
#include <string>
#include <utility>

#include "pipeline/reading.hpp"
#include "support/catch.hpp"
#include "support/pipelines.hpp"
#include "trackbed/pipeline/fasttrack.hpp"
#include "trackbed/pipeline/graph.hpp"
#include "trackbed/pipeline/reader.hpp"
#include "trackbed/pipeline/writer.hpp"

namespace trackbed {
namespace {

using std::chrono::hours;

// A pipeline in which task "ask", which depends on "train", has these lines.
std::string Document(const std::string& lines) {
  return "name: p\ntasks:\n- name: train\n  command: train\n  outputs: [accuracy]\n- name: ask\n"
         "  dependencies: [train]\n" +
         lines;
}

std::string Complaints(const std::string& lines) {
  return ReadPipeline(Document(lines), "", TextFormat::yaml).diagnostics.ToString();
}

TEST_CASE("An approval is read") {
  const auto approval = [](const std::string& lines) {
    return *MustRead(Document(lines)).tasks[1].approval;
  };
  CHECK(approval("  approval: Release it?\n") == Approval{"Release it?", {}, Duration(0)});
  CHECK(approval("  approval:\n    message: Is ${{ tasks.train.outputs.accuracy }} enough?\n"
                 "    approvers: [ada, grace]\n    timeout: 3d\n") ==
        Approval{"Is ${{ tasks.train.outputs.accuracy }} enough?", {"ada", "grace"}, hours(72)});
  CHECK_FALSE(MustRead(Document("  command: x\n")).tasks[1].approval);
}

TEST_CASE("Defaults of attempts are not those of a task without any") {
  const Pipeline pipeline = MustRead(
      "name: p\ndefaults: {retry: 3, timeout: 1h, cache: false, image: x, resources: {cpu: 2},"
      " environment: {A: b}, labels: {team: a}, allow_failure: true}\n"
      "tasks:\n- name: ask\n  approval: Go on?\n- name: run\n  command: x\n");
  const Task& ask = pipeline.tasks[0];
  CHECK(ask.retry == Retry());
  CHECK(ask.timeout == Duration(0));
  CHECK(ask.cache == CacheMode::automatic);
  CHECK((ask.image.empty() && ask.resources.empty() && ask.environment.empty()));
  CHECK(ask.allow_failure);
  CHECK(ask.labels.get().at("team") == "a");
  CHECK(pipeline.tasks[1].retry.max_attempts == 3);
}

TEST_CASE("What is wrong with an approval is said where it stands") {
  const std::string secret = "  approval: '${{ secrets.A }}'\n";
  const std::pair<std::string, std::string> cases[] = {
      {"  approval: []\n",
       "8:13: tasks[1].approval: found a list, expected a question, or a map with \"message\""},
      {"  approval: {timeout: 1h}\n", "8:13: tasks[1].approval: \"message\" is missing"},
      {"  approval: {message: Go, who: ada}\n",
       "8:27: tasks[1].approval.who: unknown field \"who\""},
      {"  approval: ' '\n",
       "8:13: tasks[1].approval.message: found nothing to ask, expected a question"},
      {"  approval: {message: Go, timeout: soon}\n", "8:36: tasks[1].approval.timeout: "},
      {"  approval: {message: Go, approvers: [ada, ada]}\n",
       "tasks[1].approval.approvers[1]: duplicate approver \"ada\""},
      {"  approval: {message: Go, approvers: ['']}\n",
       "tasks[1].approval.approvers[0]: found no name, expected one"},
      {secret, "tasks[1].approval.message: a question that people read may not hold a secret"},
      {"  approval: Is ${{ tasks.train.outputs.accurcy }} enough?\n",
       "tasks[1].approval.message: task \"train\" has no output \"accurcy\"; did you mean "
       "\"accuracy\"?"},
      {"  approval: Is ${{ item }} enough?\n",
       "tasks[1].approval.message: \"item\" is known only in the command"},
      {"  approval: Go?\n  command: x\n",
       "9:12: tasks[1].command: an approval runs nothing, so it has no \"command\""},
      {"  approval: Go?\n  timeout: 1h\n",
       "9:12: tasks[1].timeout: an approval runs nothing, so it has no \"timeout\"; how long it "
       "waits is \"approval.timeout\""},
      {"  approval: Go?\n  retry: 2\n", "an approval runs nothing, so it has no \"retry\""},
      {"  approval: Go?\n  map: {over: 3}\n", "an approval runs nothing, so it has no \"map\""},
      {"  approval: Go?\n  shared_memory: 1g\n",
       "an approval runs nothing, so it has no \"shared_memory\""},
      {"  approval: Go?\n  kind: serve\n", "an approval runs nothing, so it has no \"kind\""},
      {"  approval: Go?\n  cluster: {size: 2}\n",
       "an approval runs nothing, so it has no \"cluster\""},
      {"  approval: Go?\nresults: {a: ask/b}\n",
       "results.a: task \"ask\" is an approval, which leaves no files"},
  };
  for (const auto& [lines, expected] : cases) {
    INFO(lines);
    const std::string found = Complaints(lines);
    INFO(found);
    CHECK(found.find(expected) != std::string::npos);
  }
  CHECK(ReadPipeline("name: p\ndefaults: {approval: Go}\ntasks:\n- {name: a, command: b}\n", "",
                     TextFormat::yaml)
            .diagnostics.ToString()
            .find("defaults.approval: this field has no default") != std::string::npos);
}

TEST_CASE("An approval survives every form, and is part of the version") {
  const Pipeline pipeline = MustRead(
      Document("  approval:\n    message: \"5d\"\n    approvers: [ada]\n    timeout: 90s\n"));
  CHECK(MustRead(WriteYaml(pipeline)) == pipeline);
  CHECK(MustRead(WriteJson(pipeline), TextFormat::json) == pipeline);
  const StatusOr<Pipeline> decoded = DecodePipeline(EncodePipeline(pipeline));
  REQUIRE(decoded.ok());
  CHECK(*decoded == pipeline);
  Pipeline other = pipeline;
  other.tasks[1].approval.Mutable().approvers = {"grace"};
  CHECK(PipelineVersion(other) != PipelineVersion(pipeline));
  CHECK(CanonicalForm(pipeline).find(
            R"("approval":{"message":"5d","approvers":["ada"],"timeout":"1m30s"})") !=
        std::string::npos);
}

TEST_CASE("An approval is seen in drawings, and lost in FastTrack") {
  const Pipeline pipeline = MustRead(Document("  approval: Release it?\n"));
  const StatusOr<Graph> graph = Graph::Build(pipeline);
  REQUIRE(graph.ok());
  CHECK(RenderGraph(pipeline, *graph, GraphFormat::text).find("[approval: Release it?]") !=
        std::string::npos);
  const std::string json = RenderGraph(pipeline, *graph, GraphFormat::json);
  CHECK(json.find(R"("kind": "approval")") != std::string::npos);
  CHECK(json.find(R"("approval": "Release it?")") != std::string::npos);
  const FastTrackDocument exported = WriteFastTrack(pipeline);
  CHECK(std::any_of(exported.lost.begin(), exported.lost.end(), [](const std::string& lost) {
    return lost == "task \"ask\": approval (FastTrack waits for nobody)";
  }));
}

}  // namespace
}  // namespace trackbed
