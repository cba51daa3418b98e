// What is left of a shared device is worth, when the shares that come are packed as tightly as can
// be.
//
// To pack a stream of shares into as few devices as possible is the cutting stock problem. Its
// linear relaxation is solved by generating columns (Gilmore and Gomory, "A Linear Programming
// Approach to the Cutting-Stock Problem", Operations Research, 1961): its dual prices say which
// part of a device a share of each size really takes. Those that only fill gaps that there are
// anyhow are worth nothing; one beside which nothing fits takes a whole device.
#pragma once

#include <array>
#include <cstddef>
#include <vector>

#include "trackbed/scheduling/cluster.hpp"

namespace trackbed {

// By what is left of a device, in thousandths of it: the most that the shares that fit together in
// there take, by their prices; from 0 to 1, which is a whole device. `weight` is how often a share
// of each size comes, by its thousandths.
using ShareWorth = std::array<double, kWholeDevice + 1>;
ShareWorth WorthOfRests(const std::array<double, kWholeDevice + 1>& weight);

}  // namespace trackbed
