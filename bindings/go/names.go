package trackbed

// Names of what is counted, as they stand in JSON and in the vectors of tests/conformance.

func name(names []string, index int) string {
	if index < 0 || index >= len(names) {
		return "unknown"
	}
	return names[index]
}

// String is "accounting", "advisory" or "hardware".
func (e Enforcement) String() string {
	return name([]string{"accounting", "advisory", "hardware"}, int(e))
}

// String is "none", "shortage" or "fragmentation".
func (k ShortfallKind) String() string {
	return name([]string{"none", "shortage", "fragmentation"}, int(k))
}

// String is "start", "eviction", "repair", "release" or "ended".
func (k PlanKind) String() string {
	return name([]string{"unknown", "start", "eviction", "repair", "release", "ended"}, int(k))
}

// String is "none", "not_yet", "quota", "shortage", …
func (r WaitRule) String() string {
	return name([]string{"none", "not_yet", "quota", "shortage", "fragmentation", "reserved",
		"strict_order", "claiming", "next", "enforcement"}, int(r))
}

// String is "unknown", "waiting" or "running".
func (s ScheduledState) String() string {
	return name([]string{"unknown", "waiting", "running"}, int(s))
}

// String is "warning" or "error".
func (s Severity) String() string {
	return name([]string{"unknown", "error", "warning"}, int(s))
}
