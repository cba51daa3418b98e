// The pipelines of a simulation: every feature that decides about the order of things.
#pragma once

#include <string>

#include "simulation/world.hpp"
#include "trackbed/pipeline/pipeline.hpp"

namespace trackbed {

Pipeline RandomPipeline(Dice& dice, const std::string& name);

}  // namespace trackbed
