//go:build race

package trackbed

// The race detector keeps memory of its own, and takes its time.
const raceDetector = true
