// The same graphs in oneTBB's flow graph, which keeps no record of anything: the floor.
#pragma once

#ifdef TRACKBED_HAVE_TBB
#include <tbb/flow_graph.h>
#include <tbb/task_arena.h>

#include <atomic>
#include <deque>

#include "measure.hpp"
#include "workload.hpp"

namespace trackbed::benchmark {

struct FlowGraphTimes {
  double build = 0;      // seconds of the processor
  double run = 0;        // the same
  double run_clock = 0;  // seconds
  size_t heap = 0;       // bytes
};

// In an arena of one thread, as the engine has but one.
inline FlowGraphTimes RunFlowGraph(Shape shape, size_t tasks) {
  using Node = tbb::flow::continue_node<tbb::flow::continue_msg>;
  FlowGraphTimes times;
  const size_t heap_before = HeapInUse();
  tbb::task_arena arena(1);
  arena.execute([&] {
    const Stopwatch build;
    tbb::flow::graph graph;
    std::atomic<size_t> done = 0;
    std::deque<Node> nodes;
    const auto body = [&done](const tbb::flow::continue_msg& message) {
      done.fetch_add(1, std::memory_order_relaxed);
      return message;
    };
    for (size_t i = 0; i < tasks; ++i) nodes.emplace_back(graph, body);
    std::vector<bool> waits(tasks);
    ForEachEdge(shape, tasks, [&](size_t task, size_t dependency) {
      tbb::flow::make_edge(nodes[dependency], nodes[task]);
      waits[task] = true;
    });
    times.build = build.ProcessorSeconds();
    times.heap = HeapInUse() - heap_before;
    const Stopwatch run;
    for (size_t i = 0; i < tasks; ++i) {
      if (!waits[i]) nodes[i].try_put(tbb::flow::continue_msg());
    }
    graph.wait_for_all();
    times.run_clock = run.Seconds();
    times.run = done == tasks ? run.ProcessorSeconds() : -1;
  });
  return times;
}

}  // namespace trackbed::benchmark
#endif
