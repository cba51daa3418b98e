// Reads a pipeline, binds its parameters and prints the order of its tasks.
#include <cstdio>

#include "trackbed/pipeline/graph.hpp"
#include "trackbed/pipeline/reader.hpp"
#include "trackbed/resources/local_node.hpp"

int main() {
  const auto parsed = trackbed::ReadPipeline(R"(
name: consumer
parameters: {size: 3}
tasks:
- name: train
  command: echo ${{ params.size }}
- name: report
  command: [echo, done]
  dependencies: [train]
)",
                                             "consumer.yaml", trackbed::TextFormat::yaml);
  if (!parsed.pipeline) {
    std::fputs(parsed.diagnostics.ToString().c_str(), stderr);
    return 1;
  }
  const auto graph = trackbed::Graph::Build(*parsed.pipeline);
  const auto parameters = trackbed::BindParameters(*parsed.pipeline, {});
  if (!graph.ok() || !parameters.ok() || trackbed::DetectLocalNode().cpu == trackbed::Quantity())
    return 1;
  for (const auto task : graph->TopologicalOrder()) {
    std::puts(parsed.pipeline->tasks[task].name.c_str());
  }
  return 0;
}
