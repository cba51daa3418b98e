// How GPUs are partitioned, as JSON: for programs in other languages.
#pragma once

#include <string>
#include <string_view>

#include "trackbed/base/status.hpp"

namespace trackbed {

// Every model known:
//   [{"model":"A100-40GB","profiles":[{"profile":"1g.5gb","slot":"cuda.device:1g.5gb-mig","id":19,
//     "compute_slices":1,"memory_slices":1,"starts":[0,1,2,3,4,5,6],"max_instances":7}]}]
std::string MigModelsAsJson();

// PlanMig of
//   {"devices":[{"id":"gpu0","model":"A100-40GB","healthy":true,
//                "instances":[{"id":"MIG-1","profile":"3g.20gb","start":0,"free":true}]}],
//    "profiles":["2g.10gb"],"reconfigure":true}
// as what is to be done in this order, and what each profile gets:
//   {"steps":[{"do":"destroy","device":"gpu0","instance":"MIG-1"},
//             {"do":"create","device":"gpu0","profile":"2g.10gb","id":14,"start":0}],
//    "assignments":[{"profile":"2g.10gb","device":"gpu0","start":0}]}
// An assignment to an instance that is there names it as "instance". Left out, "healthy" is true,
// "free" false, "instances" none, "reconfigure" false: then nothing is destroyed.
// kInvalidArgument says where the document is wrong; else errors are PlanMig's.
StatusOr<std::string> PlanMigFromJson(std::string_view json);

}  // namespace trackbed
