//go:build !race

package trackbed

const raceDetector = false
