// Pipelines: reading, writing, asking.
#include "pipeline.hpp"

#include <absl/strings/str_join.h>

#include <filesystem>

#include "trackbed/pipeline/fasttrack.hpp"
#include "trackbed/pipeline/pipeline_json.hpp"
#include "trackbed/pipeline/reader.hpp"
#include "trackbed/pipeline/writer.hpp"

using namespace trackbed;        // NOLINT(google-build-using-namespace)
using namespace trackbed::capi;  // NOLINT(google-build-using-namespace)

namespace {

StatusOr<ParsedPipeline> Read(std::string_view text, trackbed_format format, std::string file) {
  switch (format) {
    case TRACKBED_FORMAT_AUTO: {
      const size_t start = text.find_first_not_of(" \t\r\n");
      if (start != std::string_view::npos && text[start] == '{') {
        return ReadPipeline(text, std::move(file), TextFormat::json);
      }
      if (LooksLikeFastTrack(text)) return ReadFastTrack(text, std::move(file));
      return ReadPipeline(text, std::move(file), TextFormat::yaml);
    }
    case TRACKBED_FORMAT_YAML:
      return ReadPipeline(text, std::move(file), TextFormat::yaml);
    case TRACKBED_FORMAT_JSON:
    case TRACKBED_FORMAT_CANONICAL:
      return ReadPipeline(text, std::move(file), TextFormat::json);
    case TRACKBED_FORMAT_FASTTRACK:
      return ReadFastTrack(text, std::move(file));
    case TRACKBED_FORMAT_PROTOBUF: {
      ParsedPipeline parsed;
      parsed.diagnostics = Diagnostics(std::move(file));
      StatusOr<Pipeline> decoded = DecodePipeline(text);
      if (!decoded.ok()) {
        parsed.diagnostics.Error({}, "", std::string(Message(decoded.status())));
        return parsed;
      }
      ValidatePipeline(*decoded, {}, &parsed.diagnostics);
      if (!parsed.diagnostics.has_errors()) parsed.pipeline = *std::move(decoded);
      return parsed;
    }
    default:
      return InvalidArgument("format: found an unknown one");
  }
}

Outcome Keep(ParsedPipeline parsed, std::string base, trackbed_pipeline** out) {
  if (!parsed.pipeline) return Outcome(parsed.diagnostics);
  StatusOr<Graph> graph = Graph::Build(*parsed.pipeline);
  if (!graph.ok()) return graph.status();
  std::string version = PipelineVersion(*parsed.pipeline);
  *out = new trackbed_pipeline{std::make_shared<const Pipeline>(*std::move(parsed.pipeline)),
                               *std::move(graph),
                               std::move(version),
                               std::move(base),
                               std::move(parsed.task_positions),
                               std::move(parsed.diagnostics)};
  return absl::OkStatus();
}

}  // namespace

trackbed_status trackbed_pipeline_parse(const char* data, size_t size, trackbed_format format,
                                        const char* file, size_t file_size, trackbed_pipeline** out,
                                        trackbed_error** error) noexcept {
  return Guard(error, [&]() -> Outcome {
    TRACKBED_NEED(out);
    std::string_view text;
    std::string name;
    TRACKBED_RETURN_IF_ERROR(ReadText(data, size, "data", &text));
    TRACKBED_RETURN_IF_ERROR(ReadText(file, file_size, "file", &name));
    StatusOr<ParsedPipeline> parsed = Read(text, format, std::move(name));
    if (!parsed.ok()) return parsed.status();
    return Keep(*std::move(parsed), "", out);
  });
}

trackbed_status trackbed_pipeline_load(const char* path, size_t path_size, trackbed_pipeline** out,
                                       trackbed_error** error) noexcept {
  return Guard(error, [&]() -> Outcome {
    TRACKBED_NEED(out);
    TRACKBED_NEED(path);
    std::string name;
    TRACKBED_RETURN_IF_ERROR(ReadText(path, path_size, "path", &name));
    std::error_code ignored;
    const std::string base = std::filesystem::absolute(name, ignored).parent_path().string();
    return Keep(LoadPipeline(name), base, out);
  });
}

trackbed_status trackbed_pipeline_validate(const char* data, size_t size, trackbed_format format,
                                           const char* file, size_t file_size, trackbed_bytes* json,
                                           trackbed_error** error) noexcept {
  return Guard(error, [&]() -> Status {
    TRACKBED_NEED(json);
    std::string_view text;
    std::string name;
    TRACKBED_RETURN_IF_ERROR(ReadText(data, size, "data", &text));
    TRACKBED_RETURN_IF_ERROR(ReadText(file, file_size, "file", &name));
    TRACKBED_ASSIGN_OR_RETURN(const ParsedPipeline parsed, Read(text, format, std::move(name)));
    return GiveBytes(CheckToJson(parsed.diagnostics, parsed.pipeline ? &*parsed.pipeline : nullptr),
                     json);
  });
}

trackbed_string trackbed_pipeline_name(const trackbed_pipeline* pipeline) noexcept {
  return pipeline == nullptr ? trackbed_string{"", 0} : Borrow(pipeline->pipeline->name);
}

trackbed_string trackbed_pipeline_version(const trackbed_pipeline* pipeline) noexcept {
  return pipeline == nullptr ? trackbed_string{"", 0} : Borrow(pipeline->version);
}

size_t trackbed_pipeline_task_count(const trackbed_pipeline* pipeline) noexcept {
  return pipeline == nullptr ? 0 : pipeline->pipeline->tasks.size();
}

size_t trackbed_pipeline_warning_count(const trackbed_pipeline* pipeline) noexcept {
  return pipeline == nullptr ? 0 : pipeline->warnings.items().size();
}

trackbed_status trackbed_pipeline_warning(const trackbed_pipeline* pipeline, size_t index,
                                          trackbed_diagnostic* out) noexcept {
  if (pipeline == nullptr) return TRACKBED_INVALID_ARGUMENT;
  return FillDiagnostic(pipeline->warnings, index, out);
}

trackbed_status trackbed_pipeline_write(const trackbed_pipeline* pipeline, trackbed_format format,
                                        trackbed_bytes* out, trackbed_bytes* lost,
                                        trackbed_error** error) noexcept {
  return Guard(error, [&]() -> Status {
    TRACKBED_NEED(pipeline);
    TRACKBED_NEED(out);
    const Pipeline& written = *pipeline->pipeline;
    if (format == TRACKBED_FORMAT_FASTTRACK) {
      const FastTrackDocument document = WriteFastTrack(written);
      trackbed_bytes yaml{};
      TRACKBED_RETURN_IF_ERROR(GiveBytes(document.yaml, &yaml));
      if (Status status = GiveBytesIfWanted(absl::StrJoin(document.lost, "\n"), lost);
          !status.ok()) {
        trackbed_bytes_free(&yaml);
        return status;
      }
      *out = yaml;
      return absl::OkStatus();
    }
    std::string text;
    switch (format) {
      case TRACKBED_FORMAT_AUTO:
      case TRACKBED_FORMAT_YAML:
        text = WriteYaml(written);
        break;
      case TRACKBED_FORMAT_JSON:
        text = WriteJson(written);
        break;
      case TRACKBED_FORMAT_PROTOBUF:
        text = EncodePipeline(written);
        break;
      case TRACKBED_FORMAT_CANONICAL:
        text = CanonicalForm(written);
        break;
      default:
        return InvalidArgument("format: found an unknown one");
    }
    TRACKBED_RETURN_IF_ERROR(GiveBytes(text, out));
    if (lost != nullptr) *lost = {nullptr, 0};
    return absl::OkStatus();
  });
}

trackbed_status trackbed_pipeline_graph(const trackbed_pipeline* pipeline,
                                        trackbed_graph_format format, trackbed_bytes* out,
                                        trackbed_error** error) noexcept {
  return Guard(error, [&]() -> Status {
    TRACKBED_NEED(pipeline);
    TRACKBED_NEED(out);
    GraphFormat chosen{};
    switch (format) {
      case TRACKBED_GRAPH_TEXT:
        chosen = GraphFormat::text;
        break;
      case TRACKBED_GRAPH_DOT:
        chosen = GraphFormat::dot;
        break;
      case TRACKBED_GRAPH_MERMAID:
        chosen = GraphFormat::mermaid;
        break;
      case TRACKBED_GRAPH_JSON:
        chosen = GraphFormat::json;
        break;
      default:
        return InvalidArgument("format: found an unknown one");
    }
    return GiveBytes(RenderGraph(*pipeline->pipeline, pipeline->graph, chosen), out);
  });
}

trackbed_status trackbed_pipeline_tasks(const trackbed_pipeline* pipeline, trackbed_bytes* json,
                                        trackbed_error** error) noexcept {
  return Guard(error, [&]() -> Status {
    TRACKBED_NEED(pipeline);
    return GiveBytes(TasksToJson(*pipeline->pipeline, pipeline->graph, pipeline->positions), json);
  });
}

trackbed_status trackbed_pipeline_bind(const trackbed_pipeline* pipeline, const char* parameters,
                                       size_t parameters_size, trackbed_bytes* json,
                                       trackbed_error** error) noexcept {
  return Guard(error, [&]() -> Status {
    TRACKBED_NEED(pipeline);
    std::string_view text;
    TRACKBED_RETURN_IF_ERROR(ReadText(parameters, parameters_size, "parameters", &text));
    TRACKBED_ASSIGN_OR_RETURN(const auto given, ReadParameters(text));
    TRACKBED_ASSIGN_OR_RETURN(const auto values, BindParameters(*pipeline->pipeline, given));
    return GiveBytes(ValuesToJson(values), json);
  });
}

void trackbed_pipeline_free(trackbed_pipeline* pipeline) noexcept { delete pipeline; }
