// How a process learns which accelerators are its own.
#pragma once

#include <map>
#include <string>

#include "trackbed/executors/executor.hpp"

namespace trackbed {

// TRACKBED_DEVICES: the ids of the attempt's devices, separated by commas. For each kind that the
// node hands out, the variable of its driver (CUDA_VISIBLE_DEVICES, slot_type.hpp): the devices by
// UUID where the node's description has them, else by number. For shares of NVIDIA GPUs also the
// limits that CUDA's Multi-Process Service keeps, where it runs: the part of the threads and of the
// memory that the attempt was given.
std::map<std::string, std::string> DeviceEnvironment(const AttemptSpec& spec);

}  // namespace trackbed
