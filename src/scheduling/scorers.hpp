// The scorers that follow from one node alone.
#pragma once

#include <memory>

#include "scheduling/scorer.hpp"
#include "trackbed/scheduling/placers.hpp"

namespace trackbed {

// Those that the FGD paper compares with, as its simulator has them; all choose the fullest device
// with room for a share.
std::unique_ptr<Scorer> MakeBestFitScorer();
std::unique_ptr<Scorer> MakeDotProductScorer();
std::unique_ptr<Scorer> MakeGpuPackingScorer();
std::unique_ptr<Scorer> MakeGpuClusteringScorer();

std::unique_ptr<Scorer> MakePackScorer();
std::unique_ptr<Scorer> MakeSpreadScorer();
std::unique_ptr<Scorer> MakeCostScorer();
std::unique_ptr<Scorer> MakePowerScorer();

std::unique_ptr<Scorer> MakeFgdScorer(const Mix& mix);
std::unique_ptr<Scorer> MakeExpectedLossScorer(const Mix& mix);  // expected_loss.hpp

struct WeightedScorer {
  std::unique_ptr<Scorer> scorer;
  double weight = 1;
};
std::unique_ptr<Scorer> MakeSumScorer(std::vector<WeightedScorer> parts);

}  // namespace trackbed
