#include "scheduling/share_worth.hpp"

#include <algorithm>
#include <numeric>
#include <optional>
#include <utility>

namespace trackbed {
namespace {

// More sizes than this share prices with their neighbours: finer ones lead to hardly other choices.
constexpr size_t kMostSizes = 64;
// Each makes the prices better; as many as this are needed by no mix seen so far.
constexpr size_t kMostRounds = 1000;
constexpr double kTiny = 1e-9;

// Shares of up to this size, and how many of them come.
struct Size {
  size_t units = 0;
  double weight = 0;
};

// The linear program: which patterns, ways to fill one device, make room for all shares with the
// fewest devices. It has one pattern for each size in use at a time.
class CuttingStock {
 public:
  CuttingStock(std::vector<Size> sizes, size_t device)
      : sizes_(std::move(sizes)), device_(device), best_(device + 1), last_(device + 1) {
    const size_t count = sizes_.size();
    inverse_.assign(count, std::vector<double>(count, 0));
    prices_.resize(count);
    for (size_t i = 0; i < count; ++i) {
      // To begin with each size has devices of its own.
      const size_t whole = device_ / sizes_[i].units;
      const auto fit = static_cast<double>(whole);
      inverse_[i][i] = 1 / fit;
      devices_.push_back(sizes_[i].weight / fit);
    }
  }

  void Solve() {
    for (size_t round = 0; round < kMostRounds; ++round) {
      PriceSizes();
      FillDevice();
      if (best_[device_] <= 1 + kTiny || !Exchange()) break;
    }
    // Where it was not solved to the end: prices at which no pattern takes more than a device.
    PriceSizes();
    for (double& price : prices_) price = std::max(price, 0.0);
    FillDevice();
    for (double& worth : best_) worth /= std::max(best_[device_], 1.0);
  }

  // By units left of a device.
  double Worth(size_t left) const { return best_[left]; }

 private:
  void PriceSizes() {
    std::fill(prices_.begin(), prices_.end(), 0);
    for (const std::vector<double>& row : inverse_) {
      for (size_t i = 0; i < row.size(); ++i) prices_[i] += row[i];
    }
  }

  // The dearest pattern for each amount left.
  void FillDevice() {
    for (size_t left = 1; left <= device_; ++left) {
      best_[left] = best_[left - 1];
      last_[left].reset();
      for (size_t i = 0; i < sizes_.size() && sizes_[i].units <= left; ++i) {
        const double worth = best_[left - sizes_[i].units] + prices_[i];
        if (worth <= best_[left] + kTiny / 1000) continue;
        best_[left] = worth;
        last_[left] = i;
      }
    }
  }

  // The dearest pattern comes in for the one that it leaves nothing of. False: there is none.
  bool Exchange() {
    const size_t count = sizes_.size();
    std::vector<double> pattern(count, 0);
    for (size_t left = device_; left > 0;) {
      if (!last_[left]) {
        --left;
        continue;
      }
      pattern[*last_[left]] += 1;
      left -= sizes_[*last_[left]].units;
    }
    std::vector<double> instead(count, 0);  // of each pattern in use, for one of the new
    std::optional<size_t> leaves;
    for (size_t row = 0; row < count; ++row) {
      instead[row] = std::inner_product(pattern.begin(), pattern.end(), inverse_[row].begin(), 0.0);
      if (instead[row] <= kTiny) continue;
      if (!leaves || devices_[row] * instead[*leaves] < devices_[*leaves] * instead[row]) {
        leaves = row;
      }
    }
    if (!leaves) return false;
    const double pivot = instead[*leaves];
    devices_[*leaves] /= pivot;
    for (double& entry : inverse_[*leaves]) entry /= pivot;
    for (size_t row = 0; row < count; ++row) {
      if (row == *leaves || instead[row] == 0) continue;
      devices_[row] = std::max(devices_[row] - instead[row] * devices_[*leaves], 0.0);
      for (size_t i = 0; i < count; ++i) {
        inverse_[row][i] -= instead[row] * inverse_[*leaves][i];
      }
    }
    return true;
  }

  std::vector<Size> sizes_;                   // the smallest first
  size_t device_;                             // units
  std::vector<std::vector<double>> inverse_;  // of the patterns in use
  std::vector<double> devices_;               // filled by each of them
  std::vector<double> prices_;                // by size
  std::vector<double> best_;                  // by units left
  std::vector<std::optional<size_t>> last_;   // the size that the best one ends with
};

}  // namespace

ShareWorth WorthOfRests(const std::array<double, kWholeDevice + 1>& weight) {
  size_t unit = kWholeDevice;
  std::vector<size_t> shares;
  for (size_t share = 1; share < kWholeDevice; ++share) {
    if (weight[share] <= 0) continue;
    shares.push_back(share);
    unit = std::gcd(unit, share);
  }
  ShareWorth worth{};
  worth[kWholeDevice] = 1;
  if (shares.empty()) return worth;
  std::vector<Size> sizes;
  for (size_t i = 0; i < shares.size(); ++i) {
    const size_t group = i * std::min(kMostSizes, shares.size()) / shares.size();
    if (group == sizes.size()) sizes.emplace_back();
    sizes.back().units = shares[i] / unit;  // as the largest of them
    sizes.back().weight += weight[shares[i]];
  }
  CuttingStock stock(std::move(sizes), kWholeDevice / unit);
  stock.Solve();
  for (size_t left = 0; left < kWholeDevice; ++left) worth[left] = stock.Worth(left / unit);
  return worth;
}

}  // namespace trackbed
