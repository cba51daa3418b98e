// Draws the graph of a pipeline: for a terminal, for Graphviz, for Mermaid and for programs.
#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "pipeline/names.hpp"
#include "trackbed/pipeline/graph.hpp"

namespace trackbed {
namespace {

// What all formats show: computed once.
struct Drawing {
  const Pipeline& pipeline;
  const Graph& graph;
  std::vector<uint32_t> levels;
  std::vector<TaskIndex> critical_path;
  std::vector<TaskIndex> critical_predecessor;  // of a task on the path, or the task itself
  std::vector<bool> critical;

  Drawing(const Pipeline& a_pipeline, const Graph& a_graph)
      : pipeline(a_pipeline),
        graph(a_graph),
        levels(graph.Levels()),
        critical_path(graph.FindCriticalPath(std::vector<double>(graph.task_count(), 1.0)).tasks),
        critical_predecessor(graph.task_count()),
        critical(graph.task_count(), false) {
    for (size_t i = 0; i < critical_path.size(); ++i) {
      critical[critical_path[i]] = true;
      critical_predecessor[critical_path[i]] = critical_path[i == 0 ? 0 : i - 1];
    }
  }

  size_t LevelCount() const {
    return levels.empty() ? 0 : *std::max_element(levels.begin(), levels.end()) + size_t{1};
  }
  bool IsCriticalEdge(TaskIndex from, TaskIndex to) const {
    return critical[to] && from != to && critical_predecessor[to] == from;
  }
};

// What is unusual about when and how a task runs, one entry each.
std::vector<std::string> Marks(const Task& task) {
  std::vector<std::string> marks;
  if (task.kind == TaskKind::serve) marks.emplace_back("serve");
  if (task.cluster_size > 1) marks.push_back("x" + std::to_string(task.cluster_size));
  if (task.trigger != Trigger::all_succeeded) {
    marks.push_back("trigger " + std::string(TriggerName(task.trigger)));
  }
  if (!task.when.empty()) marks.push_back("when " + task.when.get());
  if (task.map) marks.push_back("map over " + task.map->over);
  if (task.approval) marks.push_back("approval: " + task.approval->message);
  if (task.skip) marks.emplace_back("skip");
  if (task.allow_failure) marks.emplace_back("may fail");
  return marks;
}

bool IsControl(char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7F; }

// Makes control characters visible, so that a name cannot move the cursor or break the layout.
std::string TerminalText(std::string_view text) {
  std::string result;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    const bool c1_control = byte == 0xC2 && i + 1 < text.size() &&
                            static_cast<unsigned char>(text[i + 1]) >= 0x80 &&
                            static_cast<unsigned char>(text[i + 1]) < 0xA0;
    if (text[i] == '\n') {
      result += "\\n";
    } else if (text[i] == '\t') {
      result += "\\t";
    } else if (IsControl(text[i]) || c1_control) {
      char escaped[8];
      const int code = c1_control ? static_cast<unsigned char>(text[++i]) : byte;
      std::snprintf(escaped, sizeof escaped, "\\x%02x", code);
      result += escaped;
    } else {
      result += text[i];
    }
  }
  return result;
}

std::string Plural(size_t count, const std::string& noun, const std::string& plural) {
  return std::to_string(count) + " " + (count == 1 ? noun : plural);
}

// Columns of text on a terminal, near enough: one a code point.
size_t DisplayWidth(std::string_view text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  }));
}

std::string JoinNames(const Pipeline& pipeline, std::span<const TaskIndex> tasks,
                      std::string_view separator) {
  std::string result;
  for (const TaskIndex task : tasks) {
    if (!result.empty()) result += separator;
    result += TerminalText(pipeline.tasks[task].name);
  }
  return result;
}

std::string TextLine(const Drawing& drawing, TaskIndex index, size_t name_width) {
  const Task& task = drawing.pipeline.tasks[index];
  const std::string name = TerminalText(task.name);
  std::string line = (drawing.critical[index] ? "  * " : "    ") + name;
  const auto pad = [&line, &name, name_width] {
    const size_t width = DisplayWidth(name);
    if (width < name_width) line.append(name_width - width, ' ');
  };
  const std::span<const TaskIndex> predecessors = drawing.graph.Predecessors(index);
  const std::vector<std::string> marks = Marks(task);
  if (!predecessors.empty() || !marks.empty()) pad();
  if (!predecessors.empty()) line += "  <- " + JoinNames(drawing.pipeline, predecessors, ", ");
  for (const std::string& mark : marks) line += "  [" + TerminalText(mark) + "]";
  return line + "\n";
}

std::string RenderText(const Drawing& drawing) {
  constexpr size_t kMaxNameWidth = 40;
  const Pipeline& pipeline = drawing.pipeline;
  std::string text = TerminalText(pipeline.name) + ": " +
                     Plural(drawing.graph.task_count(), "task", "tasks") + ", " +
                     Plural(drawing.graph.edge_count(), "dependency", "dependencies") + ", " +
                     Plural(drawing.LevelCount(), "level", "levels") + "\n";
  size_t name_width = 0;
  for (const Task& task : pipeline.tasks) {
    name_width = std::max(name_width, DisplayWidth(TerminalText(task.name)));
  }
  name_width = std::min(name_width, kMaxNameWidth);
  uint32_t level = 0;
  bool first = true;
  for (const TaskIndex task : drawing.graph.TopologicalOrder()) {
    if (first || drawing.levels[task] != level) {
      level = drawing.levels[task];
      text += "\nlevel " + std::to_string(level) + "\n";
      first = false;
    }
    text += TextLine(drawing, task, name_width);
  }
  if (!first) {
    text += "\n* critical path (every task counted alike): " +
            JoinNames(pipeline, drawing.critical_path, " -> ") + "\n";
  }
  return text;
}

// The inside of a quoted string in DOT. Graphviz also decodes HTML entities there.
std::string DotText(std::string_view text) {
  std::string result;
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      result += '\\';
      result += c;
    } else if (c == '&') {
      result += "&amp;";
    } else if (c == '\n') {
      result += "\\n";
    } else {
      result += IsControl(c) ? ' ' : c;
    }
  }
  return result;
}

std::string RenderDot(const Drawing& drawing) {
  std::string text = "digraph \"" + DotText(drawing.pipeline.name) + "\" {\n";
  text += "  rankdir=LR;\n  node [shape=box, style=rounded];\n";
  for (TaskIndex i = 0; i < drawing.graph.task_count(); ++i) {
    const Task& task = drawing.pipeline.tasks[i];
    std::string label = DotText(task.name);
    for (const std::string& mark : Marks(task)) label += "\\n" + DotText(mark);
    text += "  t" + std::to_string(i) + " [label=\"" + label + "\"" +
            (drawing.critical[i] ? ", penwidth=2" : "") + "];\n";
  }
  for (TaskIndex i = 0; i < drawing.graph.task_count(); ++i) {
    for (const TaskIndex from : drawing.graph.Predecessors(i)) {
      text += "  t" + std::to_string(from) + " -> t" + std::to_string(i) +
              (drawing.IsCriticalEdge(from, i) ? " [penwidth=2]" : "") + ";\n";
    }
  }
  return text + "}\n";
}

// A quoted label in Mermaid, which has no escapes but numeric entities: all that could have a
// meaning to Mermaid, Markdown or HTML becomes one.
std::string MermaidText(std::string_view text) {
  std::string result;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == ' ' || c == '.' || c == '-' || c == '_' || byte >= 0x80;
    if (plain) {
      result += c;
    } else if (IsControl(c)) {
      result += ' ';
    } else {
      result += "#" + std::to_string(byte) + ";";
    }
  }
  return result;
}

std::string RenderMermaid(const Drawing& drawing) {
  std::string text = "flowchart LR\n";
  for (TaskIndex i = 0; i < drawing.graph.task_count(); ++i) {
    const Task& task = drawing.pipeline.tasks[i];
    std::string label = MermaidText(task.name);
    for (const std::string& mark : Marks(task)) label += "<br/>" + MermaidText(mark);
    text += "  t" + std::to_string(i) + "[\"" + label + "\"]" +
            (drawing.critical[i] ? ":::critical" : "") + "\n";
  }
  for (TaskIndex i = 0; i < drawing.graph.task_count(); ++i) {
    for (const TaskIndex from : drawing.graph.Predecessors(i)) {
      text += "  t" + std::to_string(from) +
              (drawing.IsCriticalEdge(from, i) ? " ==> t" : " --> t") + std::to_string(i) + "\n";
    }
  }
  return text + "  classDef critical stroke-width:3px\n";
}

std::string RenderJson(const Drawing& drawing) {
  using nlohmann::ordered_json;
  const Pipeline& pipeline = drawing.pipeline;
  const auto names = [&pipeline](std::span<const TaskIndex> indices) {
    ordered_json list = ordered_json::array();
    for (const TaskIndex index : indices) list.push_back(pipeline.tasks[index].name);
    return list;
  };
  ordered_json document;
  document["pipeline"] = pipeline.name;
  document["levels"] = drawing.LevelCount();
  document["critical_path"] = names(drawing.critical_path);
  ordered_json& tasks = document["tasks"] = ordered_json::array();
  for (TaskIndex i = 0; i < drawing.graph.task_count(); ++i) {
    const Task& task = pipeline.tasks[i];
    ordered_json entry;
    entry["index"] = i;
    entry["name"] = task.name;
    entry["kind"] = task.approval ? "approval" : task.kind == TaskKind::serve ? "serve" : "command";
    entry["level"] = drawing.levels[i];
    entry["dependencies"] = names(drawing.graph.Predecessors(i));
    entry["trigger"] = std::string(TriggerName(task.trigger));
    entry["when"] = task.when;
    if (task.map) entry["map"] = task.map->over;
    if (task.approval) entry["approval"] = task.approval->message;
    entry["skip"] = task.skip;
    entry["allow_failure"] = task.allow_failure;
    entry["on_critical_path"] = static_cast<bool>(drawing.critical[i]);
    tasks.push_back(std::move(entry));
  }
  return document.dump(2, ' ', false, ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace

std::string RenderGraph(const Pipeline& pipeline, const Graph& graph, GraphFormat format) {
  const Drawing drawing(pipeline, graph);
  switch (format) {
    case GraphFormat::text:
      return RenderText(drawing);
    case GraphFormat::dot:
      return RenderDot(drawing);
    case GraphFormat::mermaid:
      return RenderMermaid(drawing);
    case GraphFormat::json:
      return RenderJson(drawing);
  }
  return "";
}

}  // namespace trackbed
