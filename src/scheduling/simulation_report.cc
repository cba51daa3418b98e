// What a simulation found, for programs and for people. Numbers are printed by our own rules, so
// that the same result is the same bytes everywhere.
#include <absl/strings/str_cat.h>
#include <absl/strings/str_format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "trackbed/scheduling/simulation.hpp"

namespace trackbed {
namespace {

double Seconds(Duration duration) { return static_cast<double>(duration.count()) * 1e-9; }

std::string Number(double value, int decimals = 3) {
  return absl::StrFormat("%.*f", decimals, value);
}

std::string Field(std::string_view text) {
  if (text.find_first_of(",\"\r\n") == std::string_view::npos) return std::string(text);
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"') quoted.push_back('"');
    quoted.push_back(c);
  }
  quoted.push_back('"');
  return quoted;
}

std::string Escape(std::string_view text) {
  std::string escaped;
  for (const char c : text) {
    switch (c) {
      case '&':
        escaped += "&amp;";
        break;
      case '<':
        escaped += "&lt;";
        break;
      case '>':
        escaped += "&gt;";
        break;
      case '"':
        escaped += "&quot;";
        break;
      case '\'':
        escaped += "&#39;";
        break;
      default:
        // Other control characters are not allowed in a page.
        if (static_cast<unsigned char>(c) < 0x20 && c != '\n' && c != '\t') {
          escaped += "?";
        } else {
          escaped.push_back(c);
        }
    }
  }
  return escaped;
}

// Days and hours read better than many seconds.
std::string Span(double seconds) {
  return FormatDuration(std::chrono::milliseconds(seconds < 60 ? std::llround(seconds * 1000)
                                                               : std::llround(seconds) * 1000));
}

constexpr int kWidth = 720;
constexpr int kHeight = 180;
constexpr int kLeft = 56;
constexpr int kBottom = 24;
constexpr size_t kBins = 240;

// Means of a value of the samples over equal spans of time.
template <typename Value>
std::vector<double> Bins(const SimulationResult& result, Value&& value) {
  std::vector<double> bins(kBins, 0);
  const auto& samples = result.samples;
  if (samples.size() < 2) return bins;
  const Time first = samples.front().time;
  const double width = Seconds(samples.back().time - first) / kBins;
  if (width <= 0) return bins;
  for (size_t i = 0; i + 1 < samples.size(); ++i) {
    double from = Seconds(samples[i].time - first) / width;
    const double to = Seconds(samples[i + 1].time - first) / width;
    while (from < to) {
      const auto bin = std::min(static_cast<size_t>(from), kBins - 1);
      const double end = bin + 1 == kBins ? to : std::min(to, static_cast<double>(bin + 1));
      bins[bin] += value(samples[i]) * (end - from);
      from = end;
    }
  }
  return bins;
}

struct Curve {
  const char* name;
  const char* colour;
  std::vector<double> values;
};

double NiceTop(double most) {
  double top = 1;
  while (top < most) top *= 10;
  if (top / 5 >= most) return top / 5;
  return top / 2 >= most ? top / 2 : top;
}

std::string OpenChart(std::string_view name, double top, std::string_view unit) {
  std::string svg =
      absl::StrCat("<h2>", Escape(name), "</h2>\n<svg viewBox=\"0 0 ", kWidth + kLeft + 8, " ",
                   kHeight + kBottom + 8, "\" role=\"img\" aria-label=\"", Escape(name), "\">\n");
  for (int i = 0; i <= 4; ++i) {
    const double y = 4 + kHeight - i * kHeight / 4.0;
    absl::StrAppend(&svg, "<path class=\"grid\" d=\"M", kLeft, " ", Number(y, 1), "H",
                    kWidth + kLeft, "\"/><text x=\"", kLeft - 6, "\" y=\"", Number(y + 4, 1),
                    "\" text-anchor=\"end\">", Number(top * i / 4, top < 10 ? 1 : 0),
                    AbslView(unit), "</text>\n");
  }
  return svg;
}

std::string Chart(std::string_view name, const SimulationResult& result, double top,
                  std::string_view unit, const std::vector<Curve>& curves) {
  std::string svg = OpenChart(name, top, unit);
  int legend = kLeft + 8;
  for (const Curve& curve : curves) {
    absl::StrAppend(&svg, "<path class=\"curve\" style=\"stroke:", curve.colour, "\" d=\"");
    for (size_t bin = 0; bin < curve.values.size(); ++bin) {
      absl::StrAppend(&svg, bin == 0 ? "M" : "L",
                      Number(kLeft + kWidth * (static_cast<double>(bin) + 0.5) / kBins, 1), " ",
                      Number(4 + kHeight - kHeight * curve.values[bin] / top, 1));
    }
    absl::StrAppend(&svg, "\"/><text x=\"", legend, "\" y=\"", kHeight + kBottom,
                    "\" style=\"fill:", curve.colour, "\">", curve.name, "</text>\n");
    legend += 90;
  }
  if (!result.samples.empty()) {
    absl::StrAppend(&svg, "<text x=\"", kWidth + kLeft, "\" y=\"", kHeight + kBottom,
                    "\" text-anchor=\"end\">", FormatTime(result.samples.front().time), " to ",
                    FormatTime(result.samples.back().time), "</text>\n");
  }
  return svg + "</svg>\n";
}

std::string WaitChart(const SimulationResult& result) {
  struct Step {
    const char* name;
    double below;  // seconds
  };
  constexpr std::array<Step, 10> kSteps = {{{"none", 1e-9},
                                            {"10s", 10},
                                            {"1m", 60},
                                            {"10m", 600},
                                            {"30m", 1800},
                                            {"1h", 3600},
                                            {"4h", 14'400},
                                            {"12h", 43'200},
                                            {"1d", 86'400},
                                            {"longer", 1e300}}};
  std::array<size_t, kSteps.size()> counts{};
  for (const JobResult& job : result.jobs) {
    if (!job.refused.empty()) continue;
    size_t step = 0;
    while (step + 1 < kSteps.size() && Seconds(job.wait) >= kSteps[step].below) ++step;
    ++counts[step];
  }
  const double top = NiceTop(
      static_cast<double>(std::max<size_t>(*std::max_element(counts.begin(), counts.end()), 4)));
  std::string svg = OpenChart("Jobs by how long they waited, up to", top, "");
  constexpr double kStep = static_cast<double>(kWidth) / kSteps.size();
  for (size_t i = 0; i < kSteps.size(); ++i) {
    const double height = kHeight * static_cast<double>(counts[i]) / top;
    const double x = kLeft + kStep * static_cast<double>(i);
    absl::StrAppend(&svg, "<rect x=\"", Number(x + 4, 1), "\" y=\"",
                    Number(4 + kHeight - height, 1), "\" width=\"", Number(kStep - 8, 1),
                    "\" height=\"", Number(height, 1), "\" class=\"bar\"><title>", counts[i],
                    "</title></rect><text x=\"", Number(x + kStep / 2, 1), "\" y=\"",
                    kHeight + kBottom, "\" text-anchor=\"middle\">", kSteps[i].name, "</text>\n");
  }
  return svg + "</svg>\n";
}

std::string Summary(const SimulationResult& result) {
  const SimulationSummary& s = result.summary;
  std::string table = "<table>\n";
  const auto row = [&](std::string_view name, std::string_view value) {
    absl::StrAppend(&table, "<tr><th scope=\"row\">", AbslView(name), "</th><td>", AbslView(value),
                    "</td></tr>\n");
  };
  const auto percent = [](double share) { return Number(100 * share, 1) + " %"; };
  row("jobs that ended", absl::StrCat(s.jobs));
  row("jobs refused", absl::StrCat(s.refused));
  row("wait, mean", Span(s.mean_wait_seconds));
  row("wait, median", Span(s.median_wait_seconds));
  row("wait, 95th percentile", Span(s.p95_wait_seconds));
  row("bounded slowdown, mean", Number(s.mean_slowdown, 2));
  row("bounded slowdown, 95th percentile", Number(s.p95_slowdown, 2));
  row("cpu in use", percent(s.cpu_utilisation));
  row("devices in use", percent(s.device_utilisation));
  row("devices not allocated", percent(s.device_unallocated));
  row("… while a job wanted some", percent(s.fragmentation));
  row("fairness between tenants (Jain)", Number(s.fairness, 3));
  row("evictions", absl::StrCat(s.evictions));
  row("makespan", Span(s.makespan_seconds));
  row("events; decisions", absl::StrCat(s.events, "; ", s.decisions));
  return table + "</table>\n";
}

std::string Tenants(const SimulationResult& result) {
  std::string table =
      "<h2>Tenants</h2>\n<table>\n<tr><th>tenant</th><th>jobs</th><th>wait, mean</th>"
      "<th>slowdown, mean</th><th>device hours</th><th>core hours</th><th>evictions</th></tr>\n";
  for (const TenantSummary& tenant : result.tenants) {
    absl::StrAppend(
        &table, "<tr><th scope=\"row\">", tenant.tenant.empty() ? "(none)" : Escape(tenant.tenant),
        "</th><td>", tenant.jobs, "</td><td>", Span(tenant.mean_wait_seconds), "</td><td>",
        Number(tenant.mean_slowdown, 2), "</td><td>", Number(tenant.device_hours, 1), "</td><td>",
        Number(tenant.core_hours, 1), "</td><td>", tenant.evictions, "</td></tr>\n");
  }
  return table + "</table>\n";
}

}  // namespace

std::string WriteSimulationCsv(const SimulationResult& result) {
  std::string csv =
      "job,tenant,submitted,first_start,start,end,wait_seconds,run_seconds,slowdown,evictions,"
      "refused\n";
  for (size_t i = 0; i < result.jobs.size(); ++i) {
    const Job& job = result.workload.jobs[i];
    const JobResult& of = result.jobs[i];
    absl::StrAppend(&csv, Field(job.name), ",", Field(job.tenant), ",", FormatTime(job.submitted),
                    ",");
    if (!of.refused.empty()) {
      absl::StrAppend(&csv, ",,,,,,,", Field(of.refused), "\n");
      continue;
    }
    absl::StrAppend(&csv, FormatTime(of.first_start), ",", FormatTime(of.start), ",",
                    FormatTime(of.end), ",", Number(Seconds(of.wait)), ",",
                    Number(Seconds(job.run_time)), ",", Number(of.slowdown), ",", of.evictions,
                    ",\n");
  }
  return csv;
}

std::string WriteSimulationHtml(std::string_view title, const SimulationResult& result) {
  const auto share = [](double used, double all) { return all > 0 ? 100 * used / all : 0; };
  std::vector<Curve> use;
  use.push_back({"cpu", "var(--blue)", Bins(result, [&](const SimulationSample& sample) {
                   return share(sample.cpu_used, result.cpu_capacity);
                 })});
  if (result.device_capacity > 0) {
    use.push_back({"devices", "var(--orange)", Bins(result, [&](const SimulationSample& sample) {
                     return share(sample.devices_used, result.device_capacity);
                   })});
  }
  const std::vector<Curve> queue = {
      {"waiting", "var(--violet)", Bins(result, [](const SimulationSample& sample) {
         return static_cast<double>(sample.waiting);
       })}};
  const double longest = *std::max_element(queue[0].values.begin(), queue[0].values.end());
  return absl::StrCat(
      "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width\">\n<title>",
      Escape(title),
      "</title>\n<style>\n"
      ":root{color-scheme:light dark;--text:#1f2328;--page:#fff;--quiet:#59636e;--line:#d1d9e0;"
      "--blue:#1f6feb;--orange:#bc4c00;--violet:#8250df}\n"
      "@media(prefers-color-scheme:dark){:root{--text:#e6edf3;--page:#0d1117;--quiet:#9198a1;"
      "--line:#30363d;--blue:#4493f8;--orange:#f0883e;--violet:#ab7df8}}\n"
      "body{font:15px/1.5 system-ui,sans-serif;color:var(--text);background:var(--page);"
      "max-width:50rem;margin:2rem auto;padding:0 1rem}\n"
      "h1{font-size:1.5rem}h2{font-size:1.1rem;margin:1.5rem 0 .25rem}\n"
      "svg{width:100%;fill:var(--quiet)}svg text{font-size:11px}\n"
      ".grid{stroke:var(--line);stroke-width:1}.curve{fill:none;stroke-width:1.5}"
      ".bar{fill:var(--blue)}\n"
      "table{border-collapse:collapse}th,td{padding:.15rem .75rem .15rem 0;text-align:right;"
      "border-bottom:1px solid var(--line)}th:first-child{text-align:left}th{font-weight:500}\n"
      "</style>\n</head>\n<body>\n<h1>",
      Escape(title), "</h1>\n", Summary(result), Chart("Use over time", result, 100, "%", use),
      Chart("Queue over time", result, NiceTop(std::max(longest, 4.0)), "", queue),
      WaitChart(result), Tenants(result), "</body>\n</html>\n");
}

}  // namespace trackbed
