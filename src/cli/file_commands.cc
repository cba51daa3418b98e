// validate, graph, import, export: the commands about pipeline files.
#include <absl/strings/str_cat.h>
#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "cli/commands.hpp"
#include "cli/exit_code.hpp"
#include "cli/terminal.hpp"
#include "trackbed/engine/engine.hpp"
#include "trackbed/engine/run_queries.hpp"
#include "trackbed/pipeline/fasttrack.hpp"
#include "trackbed/pipeline/graph.hpp"
#include "trackbed/pipeline/writer.hpp"

namespace trackbed::cli {
namespace {

// To standard output, or to a file as a whole: a reader never sees half of it.
int WriteOut(const std::string& text, const std::string& output) {
  if (output.empty() || output == "-") {
    std::fwrite(text.data(), 1, text.size(), stdout);
    return kSuccess;
  }
  const std::string temporary = absl::StrCat(output, ".tmp-", getpid());
  std::ofstream file(temporary, std::ios::binary | std::ios::trunc);
  file << text;
  file.close();
  std::error_code error;
  if (file) std::filesystem::rename(temporary, output, error);
  if (!file || error) {
    std::filesystem::remove(temporary, error);
    return Fail(FailedPrecondition(absl::StrCat("cannot write ", output)));
  }
  return kSuccess;
}

}  // namespace

void PrintDiagnostics(const Diagnostics& diagnostics) {
  if (diagnostics.items().empty()) return;
  std::fprintf(stderr, "%s\n", PrintableLines(diagnostics.ToString()).c_str());
}

int Fail(const Status& status) {
  std::fprintf(stderr, "trackbed: %s\n", PrintableLines(Message(status)).c_str());
  return ExitCodeFor(status);
}

std::optional<Pipeline> LoadOrComplain(const std::string& file) {
  ParsedPipeline parsed = LoadPipeline(file);
  PrintDiagnostics(parsed.diagnostics);
  return std::move(parsed.pipeline);
}

int ValidateFile(const std::string& file, bool json) {
  const ParsedPipeline parsed = LoadPipeline(file);
  if (json) {
    nlohmann::ordered_json out;
    out["file"] = file;
    out["valid"] = parsed.pipeline.has_value();
    if (parsed.pipeline) out["version"] = PipelineVersion(*parsed.pipeline);
    out["diagnostics"] = nlohmann::ordered_json::array();
    for (const Diagnostic& item : parsed.diagnostics.items()) {
      const bool is_error = item.severity == Diagnostic::Severity::error;
      out["diagnostics"].push_back({{"severity", is_error ? "error" : "warning"},
                                    {"line", item.position.line},
                                    {"column", item.position.column},
                                    {"path", item.path},
                                    {"message", item.message}});
    }
    std::printf("%s\n",
                out.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace).c_str());
  } else {
    PrintDiagnostics(parsed.diagnostics);
    if (parsed.pipeline) {
      std::printf("%s: pipeline \"%s\" is valid, %s\nversion %s\n", file.c_str(),
                  parsed.pipeline->name.c_str(),
                  CountOfTasks(parsed.pipeline->tasks.size()).c_str(),
                  PipelineVersion(*parsed.pipeline).c_str());
    }
  }
  return parsed.pipeline ? kSuccess : kBadInput;
}

int DrawGraph(const std::string& file, const std::string& format) {
  const std::optional<Pipeline> pipeline = LoadOrComplain(file);
  if (!pipeline) return kBadInput;
  const StatusOr<Graph> graph = Graph::Build(*pipeline);
  if (!graph.ok()) return Fail(graph.status());
  const GraphFormat chosen = format == "dot"       ? GraphFormat::dot
                             : format == "mermaid" ? GraphFormat::mermaid
                             : format == "json"    ? GraphFormat::json
                                                   : GraphFormat::text;
  std::fputs(RenderGraph(*pipeline, *graph, chosen).c_str(), stdout);
  return kSuccess;
}

int ImportFile(const std::string& file, const std::string& output) {
  const std::optional<Pipeline> pipeline = LoadOrComplain(file);
  if (!pipeline) return kBadInput;
  return WriteOut(WriteYaml(*pipeline), output);
}

int ExportPipeline(const CommonOptions& common, const std::string& what, const std::string& format,
                   const std::string& output) {
  std::optional<Pipeline> pipeline;
  std::error_code error;
  if (std::filesystem::exists(what, error)) {
    pipeline = LoadOrComplain(what);
    if (!pipeline) return kBadInput;
  } else {
    const auto load = [&]() -> StatusOr<StoredRun> {
      TRACKBED_ASSIGN_OR_RETURN(const auto store, OpenForReading(common));
      TRACKBED_ASSIGN_OR_RETURN(const RunId id, ResolveRun(*store, what));
      return LoadRun(*store, id);
    };
    const StatusOr<StoredRun> run = load();
    if (absl::IsNotFound(run.status())) {
      return Fail(NotFound(absl::StrCat("there is neither a file nor a run \"", what, "\"")));
    }
    if (!run.ok()) return Fail(run.status());
    pipeline = run->state->pipeline();
  }
  if (format == "json") return WriteOut(WriteJson(*pipeline), output);
  if (format == "yaml") return WriteOut(WriteYaml(*pipeline), output);
  const FastTrackDocument document = WriteFastTrack(*pipeline);
  for (const std::string& lost : document.lost) {
    std::fprintf(stderr, "warning: FastTrack's form cannot say: %s\n", Printable(lost).c_str());
  }
  return WriteOut(document.yaml, output);
}

}  // namespace trackbed::cli
