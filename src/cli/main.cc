// The `trackbed` program: reads the command line, calls one command.
#include <absl/strings/str_cat.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <clocale>
#include <cstdio>
#include <cstring>
#include <string_view>
#include <vector>

#include "cli/commands.hpp"
#include "cli/exit_code.hpp"
#include "trackbed/base/diagnostic.hpp"
#include "trackbed/pipeline/pipeline.hpp"

namespace trackbed::cli {
namespace {

constexpr char kFooter[] =
    "Exit codes: 0 done, 1 the run failed, 2 wrong usage or input, 3 cancelled,\n"
    "4 interrupted (resume continues it), 5 another process holds the store,\n"
    "6 the machine is in the way (disk full, no permission, damaged data)";

void AddEndpointOption(CLI::App* command, ExecutorChoice* executor) {
  command->add_option("--endpoint", executor->endpoint,
                      "Container engine: unix:///PATH, tcp://HOST:PORT, https://HOST:PORT "
                      "(default: $DOCKER_HOST, else the usual sockets)");
}

void AddSlurmOptions(CLI::App* command, ExecutorChoice* executor) {
  command->add_option("--partition", executor->partitions,
                      "Partition of Slurm: NAME, or GROUP=NAME for a resource group");
  command->add_option("--account", executor->accounts, "Account of Slurm: NAME or GROUP=NAME");
  command->add_option("--qos", executor->qualities,
                      "Quality of service of Slurm: NAME or GROUP=NAME");
  command->add_option("--sbatch", executor->submit_options,
                      "One more option for sbatch, written --sbatch=--constraint=NAME");
  command->add_option("--slurm-endpoint", executor->slurm_endpoint,
                      "slurmrestd: unix:///PATH, http://HOST:PORT, https://HOST:PORT "
                      "(default: Slurm's commands)");
  command->add_option("--slurm-token-file", executor->slurm_token_file,
                      "File with a token for slurmrestd (default: $SLURM_JWT)");
}

void AddExecutorOptions(CLI::App* command, ExecutorChoice* executor) {
  command
      ->add_option("--on", executor->on, "Run tasks as processes, in containers, or as Slurm jobs")
      ->check(CLI::IsMember({"process", "docker", "slurm"}))
      ->capture_default_str();
  AddEndpointOption(command, executor);
  command->add_option("--image", executor->image, "Image of tasks that name none");
  command->add_option("--network", executor->network, "Network of containers: none, host, a name");
  command->add_option("--user", executor->user,
                      "User in containers: UID:GID, or image (default: who runs this)");
  command->add_flag("--read-only-root", executor->read_only_root,
                    "Containers write to their tasks' folders and /tmp only");
  command->add_option("--registry", executor->registries,
                      "Login to a registry: SERVER=USER:secret://SOURCE/NAME");
  command->add_option("--credentials", executor->credentials,
                      "Logins to registries, as docker login leaves them (default: Docker's own "
                      "config.json)");
  command
      ->add_option_function<std::string>(
          "--node-lease",
          [executor](const std::string& text) {
            const StatusOr<Duration> lease = ParseDuration(text);
            if (!lease.ok() || *lease <= Duration(0)) {
              throw CLI::ValidationError("--node-lease",
                                         "found \"" + text + "\", expected a duration such as 2m");
            }
            executor->node_lease = *lease;
          },
          "How long a node may be silent until what runs there is tried elsewhere")
      ->default_str("1m");
  command->add_option("--placer", executor->placer,
                      "What chooses among several nodes: spread, pack, locality-aware, … (default: "
                      "default with accelerators, else spread)");
  AddSlurmOptions(command, executor);
}

void AddDriveOptions(CLI::App* command, DriveOptions* options) {
  command->add_option("--slots", options->slots,
                      "What may be used at once, over what the machine has: NAME=AMOUNT");
  command->add_flag("--preempt", options->preempt,
                    "Stop tasks for those that wait with a higher priority");
  command
      ->add_option("--sandbox", options->sandbox, "Mount folders at absolute paths by bubblewrap")
      ->check(CLI::IsMember({"auto", "never", "always"}))
      ->capture_default_str();
  command->add_option("--results", options->results, "Folder to publish the pipeline's results in");
  command->add_flag("--json", options->json, "Print each event as a JSON object a line");
  command->add_flag("--plain", options->plain, "Print a line an event, though this is a terminal");
  command->add_flag("--wait", options->wait, "Wait while another process holds the store");
  AddExecutorOptions(command, &options->executor);
}

std::string UnknownCommand(const CLI::App& app, const std::string& name) {
  std::vector<std::string> names;
  for (const CLI::App* command : app.get_subcommands({})) names.push_back(command->get_name());
  const std::string_view near =
      ClosestMatch(name, std::vector<std::string_view>(names.begin(), names.end()));
  return absl::StrCat("unknown command \"", name, "\"", near.empty() ? "" : "; did you mean \"",
                      AbslView(near), near.empty() ? "" : "\"?");
}

int Main(int argc, char** argv) {
  CLI::App app{"Trackbed runs AI pipelines, durably, inside one process.", "trackbed"};
  app.require_subcommand(1);
  app.set_version_flag("--version", "trackbed " TRACKBED_VERSION);
  app.footer(kFooter);
  app.get_formatter()->column_width(28);

  CommonOptions common;
  app.add_option("--home", common.home,
                 "Folder of the store and the runs (default: $TRACKBED_HOME, else .trackbed)");
  std::string durability = "power";
  app.add_option("--durability", durability,
                 "What a finished step survives: power (a power cut) or process (a kill)")
      ->check(CLI::IsMember({"power", "process"}))
      ->capture_default_str();
  app.fallthrough();

  int code = kSuccess;
  const auto command = [&](const char* name, const char* help, auto body) {
    CLI::App* added = app.add_subcommand(name, help);
    added->callback([&, body] {
      common.durability = durability == "process" ? Durability::process : Durability::power;
      code = body();
    });
    return added;
  };

  RunOptions run;
  CLI::App* run_command =
      command("run", "Run a pipeline file", [&] { return RunPipeline(common, run); });
  run_command->add_option("FILE", run.file, "Pipeline: YAML, JSON, or FastTrack's YAML")
      ->required();
  run_command->add_option("--param,-p", run.parameters, "Set a parameter: NAME=VALUE");
  run_command->add_flag("--dry-run", run.dry_run, "Check and show what would run, and stop");
  run_command->add_option("--priority", run.priority, "Higher goes first (default: the pipeline's)")
      ->check(CLI::Range(-kMaxPriority, +kMaxPriority));
  run_command->add_flag("--no-cache", run.no_cache, "Run every task, though results are known");
  AddDriveOptions(run_command, &run);

  ContinueOptions resume;
  CLI::App* resume_command = command("resume", "Continue an interrupted or cancelled run",
                                     [&] { return ResumeRun(common, resume); });
  resume_command->add_option("RUN", resume.run, "Run, or latest")->required();
  AddDriveOptions(resume_command, &resume);

  ContinueOptions retry;
  CLI::App* retry_command =
      command("retry", "Run the failed tasks of a run again, or some tasks and all after them",
              [&] { return RetryRun(common, retry); });
  retry_command->add_option("RUN", retry.run, "Run, or latest")->required();
  retry_command->add_option("--from", retry.from, "Task to start from, with all that depend on it");
  AddDriveOptions(retry_command, &retry);

  std::string run_id;
  bool json = false;
  const auto takes_run = [&](CLI::App* added) {
    added->add_option("RUN", run_id, "Run, or latest")->required();
    return added;
  };
  ExecutorChoice executor;
  AddEndpointOption(takes_run(command("cancel", "Stop a run, whoever drives it",
                                      [&] { return CancelRun(common, run_id, executor); })),
                    &executor);
  CLI::App* doctor = command("doctor", "Check what tasks need of this machine, and how to mend it",
                             [&] { return Diagnose(common, executor); });
  AddEndpointOption(doctor, &executor);
  AddSlurmOptions(doctor, &executor);

  DecideOptions decide;
  const auto decide_command = [&](const char* name, const char* help, bool approve) {
    CLI::App* added = command(name, help, [&, approve] {
      decide.approve = approve;
      return DecideTask(common, decide);
    });
    added->add_option("RUN", decide.run, "Run, or latest")->required();
    added->add_option("TASK", decide.task, "Task that waits for approval")->required();
    added->add_option("--comment,-m", decide.comment, "What to remember about it");
    added->add_option("--by", decide.by, "Who decides (default: who runs this)");
  };
  decide_command("approve", "Let a task that waits for approval succeed", true);
  decide_command("reject", "Let a task that waits for approval fail", false);

  size_t limit = 20;
  CLI::App* runs_command =
      command("runs", "List runs, newest first", [&] { return ListRuns(common, limit, json); });
  runs_command->add_option("--limit,-n", limit, "At most so many")->capture_default_str();
  runs_command->add_flag("--json", json, "One JSON object a line");

  takes_run(command("show", "Show a run and its tasks", [&] {
    return ShowRun(common, run_id, json);
  }))->add_flag("--json", json, "As JSON");

  uint64_t from = 1;
  takes_run(command("events", "Print what happened to a run, a JSON object a line",
                    [&] { return PrintEvents(common, run_id, from); }))
      ->add_option("--from", from, "Number of the first event")
      ->capture_default_str();

  LogOptions log;
  CLI::App* logs_command =
      command("logs", "Print what a task wrote", [&] { return ShowLog(common, log); });
  logs_command->add_option("RUN", log.run, "Run, or latest")->required();
  logs_command->add_option("TASK", log.task, "Task")->required();
  logs_command->add_option("--attempt", log.attempt, "Which attempt (default: the latest)");
  logs_command->add_option("--member", log.member, "Of a gang: main1, sub1, sub2, …")
      ->capture_default_str();
  logs_command->add_flag("--follow,-f", log.follow, "Go on until the task ends");

  std::string task;
  takes_run(command("why", "Explain why a task was, or was not, taken from the cache",
                    [&] { return ExplainCache(common, run_id, task); }))
      ->add_option("TASK", task, "Task")
      ->required();

  CLI::App* explain_command =
      takes_run(command("explain", "Explain why a task is not running",
                        [&] { return ExplainWait(common, run_id, task, json); }));
  explain_command->add_option("TASK", task, "Task")->required();
  explain_command->add_flag("--json", json, "As JSON");

  std::string file;
  CLI::App* validate_command =
      command("validate", "Check a pipeline file", [&] { return ValidateFile(file, json); });
  validate_command->add_option("FILE", file, "Pipeline")->required();
  validate_command->add_flag("--json", json, "Diagnostics as JSON");

  std::string node_file;
  std::string gpu_slot = "cuda.device";
  CLI::App* node_command = command("node", "Describe this machine, or check a description of one",
                                   [&] { return DescribeNode(node_file, gpu_slot); });
  node_command->add_option("FILE", node_file, "A description, YAML or JSON (none: this machine)");
  node_command->add_option("--gpu-slot", gpu_slot, "What GPUs are handed out as")
      ->check(CLI::IsMember({"cuda.device", "cuda.shares"}))
      ->capture_default_str();

  CLI::App* nodes_command = app.add_subcommand("nodes", "The machines that runs use");
  nodes_command->require_subcommand(1);
  nodes_command->fallthrough();
  std::vector<std::string> node_files;
  std::vector<std::string> node_names;
  const auto nodes_subcommand = [&](const char* name, const char* help, auto body) {
    CLI::App* added = nodes_command->add_subcommand(name, help);
    added->callback([&, body] { code = body(); });
    added->fallthrough();
    return added;
  };
  nodes_subcommand("add", "Add machines; they are used instead of this one",
                   [&] { return AddNodes(common, node_files); })
      ->add_option("FILE", node_files, "Descriptions, YAML or JSON: one or a list")
      ->required();
  nodes_subcommand("list", "List them, and what runs there", [&] {
    return ListNodes(common, json);
  })->add_flag("--json", json, "One JSON object a line");
  nodes_subcommand("drain", "Start nothing new there",
                   [&] { return DrainNodes(common, node_names, true); })
      ->add_option("NODE", node_names, "Nodes")
      ->required();
  nodes_subcommand("undrain", "Use them again",
                   [&] { return DrainNodes(common, node_names, false); })
      ->add_option("NODE", node_names, "Nodes")
      ->required();
  nodes_subcommand("remove", "Take them away; nothing may run there",
                   [&] { return RemoveNodes(common, node_names); })
      ->add_option("NODE", node_names, "Nodes")
      ->required();

  std::string graph_format = "text";
  CLI::App* graph_command = command("graph", "Draw the graph of a pipeline file",
                                    [&] { return DrawGraph(file, graph_format); });
  graph_command->add_option("FILE", file, "Pipeline")->required();
  graph_command->add_option("--format", graph_format, "text, dot, mermaid or json")
      ->check(CLI::IsMember({"text", "dot", "mermaid", "json"}))
      ->capture_default_str();

  std::string import_form;
  std::string output;
  CLI::App* import_command = command("import", "Convert a pipeline file to Trackbed's own YAML",
                                     [&] { return ImportFile(file, output); });
  import_command->add_option("FORM", import_form, "Form of the file")
      ->check(CLI::IsMember({"fasttrack"}))
      ->required();
  import_command->add_option("FILE", file, "Pipeline")->required();
  import_command->add_option("--output,-o", output, "File to write (default: standard output)");

  std::string export_format = "yaml";
  CLI::App* export_command =
      command("export", "Write the pipeline of a file or a run in another form",
              [&] { return ExportPipeline(common, file, export_format, output); });
  export_command->add_option("FILE-OR-RUN", file, "Pipeline file, run, or latest")->required();
  export_command->add_option("--format", export_format, "yaml, json or fasttrack")
      ->check(CLI::IsMember({"yaml", "json", "fasttrack"}))
      ->capture_default_str();
  export_command->add_option("--output,-o", output, "File to write (default: standard output)");

  SimulateOptions simulate;
  CLI::App* simulate_command = command(
      "simulate", "Show what the scheduler would have done with the work of a trace",
      [&] { return simulate.format == "openb" ? Simulate(simulate) : SimulateTrace(simulate); });
  simulate_command
      ->add_option("--format", simulate.format,
                   "Form of the trace; openb fills the cluster, without times")
      ->check(CLI::IsMember({"openb", "philly", "sacct", "yaml"}))
      ->capture_default_str();
  simulate_command->add_option("--nodes", simulate.nodes, "CSV of the nodes")->required();
  simulate_command->add_option("--workload", simulate.workload, "File of the work")->required();
  simulate_command->add_option("--policy", simulate.policy, "Placement policy")
      ->capture_default_str();
  simulate_command
      ->add_option("--inflate", simulate.inflate, "Load that arrives, 1: as many devices as exist")
      ->capture_default_str();
  simulate_command->add_option("--seeds", simulate.seeds, "Runs: FIRST-LAST, or N,N,…")
      ->capture_default_str();
  simulate_command
      ->add_option("--migrations", simulate.migrations,
                   "Tasks that may be moved to make room, for each 1,000 that arrive (openb)")
      ->capture_default_str();
  simulate_command->add_flag("--learn", simulate.learn,
                             "Do not tell the policy beforehand what work to expect");
  simulate_command->add_flag("--json", simulate.json, "As JSON (openb)");
  simulate_command->add_option("--order", simulate.order, "Order of the queue (not openb)")
      ->check(CLI::IsMember({"fifo", "lifo", "drf", "fair-share"}))
      ->capture_default_str();
  simulate_command->add_option("--backfill", simulate.backfill, "Who may overtake")
      ->check(CLI::IsMember({"strict", "any", "easy", "conservative"}))
      ->capture_default_str();
  simulate_command->add_flag("--preempt", simulate.preempt, "Stop work for what is more important");
  simulate_command->add_flag("--exact", simulate.exact, "The scheduler knows all run times");
  simulate_command->add_option("--csv", simulate.csv, "Write a line for each job to this file");
  simulate_command->add_option("--html", simulate.html, "Write a report to this file");

  std::string store_file;
  CLI::App* db_command = app.add_subcommand("db", "Look after the store");
  db_command->require_subcommand(1);
  db_command->fallthrough();
  CLI::App* check_command = db_command->add_subcommand(
      "check", "Read all of it and say what is damaged; also while it is in use");
  check_command->add_option("FILE", store_file, "A store (default: that of the home folder)");
  check_command->callback([&] { code = CheckDatabase(common, store_file); });
  check_command->fallthrough();
  CLI::App* backup_command = db_command->add_subcommand(
      "backup", "Copy it as it is at one moment, and check the copy; also while it is in use");
  backup_command->add_option("FILE", store_file, "The new file")->required();
  backup_command->callback([&] { code = BackUpDatabase(common, store_file); });
  backup_command->fallthrough();

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    // CLI11 sees that there is no command before it sees what there is instead.
    const std::vector<std::string> rest = app.remaining();
    if (dynamic_cast<const CLI::RequiredError*>(&error) != nullptr && !rest.empty() &&
        app.get_subcommands().empty()) {
      return Fail(InvalidArgument(UnknownCommand(app, rest.front())));
    }
    const int parse_code = app.exit(error);
    return parse_code == 0 ? kSuccess : kBadInput;
  }
  return code;
}

}  // namespace
}  // namespace trackbed::cli

namespace {

// A pipeline in a Python file is run by the Python package, with the parameters as flags.
int RunPython(int argc, char** argv) {
  std::vector<char*> arguments = {const_cast<char*>("python3"), const_cast<char*>("-m"),
                                  const_cast<char*>("trackbed")};
  arguments.insert(arguments.end(), argv + 1, argv + argc);
  arguments.push_back(nullptr);
  execvp(arguments[0], arguments.data());
  std::fprintf(stderr, "trackbed: cannot run python3: %s\n", std::strerror(errno));
  return trackbed::cli::kEnvironment;
}

}  // namespace

int main(int argc, char** argv) {
  std::setlocale(LC_CTYPE, "");
  if (argc > 2 && std::string_view(argv[1]) == "run" &&
      std::string_view(argv[2]).ends_with(".py")) {
    return RunPython(argc, argv);
  }
  return trackbed::cli::Main(argc, argv);
}
