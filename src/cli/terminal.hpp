// Text for people: times, durations, columns, colours.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "trackbed/base/time.hpp"
#include "trackbed/engine/run_state.hpp"

namespace trackbed::cli {

struct TerminalSize {
  size_t columns = 80;
  size_t rows = 24;
};

bool IsTerminal(int descriptor);
TerminalSize SizeOfTerminal(int descriptor);
// Whether to colour what goes to `descriptor`: a terminal, and NO_COLOR is not set.
bool UseColour(int descriptor);

// "0.4s", "12s", "3m05s", "2h07m".
std::string ShortDuration(Duration duration);
// "1 task", "3 tasks".
std::string CountOfTasks(size_t count);
// "14:03:27" of the day, in local time.
std::string ClockTime(Time time);
// "2026-11-23 14:03" in local time.
std::string LocalTime(Time time);

// How many columns a text takes; one a code point.
size_t Width(std::string_view text);
// Cut to `width` columns, with "…" at the end where something is cut.
std::string Fit(std::string_view text, size_t width);
// Fit, and filled with spaces.
std::string Pad(std::string_view text, size_t width);

// Control characters of a text that comes from a file or a task, made harmless.
std::string Printable(std::string_view text);
// The same for a text of several lines.
std::string PrintableLines(std::string_view text);

// A mark and a colour for the state of a task.
std::string_view Mark(const TaskStatus& status);
std::string Coloured(const TaskStatus& status, std::string_view text, bool colour);
// "succeeded", "cached", "failed", …
std::string_view StateName(const TaskStatus& status);

// Left-aligned columns with two spaces between; the first row is the heading. Cells are printable.
std::string Table(std::vector<std::vector<std::string>> rows);

}  // namespace trackbed::cli
