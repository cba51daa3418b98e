#include "cli/terminal.hpp"

#include <absl/strings/str_cat.h>
#include <absl/strings/str_format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <ctime>

namespace trackbed::cli {
namespace {

std::string FormatLocal(Time time, const char* format) {
  const std::time_t seconds = static_cast<std::time_t>(ToNanoseconds(time) / 1'000'000'000);
  std::tm parts{};
  localtime_r(&seconds, &parts);
  std::array<char, 64> text{};
  return {text.data(), std::strftime(text.data(), text.size(), format, &parts)};
}

bool IsContinuation(char c) { return (static_cast<unsigned char>(c) & 0xc0U) == 0x80U; }

}  // namespace

bool IsTerminal(int descriptor) { return isatty(descriptor) == 1; }

TerminalSize SizeOfTerminal(int descriptor) {
  winsize size{};
  TerminalSize result;
  if (ioctl(descriptor, TIOCGWINSZ, &size) == 0) {
    if (size.ws_col > 0) result.columns = size.ws_col;
    if (size.ws_row > 0) result.rows = size.ws_row;
  }
  return result;
}

bool UseColour(int descriptor) {
  const char* no_colour = std::getenv("NO_COLOR");
  return IsTerminal(descriptor) && (no_colour == nullptr || *no_colour == '\0');
}

std::string CountOfTasks(size_t count) {
  return absl::StrCat(count, count == 1 ? " task" : " tasks");
}

std::string ShortDuration(Duration duration) {
  const auto milliseconds = std::chrono::duration_cast<std::chrono::milliseconds>(duration).count();
  if (milliseconds < 10'000) {
    return absl::StrFormat("%.1fs", static_cast<double>(milliseconds) / 1000);
  }
  const int64_t seconds = milliseconds / 1000;
  if (seconds < 60) return absl::StrCat(seconds, "s");
  if (seconds < 3600) return absl::StrFormat("%dm%02ds", seconds / 60, seconds % 60);
  return absl::StrFormat("%dh%02dm", seconds / 3600, seconds / 60 % 60);
}

std::string ClockTime(Time time) { return FormatLocal(time, "%H:%M:%S"); }
std::string LocalTime(Time time) { return FormatLocal(time, "%Y-%m-%d %H:%M"); }

size_t Width(std::string_view text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return !IsContinuation(c); }));
}

std::string Fit(std::string_view text, size_t width) {
  if (Width(text) <= width) return std::string(text);
  if (width == 0) return "";
  size_t end = 0;
  for (size_t columns = 0; end < text.size(); ++end) {
    if (!IsContinuation(text[end]) && columns++ == width - 1) break;
  }
  return absl::StrCat(AbslView(text.substr(0, end)), "…");
}

std::string Pad(std::string_view text, size_t width) {
  std::string result = Fit(text, width);
  result.append(width - std::min(width, Width(result)), ' ');
  return result;
}

std::string Printable(std::string_view text) {
  std::string result;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    // U+0080 to U+009F are control characters, too: two bytes, of which the first is 0xC2.
    const bool is_c1 =
        byte == 0xc2 && i + 1 < text.size() && static_cast<unsigned char>(text[i + 1]) < 0xa0;
    if (is_c1) ++i;
    result.push_back(byte < 0x20 || byte == 0x7f || is_c1 ? ' ' : text[i]);
  }
  return result;
}

std::string PrintableLines(std::string_view text) {
  std::string result;
  while (true) {
    const size_t end = text.find('\n');
    result += Printable(text.substr(0, end));
    if (end == std::string_view::npos) return result;
    result += '\n';
    text.remove_prefix(end + 1);
  }
}

std::string_view Mark(const TaskStatus& status) {
  switch (status.state) {
    case TaskState::pending:
      return "·";
    case TaskState::waiting:
      return "?";
    case TaskState::running:
      return status.unknown ? "?" : "▸";
    case TaskState::succeeded:
      return status.cached ? "=" : "✓";
    case TaskState::failed:
      return "✗";
    case TaskState::skipped:
      return "-";
    case TaskState::cancelled:
      return "!";
  }
  return " ";
}

std::string Coloured(const TaskStatus& status, std::string_view text, bool colour) {
  if (!colour) return std::string(text);
  const char* code = "0";
  switch (status.state) {
    case TaskState::pending:
    case TaskState::skipped:
      code = "2";
      break;
    case TaskState::waiting:
      code = "35";
      break;
    case TaskState::running:
      code = status.unknown ? "33" : "36";
      break;
    case TaskState::succeeded:
      code = "32";
      break;
    case TaskState::failed:
      code = "31";
      break;
    case TaskState::cancelled:
      code = "33";
      break;
  }
  return absl::StrCat("\x1b[", code, "m", AbslView(text), "\x1b[0m");
}

std::string_view StateName(const TaskStatus& status) {
  if (status.unknown) return "unknown";
  return status.cached && status.state == TaskState::succeeded ? "cached" : ToString(status.state);
}

std::string Table(std::vector<std::vector<std::string>> rows) {
  for (auto& row : rows) {
    for (std::string& cell : row) cell = Printable(cell);
  }
  std::vector<size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], Width(row[i]));
  }
  std::string text;
  for (const auto& row : rows) {
    std::string line;
    for (size_t i = 0; i < row.size(); ++i) {
      absl::StrAppend(&line, Pad(row[i], widths[i]), i + 1 < row.size() ? "  " : "");
    }
    line.erase(line.find_last_not_of(' ') + 1);
    absl::StrAppend(&text, line, "\n");
  }
  return text;
}

}  // namespace trackbed::cli
