// What a process is told of its accelerators.
#include "executors/device_environment.hpp"

#include "executors/attempt_fixture.hpp"

namespace trackbed {
namespace {

using Environment = std::map<std::string, std::string>;

AssignedDevice Device(const std::string& slot, const std::string& id, int index,
                      int64_t thousandths) {
  return {slot, id, id, index, Quantity::FromThousandths(thousandths), 0};
}

TEST_CASE("a task without accelerators sees none of those that are handed out") {
  AttemptSpec spec;
  CHECK(DeviceEnvironment(spec).empty());
  spec.offered_slots = {"cuda.device", "cuda.shares", "rocm.device", "tpu.device"};
  CHECK(DeviceEnvironment(spec) ==
        Environment{{"CUDA_VISIBLE_DEVICES", "-1"}, {"ROCR_VISIBLE_DEVICES", "-1"}});
}

TEST_CASE("devices are named by number, or by UUID where it is known") {
  AttemptSpec spec;
  spec.offered_slots = {"cuda.device"};
  spec.devices = {Device("cuda.device", "gpu5", 5, 1000), Device("cuda.device", "gpu2", 2, 1000)};
  CHECK(DeviceEnvironment(spec) ==
        Environment{{"CUDA_VISIBLE_DEVICES", "5,2"}, {"TRACKBED_DEVICES", "gpu5,gpu2"}});
  spec.devices = {Device("cuda.device", "GPU-6f", 5, 1000)};
  CHECK(DeviceEnvironment(spec).at("CUDA_VISIBLE_DEVICES") == "GPU-6f");
  spec.devices = {Device("cuda.device:1g.5gb-mig", "MIG-8a", 0, 1000)};
  spec.devices[0].card = "GPU-6f";
  CHECK(DeviceEnvironment(spec).at("CUDA_VISIBLE_DEVICES") == "MIG-8a");
  spec.devices = {Device("rocm.device", "amd1", 1, 1000), Device("rngd.device", "npu0", 0, 1000)};
  CHECK(DeviceEnvironment(spec) == Environment{{"CUDA_VISIBLE_DEVICES", "-1"},
                                               {"ROCR_VISIBLE_DEVICES", "1"},
                                               {"TRACKBED_DEVICES", "amd1,npu0"}});
}

TEST_CASE("shares come with the limits that MPS keeps") {
  AttemptSpec spec;
  spec.devices = {Device("cuda.shares", "GPU-6f/shares", 0, 250)};
  spec.devices[0].card = "GPU-6f";
  spec.devices[0].memory = int64_t{80} << 30;
  CHECK(DeviceEnvironment(spec) == Environment{{"CUDA_MPS_ACTIVE_THREAD_PERCENTAGE", "25"},
                                               {"CUDA_MPS_PINNED_DEVICE_MEM_LIMIT", "0=20480M"},
                                               {"CUDA_VISIBLE_DEVICES", "GPU-6f"},
                                               {"TRACKBED_DEVICES", "GPU-6f/shares"}});
  // The percentage would hold for the whole device as well.
  spec.devices.insert(spec.devices.begin(), Device("cuda.shares", "GPU-77/shares", 1, 1000));
  const Environment two = DeviceEnvironment(spec);
  CHECK_FALSE(two.contains("CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"));
  CHECK(two.at("CUDA_MPS_PINNED_DEVICE_MEM_LIMIT") == "1=20480M");
}

TEST_CASE("a process has its devices in its environment, unless the task says otherwise") {
  const ScratchFolder scratch;
  const auto executor = MakeExecutor();
  AttemptSpec spec = ScriptSpec(scratch, "echo $CUDA_VISIBLE_DEVICES $TRACKBED_DEVICES");
  spec.offered_slots = {"cuda.device"};
  spec.devices = {Device("cuda.device", "gpu3", 3, 1000)};
  CHECK(RunToEnd(executor.get(), spec).exit_code == 0);
  CHECK(LogOf(spec) == "3 gpu3\n");
  AttemptSpec own = ScriptSpec(scratch, "echo $CUDA_VISIBLE_DEVICES", "run/own/1");
  own.offered_slots = {"cuda.device"};
  own.environment.push_back({"CUDA_VISIBLE_DEVICES", "0,1"});
  CHECK(RunToEnd(executor.get(), own).exit_code == 0);
  CHECK(LogOf(own) == "0,1\n");
}

}  // namespace
}  // namespace trackbed
