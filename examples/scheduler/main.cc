// The scheduler in a program of one's own: two nodes with GPUs, two teams, one full cluster.
//
//   c++ -std=c++20 main.cc $(pkg-config --cflags --libs trackbed)
#include <cstdio>
#include <trackbed/scheduling/placers.hpp>
#include <trackbed/scheduling/scheduler.hpp>
#include <utility>

int main() {
  using namespace trackbed;
  using std::chrono::minutes;

  SchedulerOptions options;
  options.policy.order = QueueOrder::drf;
  options.policy.reclaim = true;
  options.placer = *MakePlacer("default");
  options.resources = {"cpu", "mem", "cuda.shares"};
  Scheduler scheduler(std::move(options));

  for (const char* name : {"g1", "g2"}) {
    NodeCapacity capacity;
    capacity.cpu = 16'000;  // thousandths of a core
    capacity.memory = int64_t{64} << 30;
    capacity.device_count = 2;
    if (!scheduler.AddNode(name, capacity).ok()) return 1;
  }
  Quota half;
  half.guaranteed[kFirstDeviceResource] = 2 * kWholeDevice;
  const TenantIndex vision = *scheduler.AddTenant(kRootTenant, "vision", half);
  const TenantIndex speech = *scheduler.AddTenant(kRootTenant, "speech", half);

  Time now = SystemClock().Now();
  TaskRequest task;
  task.demand.cpu = 1000;
  task.demand.share = 500;  // half a GPU
  task.run_time = minutes(30);
  task.tenant = vision;
  for (TaskId id = 1; id <= 9; ++id) {
    task.id = id;
    if (const Status status = scheduler.Submit(task, now); !status.ok()) {
      std::printf("%s\n", status.ToString().c_str());
    }
  }
  for (const Start& start : scheduler.Schedule(now).starts) {
    std::printf("task %d starts on %s, device %d\n", static_cast<int>(start.task),
                scheduler.NodeName(start.members[0].node).c_str(), start.members[0].shared_device);
  }
  std::printf("task 9 waits: %s\n", scheduler.Explain(9, now).sentence.c_str());

  // The other team has a guarantee, and what vision borrows is given back.
  now += minutes(10);
  task.id = 10;
  task.tenant = speech;
  if (!scheduler.Submit(task, now).ok()) return 1;
  for (const Eviction& eviction : scheduler.Schedule(now).evictions) {
    std::printf("task %d is stopped for task %d\n", static_cast<int>(eviction.victim),
                static_cast<int>(eviction.beneficiary));
    if (!scheduler.Finish(eviction.victim, now).ok()) return 1;
  }
  for (const Start& start : scheduler.Schedule(now).starts) {
    std::printf("task %d starts on %s\n", static_cast<int>(start.task),
                scheduler.NodeName(start.members[0].node).c_str());
  }
  return 0;
}
