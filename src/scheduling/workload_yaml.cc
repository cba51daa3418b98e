// Workloads that people write: YAML or JSON, the form that workload.hpp describes.
#include <absl/container/flat_hash_set.h>
#include <absl/strings/str_cat.h>

#include <algorithm>

#include "pipeline/document.hpp"
#include "pipeline/schema_reader.hpp"
#include "trackbed/base/slot_type.hpp"
#include "trackbed/scheduling/workload.hpp"

namespace trackbed {
namespace {

constexpr Duration kLongest = std::chrono::hours(24 * 3660);
constexpr int64_t kMostJobs = 1'000'000;
constexpr int64_t kMostCpu = int64_t{1} << 30U;
constexpr int64_t kMostMemory = int64_t{1} << 50U;

// Of one entry of the list.
struct JobDraft {
  Job job;
  Duration submitted{0};  // after the start of the workload
  int64_t count = 1;
  Duration every{0};
};

struct WorkloadDraft {
  Workload workload;
  absl::flat_hash_set<std::string> names;
};

template <Duration JobDraft::* Member>
void ReadAfter(SchemaReader& reader, const DocumentNode& node, const NodePath& path,
               JobDraft* draft) {
  Duration value{0};
  if (!reader.TimeSpan(node, path, &value)) return;
  if (value > kLongest) return reader.Expected(node, path, "at most ten years");
  draft->*Member = value;
}

template <Duration Job::* Member>
void ReadLength(SchemaReader& reader, const DocumentNode& node, const NodePath& path,
                JobDraft* draft) {
  Duration value{0};
  if (!reader.TimeSpan(node, path, &value)) return;
  if (value > kLongest) return reader.Expected(node, path, "at most ten years");
  draft->job.*Member = value;
}

void ReadTenant(SchemaReader& reader, const DocumentNode& node, const NodePath& path,
                JobDraft* draft) {
  std::string tenant;
  if (!reader.Text(node, path, &tenant)) return;
  if (tenant.starts_with('/') || tenant.ends_with('/') || tenant.find("//") != std::string::npos) {
    return reader.Expected(node, path, "names with a slash between them, such as research/ada");
  }
  draft->job.tenant = std::move(tenant);
}

bool ReadAmount(SchemaReader& reader, const DocumentNode& node, const NodePath& path,
                std::string_view slot, Quantity most, Quantity* amount) {
  if (node.kind != DocumentNode::Kind::scalar) {
    reader.Expected(node, path, "an amount such as 2, 1.5 or 16g");
    return false;
  }
  const StatusOr<Quantity> parsed =
      slot == "devices" ? Quantity::ParseCount(node.scalar) : ParseSlotAmount(slot, node.scalar);
  if (!parsed.ok()) {
    reader.Error(node, path, std::string(Message(parsed.status())));
    return false;
  }
  if (*parsed < Quantity() || *parsed > most) {
    reader.Expected(node, path, absl::StrCat("0 to ", most.ToString()));
    return false;
  }
  *amount = *parsed;
  return true;
}

void ReadResources(SchemaReader& reader, const DocumentNode& node, const NodePath& path,
                   JobDraft* draft) {
  static constexpr SchemaField<Demand> kFields[] = {
      {"cpu",
       [](SchemaReader& r, const DocumentNode& n, const NodePath& p, Demand* d) {
         Quantity cpu;
         if (ReadAmount(r, n, p, "cpu", Quantity::FromThousandths(kMostCpu * 1000), &cpu)) {
           d->cpu = cpu.thousandths();
         }
       }},
      {"mem",
       [](SchemaReader& r, const DocumentNode& n, const NodePath& p, Demand* d) {
         Quantity bytes;
         if (ReadAmount(r, n, p, "mem", Quantity::FromThousandths(kMostMemory * 1000), &bytes)) {
           d->memory = bytes.units();
         }
       }},
      {"devices",
       [](SchemaReader& r, const DocumentNode& n, const NodePath& p, Demand* d) {
         Quantity devices;
         constexpr int64_t kMost = int64_t{kMaxDevices} * kWholeDevice;
         if (ReadAmount(r, n, p, "devices", Quantity::FromThousandths(kMost), &devices)) {
           d->whole_devices = static_cast<int16_t>(devices.thousandths() / kWholeDevice);
           d->share = static_cast<int16_t>(devices.thousandths() % kWholeDevice);
         }
       }},
  };
  reader.Fields<Demand>(node, path, "resources", kFields, &draft->job.demand);
}

constexpr SchemaField<JobDraft> kJobFields[] = {
    {"name", [](SchemaReader& r, const DocumentNode& n, const NodePath& p,
                JobDraft* d) { r.Text(n, p, &d->job.name); }},
    {"submitted", ReadAfter<&JobDraft::submitted>},
    {"run_time", ReadLength<&Job::run_time>},
    {"requested", ReadLength<&Job::requested>},
    {"tenant", ReadTenant},
    {"priority",
     [](SchemaReader& r, const DocumentNode& n, const NodePath& p, JobDraft* d) {
       int64_t priority = 0;
       if (r.Integer(n, p, INT32_MIN, INT32_MAX, &priority)) {
         d->job.priority = static_cast<int32_t>(priority);
       }
     }},
    {"resources", ReadResources},
    {"members",
     [](SchemaReader& r, const DocumentNode& n, const NodePath& p, JobDraft* d) {
       int64_t members = 1;
       if (r.Integer(n, p, 1, 100'000, &members)) d->job.members = static_cast<uint32_t>(members);
     }},
    {"on_different_nodes", [](SchemaReader& r, const DocumentNode& n, const NodePath& p,
                              JobDraft* d) { r.Boolean(n, p, &d->job.on_different_nodes); }},
    {"preemptible", [](SchemaReader& r, const DocumentNode& n, const NodePath& p,
                       JobDraft* d) { r.Boolean(n, p, &d->job.preemptible); }},
    {"count", [](SchemaReader& r, const DocumentNode& n, const NodePath& p,
                 JobDraft* d) { r.Integer(n, p, 1, kMostJobs, &d->count); }},
    {"every", ReadAfter<&JobDraft::every>},
};

void ReadJob(SchemaReader& reader, const DocumentNode& node, const NodePath& path,
             WorkloadDraft* draft) {
  JobDraft entry;
  if (!reader.Fields<JobDraft>(node, path, "job", kJobFields, &entry)) return;
  bool complete = true;
  for (const char* field : {"name", "run_time"}) {
    if (node.Find(field) != nullptr) continue;
    reader.Error(node, NodePath(path, field), absl::StrCat("\"", field, "\" is missing"));
    complete = false;
  }
  const DocumentNode* name = node.Find("name");
  if (complete && entry.job.name.empty() && !reader.IsReported(NodePath(path, "name").ToString())) {
    reader.Expected(*name, NodePath(path, "name"), "a name");
  }
  if (const DocumentNode* every = node.Find("every");
      every != nullptr && entry.every > kLongest / entry.count) {
    reader.Expected(*every, NodePath(path, "every"), "the last within ten years of the first");
    return;
  }
  if (static_cast<int64_t>(draft->workload.jobs.size()) + entry.count > kMostJobs) {
    reader.Error(node, path, absl::StrCat("there are more than ", kMostJobs, " jobs"));
    reader.MarkIncomplete();
    return;
  }
  if (!complete) return;
  for (int64_t i = 0; i < entry.count; ++i) {
    Job job = entry.job;
    if (entry.count > 1) absl::StrAppend(&job.name, "-", i);
    job.submitted = Time(entry.submitted + i * entry.every);
    if (!draft->names.insert(job.name).second) {
      reader.Error(*name, NodePath(path, "name"),
                   absl::StrCat("there is a job \"", job.name, "\" already"));
      return;
    }
    draft->workload.jobs.push_back(std::move(job));
  }
}

void ReadJobList(SchemaReader& reader, const DocumentNode& node, const NodePath& path,
                 WorkloadDraft* draft) {
  if (!reader.List(node, path)) return;
  for (size_t i = 0; i < node.items.size() && !reader.incomplete(); ++i) {
    ReadJob(reader, node.items[i], NodePath(path, i), draft);
  }
}

}  // namespace

Workload ReadYamlWorkload(std::string_view text, Diagnostics* diagnostics,
                          const ReaderLimits& limits) {
  static constexpr SchemaField<WorkloadDraft> kFields[] = {{"jobs", ReadJobList}};
  WorkloadDraft draft;
  DocumentNode root;
  if (!ParseYamlDocument(text, limits, &root, diagnostics)) return {};
  SchemaReader reader(diagnostics);
  const NodePath whole;
  if (reader.Fields<WorkloadDraft>(root, whole, "workload", kFields, &draft) &&
      root.Find("jobs") == nullptr) {
    reader.Error(root, NodePath(whole, "jobs"), "\"jobs\" is missing");
  }
  diagnostics->Sort();
  std::stable_sort(draft.workload.jobs.begin(), draft.workload.jobs.end(),
                   [](const Job& a, const Job& b) { return a.submitted < b.submitted; });
  return std::move(draft.workload);
}

}  // namespace trackbed
