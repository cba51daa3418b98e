#include "trackbed/scheduling/trace_openb.hpp"

#include <absl/container/flat_hash_map.h>
#include <absl/strings/numbers.h>
#include <absl/strings/str_cat.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <numeric>
#include <optional>
#include <string_view>

#include "scheduling/node_room.hpp"
#include "trackbed/base/random.hpp"

namespace trackbed::openb {
namespace {

constexpr int64_t kMebibyte = int64_t{1} << 20U;
// Larger amounts are mistakes; memory in bytes stays in range.
constexpr int64_t kMostAmount = int64_t{1} << 33U;

// One line of a CSV file, field by field. The files quote nothing.
class Row {
 public:
  Row(std::string_view line, const std::string& origin, size_t number)
      : origin_(&origin), number_(number) {
    while (true) {
      const size_t comma = std::min(line.find(',', start_), line.size());
      fields_.push_back(line.substr(start_, comma - start_));
      starts_.push_back(start_ + 1);
      if (comma == line.size()) break;
      start_ = comma + 1;
    }
  }

  size_t size() const { return fields_.size(); }
  std::string_view at(size_t column) const { return fields_[column]; }

  Status Mistake(size_t column, std::string_view found, std::string_view expected) const {
    return InvalidArgument(absl::StrCat(*origin_, ":", number_, ":", starts_[column], ": found ",
                                        AbslView(found), ", expected ", AbslView(expected)));
  }

  StatusOr<int64_t> Number(size_t column, std::string_view name, int64_t most) const {
    int64_t value = 0;
    if (!absl::SimpleAtoi(AbslView(fields_[column]), &value) || value < 0 || value > most) {
      return Mistake(column, absl::StrCat("\"", AbslView(fields_[column]), "\""),
                     absl::StrCat(AbslView(name), ", a whole number from 0 to ", most));
    }
    return value;
  }

 private:
  const std::string* origin_;
  size_t number_;
  size_t start_ = 0;
  std::vector<std::string_view> fields_;
  std::vector<size_t> starts_;
};

// Calls `read(row, columns)` for each line after the first; `columns` are where the named ones are,
// -1 for an optional one that is missing.
template <typename Read>
Status ForEachRow(const std::string& text, const std::string& origin,
                  const std::vector<std::string_view>& required, std::string_view optional,
                  Read&& read) {
  std::vector<int> columns(required.size() + 1, -1);
  std::string_view rest = text;
  size_t header_fields = 0;
  for (size_t number = 1; !rest.empty(); ++number) {
    const size_t end = std::min(rest.find('\n'), rest.size());
    std::string_view line = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    if (line.empty()) continue;
    const Row row(line, origin, number);
    if (header_fields == 0) {
      header_fields = row.size();
      for (size_t i = 0; i < row.size(); ++i) {
        for (size_t name = 0; name < columns.size(); ++name) {
          if (row.at(i) == (name < required.size() ? required[name] : optional)) {
            columns[name] = static_cast<int>(i);
          }
        }
      }
      for (size_t name = 0; name < required.size(); ++name) {
        if (columns[name] < 0) {
          return row.Mistake(0, "a first line without it",
                             absl::StrCat("a column ", AbslView(required[name])));
        }
      }
      continue;
    }
    if (row.size() != header_fields) {
      return row.Mistake(row.size() - 1, absl::StrCat(row.size(), " fields"),
                         absl::StrCat(header_fields, " as in the first line"));
    }
    TRACKBED_RETURN_IF_ERROR(read(row, columns));
  }
  if (header_fields == 0) {
    return InvalidArgument(
        absl::StrCat(origin, ":1:1: found nothing, expected a line with the names of columns"));
  }
  return absl::OkStatus();
}

StatusOr<Demand> ReadDevices(const Row& row, size_t count_column, size_t amount_column) {
  Demand demand;
  TRACKBED_ASSIGN_OR_RETURN(const int64_t count, row.Number(count_column, "num_gpu", kMaxDevices));
  if (count == 0) return demand;
  TRACKBED_ASSIGN_OR_RETURN(const int64_t amount,
                            row.Number(amount_column, "gpu_milli", kMostAmount));
  if (amount >= kWholeDevice) {
    demand.whole_devices = static_cast<int16_t>(count);
  } else if (count == 1 && amount > 0) {
    demand.share = static_cast<int16_t>(amount);
  } else {
    return row.Mistake(amount_column, absl::StrCat("gpu_milli ", amount, " of ", count, " devices"),
                       "1000, or 1 to 999 of one device");
  }
  return demand;
}

template <typename T>
void Shuffle(std::vector<T>* items, RandomSource* random) {
  for (size_t i = items->size(); i > 1; --i) {
    std::swap((*items)[i - 1], (*items)[random->Next() % i]);
  }
}

int64_t AmountOfEach(const Demand& demand) {
  if (demand.share > 0) return demand.share;
  return demand.whole_devices > 0 ? kWholeDevice : 0;
}

int64_t DeviceCapacity(const Nodes& nodes) {
  int64_t sum = 0;
  for (const Node& node : nodes.nodes) sum += int64_t{node.capacity.device_count} * kWholeDevice;
  return sum;
}

size_t ShapeClass(const Demand& demand) {
  if (!demand.wants_devices()) return 0;
  if (demand.share > 0) return 1;
  return demand.whole_devices == 1 ? 2 : 3;
}

// Different sequences for the order of tasks, what is added, and the order of nodes.
constexpr uint64_t kForNodes = 0x6e6f646573U;
constexpr uint64_t kForTasks = 0x7461736b73U;

}  // namespace

StatusOr<Nodes> ReadNodes(const std::string& text, const std::string& origin) {
  Nodes nodes;
  absl::flat_hash_map<std::string, uint8_t> kinds;
  std::vector<std::string> names;  // of models, by node
  TRACKBED_RETURN_IF_ERROR(ForEachRow(
      text, origin, {"sn", "cpu_milli", "memory_mib", "gpu", "model"}, "",
      [&](const Row& row, const std::vector<int>& columns) -> Status {
        const auto column = [&](size_t name) { return static_cast<size_t>(columns[name]); };
        Node node;
        node.name = std::string(row.at(column(0)));
        TRACKBED_ASSIGN_OR_RETURN(node.capacity.cpu,
                                  row.Number(column(1), "cpu_milli", kMostAmount));
        TRACKBED_ASSIGN_OR_RETURN(const int64_t mebibytes,
                                  row.Number(column(2), "memory_mib", kMostAmount));
        node.capacity.memory = mebibytes * kMebibyte;
        TRACKBED_ASSIGN_OR_RETURN(const int64_t count, row.Number(column(3), "gpu", kMaxDevices));
        if (count == 0) return absl::OkStatus();
        node.capacity.device_count = static_cast<uint8_t>(count);
        const std::string model(row.at(column(4)));
        if (model.empty()) return row.Mistake(column(4), "no model", "that of the devices");
        const auto kind = static_cast<uint8_t>(kinds.size());
        const auto [entry, added] = kinds.try_emplace(model, kind);
        if (added) {
          if (nodes.models.size() == kMaxDeviceKinds) {
            return row.Mistake(column(4), absl::StrCat("one more model, ", model),
                               absl::StrCat("at most ", kMaxDeviceKinds));
          }
          nodes.models.push_back(model);
        }
        std::fill_n(node.capacity.device_kind.begin(), count, entry->second);
        nodes.nodes.push_back(std::move(node));
        return absl::OkStatus();
      }));
  if (nodes.nodes.empty()) {
    return InvalidArgument(absl::StrCat(origin, ": found no node with devices, expected some"));
  }
  std::stable_sort(nodes.nodes.begin(), nodes.nodes.end(),
                   [](const Node& a, const Node& b) { return a.name < b.name; });
  return nodes;
}

StatusOr<std::vector<Task>> ReadTasks(const std::string& text, const std::string& origin,
                                      const Nodes& nodes) {
  absl::flat_hash_map<std::string_view, uint64_t> kinds;
  for (size_t i = 0; i < nodes.models.size(); ++i) kinds[nodes.models[i]] = uint64_t{1} << i;
  std::vector<Task> tasks;
  TRACKBED_RETURN_IF_ERROR(ForEachRow(
      text, origin, {"name", "cpu_milli", "memory_mib", "num_gpu", "gpu_milli"}, "gpu_spec",
      [&](const Row& row, const std::vector<int>& columns) -> Status {
        const auto column = [&](size_t name) { return static_cast<size_t>(columns[name]); };
        Task task;
        task.name = std::string(row.at(column(0)));
        TRACKBED_ASSIGN_OR_RETURN(task.demand, ReadDevices(row, column(3), column(4)));
        TRACKBED_ASSIGN_OR_RETURN(task.demand.cpu, row.Number(column(1), "cpu_milli", kMostAmount));
        TRACKBED_ASSIGN_OR_RETURN(const int64_t mebibytes,
                                  row.Number(column(2), "memory_mib", kMostAmount));
        task.demand.memory = mebibytes * kMebibyte;
        if (columns[5] >= 0 && !row.at(column(5)).empty() && task.demand.wants_devices()) {
          // A model that no node has stands for no kind.
          task.demand.device_kinds = 0;
          std::string_view models = row.at(column(5));
          while (!models.empty()) {
            const size_t end = std::min(models.find('|'), models.size());
            const auto found = kinds.find(models.substr(0, end));
            if (found != kinds.end()) task.demand.device_kinds |= found->second;
            models.remove_prefix(std::min(end + 1, models.size()));
          }
        }
        tasks.push_back(std::move(task));
        return absl::OkStatus();
      }));
  if (tasks.empty()) return InvalidArgument(absl::StrCat(origin, ": found no task, expected some"));
  std::stable_sort(tasks.begin(), tasks.end(),
                   [](const Task& a, const Task& b) { return a.name < b.name; });
  return tasks;
}

Mix MixOf(const std::vector<Task>& tasks) {
  std::vector<Demand> demands;
  demands.reserve(tasks.size());
  for (const Task& task : tasks) demands.push_back(task.demand);
  return trackbed::MixOf(demands);
}

Cluster OrderNodes(const Nodes& nodes, uint64_t seed) {
  std::vector<size_t> order(nodes.nodes.size());
  std::iota(order.begin(), order.end(), size_t{0});
  SeededRandom random(seed ^ kForNodes);
  Shuffle(&order, &random);
  Cluster cluster;
  for (const size_t node : order) {
    // The reader has checked the amounts.
    static_cast<void>(cluster.AddNode(nodes.nodes[node].capacity));
  }
  return cluster;
}

std::vector<Demand> OrderArrivals(const Setup& setup, uint64_t seed) {
  std::vector<Demand> arrivals;
  int64_t sum = 0;
  for (const Task& task : setup.tasks) {
    arrivals.push_back(task.demand);
    sum += task.demand.device_amount();
  }
  SeededRandom random(seed ^ kForTasks);
  Shuffle(&arrivals, &random);
  const auto target =
      static_cast<int64_t>(setup.inflate * static_cast<double>(DeviceCapacity(setup.nodes)));
  // What has no device adds nothing: without any, or with nothing but, this would never end.
  if (sum == 0) return arrivals;
  if (sum <= target) {
    while (true) {
      // Drawn from the list, not from what was added. The published runs compare with the amount
      // of one device, not of all that a task asks for.
      const Demand& drawn = setup.tasks[random.Next() % setup.tasks.size()].demand;
      if (sum + AmountOfEach(drawn) > target) break;
      arrivals.push_back(drawn);
      sum += drawn.device_amount();
    }
  } else {
    while (sum > target) {
      const size_t drawn = random.Next() % arrivals.size();
      sum -= arrivals[drawn].device_amount();
      arrivals.erase(arrivals.begin() + static_cast<ptrdiff_t>(drawn));
    }
  }
  return arrivals;
}

namespace {

// What runs where, and room made by moving one task from a node to another.
class Moves {
 public:
  Moves(Cluster* cluster, Placer* placer)
      : cluster_(*cluster), placer_(*placer), running_(cluster->size()) {}

  void Started(const Demand& demand, const Placement& placement) {
    running_[placement.node].push_back({demand, placement});
  }

  // Moves a task so that the demand, which fits nowhere, fits on the node that is returned; none,
  // with nothing changed, when there is no such task.
  std::optional<Placement> MakeRoom(const Demand& demand) {
    absl::flat_hash_map<Demand, bool> movable;  // whether there is room for it at all
    for (NodeIndex node = 0; node < cluster_.size(); ++node) {
      if (!cluster_.FitsEmpty(node, demand)) continue;
      for (Running& task : running_[node]) {
        NodeState room = cluster_.state(node);
        ReturnRoom(task.demand, task.placement, &room);
        Placement placement;
        placement.node = node;
        if (!TakeRoom(cluster_.capacity(node), demand, &room, &placement)) continue;
        const auto [known, added] = movable.try_emplace(task.demand, false);
        if (added) known->second = placer_.Choose(cluster_, task.demand).has_value();
        if (!known->second) continue;
        cluster_.SetOpen(node, false);
        const std::optional<Placement> elsewhere = placer_.Choose(cluster_, task.demand);
        cluster_.SetOpen(node, true);
        if (!elsewhere || !cluster_.Take(task.demand, *elsewhere)) continue;
        cluster_.Give(task.demand, task.placement);
        const Running moved{task.demand, *elsewhere};
        task = running_[node].back();
        running_[node].pop_back();
        running_[elsewhere->node].push_back(moved);
        return placement;
      }
    }
    return std::nullopt;
  }

 private:
  struct Running {
    Demand demand;
    Placement placement;
  };
  Cluster& cluster_;
  Placer& placer_;
  std::vector<std::vector<Running>> running_;  // by node
};

}  // namespace

StatusOr<Run> Simulate(const Setup& setup, uint64_t seed, Placer* placer) {
  Cluster cluster = OrderNodes(setup.nodes, seed);
  const std::vector<Demand> arrivals = OrderArrivals(setup, seed);
  const auto all = static_cast<double>(cluster.device_capacity());
  constexpr int kMostLoad = 1000;
  struct Sum {
    double allocated = 0;
    uint64_t events = 0;
  };
  std::vector<Sum> at_load(kMostLoad + 1);
  Run run;
  run.seed = seed;
  run.arrived = arrivals.size();
  int64_t requested = 0;
  uint64_t seen = 0;
  Moves moves(&cluster, placer);
  const auto start = std::chrono::steady_clock::now();
  for (const Demand& demand : arrivals) {
    placer->Observe(demand);
    requested += demand.device_amount();
    ++seen;
    std::optional<Placement> placement = placer->Choose(cluster, demand);
    if (!placement && demand.wants_devices() &&
        static_cast<double>(run.migrated + 1) * 1000 <=
            static_cast<double>(setup.migrations) * static_cast<double>(seen)) {
      placement = moves.MakeRoom(demand);
      run.migrated += placement ? 1 : 0;
    }
    if (placement) {
      if (!cluster.Take(demand, *placement)) {
        return Internal(absl::StrCat("the placer chose node ", placement->node,
                                     ", where the demand does not fit"));
      }
      if (setup.migrations > 0) moves.Started(demand, *placement);
    } else {
      ++run.dropped;
      ++run.dropped_shapes[ShapeClass(demand)];
    }
    const auto load = std::lround(100 * static_cast<double>(requested) / all);
    if (load > kMostLoad) continue;
    Sum& sum = at_load[static_cast<size_t>(load)];
    sum.allocated += 100 * (1 - static_cast<double>(cluster.device_left()) / all);
    ++sum.events;
  }
  run.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();

  for (int i = 0; i < kLoads; ++i) {
    const int load = kFirstLoad + i * kLoadStep;
    Sum sum;
    for (int away = 0; away <= kMostLoad && sum.events == 0; ++away) {
      for (const int at : {load - away, load + away}) {
        if (at < 0 || at > kMostLoad || (away == 0 && sum.events > 0)) continue;
        sum.allocated += at_load[static_cast<size_t>(at)].allocated;
        sum.events += at_load[static_cast<size_t>(at)].events;
      }
    }
    if (sum.events > 0) {
      run.allocated[static_cast<size_t>(i)] = sum.allocated / static_cast<double>(sum.events);
    }
  }
  // Below what every tenth task asks for there is as good as no cpu.
  std::vector<int64_t> cpu;
  for (const Demand& demand : arrivals) {
    if (demand.wants_devices()) cpu.push_back(demand.cpu);
  }
  const size_t tenth = cpu.size() / 10;
  if (!cpu.empty()) {
    std::nth_element(cpu.begin(), cpu.begin() + static_cast<ptrdiff_t>(tenth), cpu.end());
  }
  for (NodeIndex node = 0; node < cluster.size(); ++node) {
    for (const int16_t left : cluster.state(node).device) {
      if (left == kWholeDevice) run.left_whole += 100 * left / all;
      if (!cpu.empty() && cluster.state(node).cpu < cpu[tenth]) {
        run.left_without_cpu += 100 * left / all;
      }
    }
  }
  return run;
}

}  // namespace trackbed::openb
