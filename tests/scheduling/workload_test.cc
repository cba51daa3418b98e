#include "trackbed/scheduling/workload.hpp"

#include <absl/strings/str_cat.h>

#include "support/catch.hpp"

namespace trackbed {
namespace {

using std::chrono::hours;
using std::chrono::seconds;

Time At(int64_t since_1970) { return Time(seconds(since_1970)); }

TEST_CASE("A philly trace is read by the names of its columns") {
  Diagnostics diagnostics("p.csv");
  const Workload workload = ReadPhillyWorkload(
      "user,vc,job,submitted,run_seconds,gpus,members,cpus,memory_gib,priority,color\r\n"
      "ada,vision,j2,2026-05-01 10:00:00,90.5,8,2,4,1.5,-3,red\r\n"
      "\"b,\"\"o\"\"\",a/b,j1,100,0,0.5,,,,,\"re\nd\"\n",
      &diagnostics);
  INFO(diagnostics.ToString());
  REQUIRE(!diagnostics.has_errors());
  REQUIRE(workload.jobs.size() == 2);
  const Job& first = workload.jobs[0];
  CHECK(first.name == "j1");
  CHECK(first.tenant == "a_b/b,\"o\"");
  CHECK(first.submitted == At(100));
  CHECK(first.run_time == Duration{0});
  CHECK(first.demand.share == 500);
  const Job& second = workload.jobs[1];
  CHECK(second.submitted == At(1'777'629'600));
  CHECK(second.run_time == std::chrono::milliseconds(90'500));
  CHECK(second.requested == Duration{0});
  CHECK(second.demand.whole_devices == 4);
  CHECK(second.demand.cpu == 2000);
  CHECK(second.demand.memory == int64_t{768} << 20U);
  CHECK(second.members == 2);
  CHECK(second.priority == -3);
}

TEST_CASE("A workload written by hand is read") {
  Diagnostics diagnostics("w.yaml");
  const Workload workload = ReadYamlWorkload(
      "jobs:\n"
      "- {name: last, run_time: 90s, submitted: 1h, priority: -2, preemptible: false}\n"
      "- name: many\n"
      "  run_time: 2h\n"
      "  requested: 3h\n"
      "  tenant: research/ada\n"
      "  resources: {cpu: 1.5, mem: 2GiB, devices: 2.25}\n"
      "  members: 3\n"
      "  on_different_nodes: true\n"
      "  count: 2\n"
      "  every: 10m\n",
      &diagnostics);
  INFO(diagnostics.ToString());
  REQUIRE(!diagnostics.has_errors());
  REQUIRE(workload.jobs.size() == 3);
  const Job& first = workload.jobs[0];
  CHECK(first.name == "many-0");
  CHECK(first.submitted == At(0));
  CHECK(first.run_time == hours(2));
  CHECK(first.requested == hours(3));
  CHECK(first.tenant == "research/ada");
  CHECK(first.demand.cpu == 1500);
  CHECK(first.demand.memory == int64_t{2} << 30U);
  CHECK(first.demand.whole_devices == 2);
  CHECK(first.demand.share == 250);
  CHECK(first.members == 3);
  CHECK(first.on_different_nodes);
  CHECK(first.preemptible);
  CHECK(workload.jobs[1].name == "many-1");
  CHECK(workload.jobs[1].submitted == At(600));
  CHECK(workload.jobs[2].name == "last");
  CHECK(workload.jobs[2].priority == -2);
  CHECK(!workload.jobs[2].preemptible);
}

TEST_CASE("Mistakes in a workload written by hand have their places") {
  const auto mistakes = [](std::string_view text) {
    Diagnostics diagnostics("w.yaml");
    ReadYamlWorkload(text, &diagnostics);
    return diagnostics.ToString();
  };
  CHECK(mistakes("jobs:\n- {name: a, run_time: 1s}\n- {name: a, run_time: 1s}\n") ==
        "w.yaml:3:10: jobs[1].name: there is a job \"a\" already");
  CHECK(mistakes("jobs:\n- {name: a}\n") ==
        "w.yaml:2:3: jobs[0].run_time: \"run_time\" is missing");
  CHECK(mistakes("{}") == "w.yaml:1:1: jobs: \"jobs\" is missing");
  CHECK(mistakes("jobs: [{name: a, run_time: 1s, resources: {devices: 17}}]") ==
        "w.yaml:1:53: jobs[0].resources.devices: found 17, expected 0 to 16");
  CHECK(mistakes("jobs: [{name: a, run_time: 1s, tenant: /x}]") ==
        "w.yaml:1:40: jobs[0].tenant: found \"/x\", expected names with a slash between them, such "
        "as research/ada");
  CHECK(mistakes("jobs: [{name: a, run_time: 1s, count: 1000, every: 87000h}]")
            .find("expected the last within ten years of the first") != std::string::npos);
  CHECK(mistakes("jobs: [{name: a, run_time: 1s, count: 900000}, {name: b, run_time: 1s, count: "
                 "900000}]")
            .find("there are more than 1000000 jobs") != std::string::npos);
  CHECK(mistakes("jobs: [{name: a, run_time: 1s, memebers: 2}]").find("members") !=
        std::string::npos);
}

TEST_CASE("What sacct prints is read, without steps and what never started") {
  Diagnostics diagnostics("s.csv");
  const Workload workload = ReadSacctWorkload(
      "JobID,User,Account,Submit,Start,End,Timelimit,ReqCPUS,ReqMem,AllocTRES,ReqGRES,ReqNodes,"
      "Priority\n"
      "7,ada,nlp,2026-05-01T10:00:00,2026-05-01T10:30:00,2026-05-01T11:30:00,1-02:00:00,16,4Gc,"
      "\"billing=16,gres/gpu=4,gres/gpu:a100=4\",,2,4294967295\n"
      "7.batch,,nlp,2026-05-01T10:00:00,2026-05-01T10:30:00,2026-05-01T11:30:00,,16,,,,1,\n"
      "8,bo,nlp,2026-05-01T10:00:00,Unknown,Unknown,UNLIMITED,1,,,,1,\n"
      "9_1,bo,,2026-05-01T09:00:00,2026-05-01T10:30:00,2026-05-01T10:30:00,UNLIMITED,1,500M,,"
      "gpu:a100:1,,10\n",
      &diagnostics);
  INFO(diagnostics.ToString());
  REQUIRE(!diagnostics.has_errors());
  REQUIRE(workload.jobs.size() == 2);
  CHECK(workload.jobs[0].name == "9_1");
  CHECK(workload.jobs[0].tenant == "bo");
  CHECK(workload.jobs[0].run_time == Duration{0});
  CHECK(workload.jobs[0].requested == Duration{0});
  CHECK(workload.jobs[0].demand.whole_devices == 1);
  CHECK(workload.jobs[0].demand.memory == int64_t{500} << 20U);
  const Job& gang = workload.jobs[1];
  CHECK(gang.tenant == "nlp/ada");
  CHECK(gang.run_time == hours(1));
  CHECK(gang.requested == hours(26));
  CHECK(gang.members == 2);
  CHECK(gang.on_different_nodes);
  CHECK(gang.demand.cpu == 8000);
  CHECK(gang.demand.memory == int64_t{32} << 30U);
  CHECK(gang.demand.whole_devices == 2);
  CHECK(gang.priority == INT32_MAX);
}

std::string PhillyErrors(const std::string& text) {
  Diagnostics diagnostics("p.csv");
  ReadPhillyWorkload(text, &diagnostics);
  return diagnostics.ToString();
}

std::string PhillyErrorsOf(const std::string& row) {
  return PhillyErrors("job,vc,user,submitted,run_seconds,gpus,members\n" + row);
}

TEST_CASE("Mistakes in a trace are told with their place") {
  CHECK(PhillyErrors("") == "p.csv:1:1: found nothing, expected a line with the names of columns");
  CHECK(PhillyErrors("job,vc,user,submited,run_seconds,gpus,gpus\n") ==
        "p.csv:1:39: gpus: found this column twice\n"
        "p.csv:1:1: submitted: found no such column; is it \"submited\"?");
  CHECK(PhillyErrorsOf("j,é,u,1,-5,1,\n") ==
        "p.csv:2:9: run_seconds: found \"-5\", expected a number from 0 to 4294967296");
  CHECK(PhillyErrorsOf("j,v,u,1,nan,1,\n") ==
        "p.csv:2:9: run_seconds: found \"nan\", expected a number from 0 to 4294967296");
  CHECK(PhillyErrorsOf("j,v,u,x,5,1,0\n") ==
        "p.csv:2:7: submitted: found \"x\", expected a whole number from 0 to 4294967296\n"
        "p.csv:2:13: members: found \"0\", expected a whole number from 1 to 100000");
  CHECK(PhillyErrorsOf("j,v,u,2026-02-30T10:00:00,5,1,\n") ==
        "p.csv:2:7: submitted: found \"2026-02-30T10:00:00\", expected a time such as "
        "2026-05-01T10:00:00");
  CHECK(PhillyErrorsOf("j,v,u,1,5,1.5,\n") ==
        "p.csv:2:11: gpus: found \"1.5\", expected a share below 1, or whole devices that divide "
        "evenly among 1 members, at most 16 each");
  CHECK(PhillyErrorsOf("j,v,u,1,5,1,\n\nj,v,u,1,5,1,\n,v,u,1,5,1,\n") ==
        "p.csv:4:1: job: found \"j\", expected another name than in line 2\n"
        "p.csv:5:1: job: found \"\", expected a name");
  CHECK(PhillyErrorsOf("j,v,u,1,5,1\n") ==
        "p.csv:2:11: found 6 fields, expected 7, as in the first line");
  CHECK(PhillyErrorsOf("\"j\"x,v,u,1,5,1,\n\"") ==
        "p.csv:2:4: found text behind a quoted field, expected a comma\n"
        "p.csv:3:1: found a quote without an end\n"
        "p.csv:3:1: found 1 fields, expected 7, as in the first line");
}

TEST_CASE("Mistakes in what sacct printed") {
  const auto errors = [](const std::string& row) {
    Diagnostics diagnostics("s.csv");
    ReadSacctWorkload(
        "JobID,User,Account,Submit,Start,End,Timelimit,ReqCPUS,ReqMem,AllocTRES\n" + row,
        &diagnostics);
    return diagnostics.ToString();
  };
  const std::string times = "2026-05-01T10:00:00,2026-05-01T10:30:00,2026-05-01T11:30:00";
  CHECK(errors("1,u,a," + times + ",10:00,-1,,") ==
        "s.csv:2:73: ReqCPUS: found \"-1\", expected a whole number from 0 to 1073741824");
  CHECK(errors("1,u,a," + times + ",soon,1,4X,gres/gpu=-1") ==
        "s.csv:2:67: Timelimit: found \"soon\", expected [days-]hours:minutes:seconds\n"
        "s.csv:2:74: ReqMem: found \"4X\", expected an amount such as 4000M or 2.5G\n"
        "s.csv:2:77: AllocTRES: found \"gres/gpu=-1\", expected a count of gpus such as "
        "gres/gpu=4");
  CHECK(errors("1,u,a,2026-05-01T10:00:00,2026-05-01T10:30:00,2026-05-01T10:29:59,,1,,") ==
        "s.csv:2:47: End: found \"2026-05-01T10:29:59\", expected a time that is not before "
        "Start");
}

TEST_CASE("A made workload follows from its seed, and looks as it was asked for") {
  WorkloadMix mix;
  mix.jobs = 20'000;
  const Workload workload = MakeWorkload(mix, 1);
  REQUIRE(workload.jobs.size() == mix.jobs);
  size_t fractional = 0;
  size_t gangs = 0;
  std::vector<Duration> run_times;
  for (const Job& job : workload.jobs) {
    fractional += job.demand.share > 0 ? 1 : 0;
    gangs += job.members > 1 ? 1 : 0;
    run_times.push_back(job.run_time);
    CHECK((job.requested == Duration{0} || job.requested >= job.run_time));
  }
  CHECK(fractional > 9500);
  CHECK(fractional < 10'500);
  CHECK(gangs > 800);
  CHECK(gangs < 1200);
  std::nth_element(run_times.begin(), run_times.begin() + 10'000, run_times.end());
  CHECK(run_times[10'000] > std::chrono::minutes(14));
  CHECK(run_times[10'000] < std::chrono::minutes(16));
  const double between = std::chrono::duration<double>(workload.jobs.back().submitted -
                                                       workload.jobs.front().submitted)
                             .count() /
                         20'000;
  CHECK(between > 29);
  CHECK(between < 31);
  CHECK(MakeWorkload(mix, 1).jobs[19'999].run_time == workload.jobs[19'999].run_time);
  CHECK(MakeWorkload(mix, 2).jobs[19'999].submitted != workload.jobs[19'999].submitted);
}

}  // namespace
}  // namespace trackbed
