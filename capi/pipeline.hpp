#pragma once

#include <memory>
#include <string>
#include <vector>

#include "common.hpp"
#include "trackbed/pipeline/graph.hpp"
#include "trackbed/pipeline/pipeline.hpp"

struct trackbed_pipeline {
  std::shared_ptr<const trackbed::Pipeline> pipeline;
  trackbed::Graph graph;
  std::string version;
  std::string base;  // folder of the file it was loaded from; empty: none
  std::vector<trackbed::Position> positions;
  trackbed::Diagnostics warnings;
};
