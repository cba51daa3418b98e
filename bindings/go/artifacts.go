package trackbed

// #include <trackbed.h>
import "C"

// ArtifactStore keeps the files that outlive their attempt and this machine: outputs of tasks and
// copies of source code, each a folder addressed by the digest of its content. An attempt succeeds
// once its outputs are kept, and is lost when they cannot be; a submission fails when its code cannot
// be. What is gone from the engine's home comes back when a run is resumed or retried, a cached
// result is used, or outputs are asked for. The engine waits meanwhile. See the package's comment on
// ports.
type ArtifactStore interface {
	Has(digest string) (bool, error)
	// Put keeps what is in the folder, durably, before it returns.
	Put(digest, folder string) error
	// Get makes the folder, which does not exist or is empty, and all that was put; or fails and
	// leaves none.
	Get(digest, folder string) error
}

// StoreReport is what a store of runs holds, and what is wrong with it.
type StoreReport struct {
	Runs     int64    `json:"runs"`
	Events   int64    `json:"events"`
	Cached   int64    `json:"cached"`   // results
	Findings []string `json:"findings"` // a sentence each; none: it is sound
}

// CheckStore reads all of the store in the file (trackbed.db of a home folder), which engines may use
// meanwhile, and changes nothing. Damage is a finding. Errors, when it cannot be read at all:
// NotFound; FailedPrecondition: no permission, another format; DataLoss: it is no store.
func CheckStore(path string) (report StoreReport, err error) {
	var out C.trackbed_bytes
	var told *C.trackbed_error
	status := C.trackbed_store_check(chars(path), sizeOf(path), &out, &told)
	if err = failure(status, told); err != nil {
		return report, err
	}
	return report, decode(taken(&out), &report)
}

// BackupStore copies the store as it is at one moment to the new file, and checks the copy, which is
// not left there unless it is sound. AlreadyExists; DataLoss names the first finding; those of
// CheckStore.
func BackupStore(path, to string) (report StoreReport, err error) {
	var out C.trackbed_bytes
	var told *C.trackbed_error
	status := C.trackbed_store_backup(chars(path), sizeOf(path), chars(to), sizeOf(to), &out, &told)
	if err = failure(status, told); err != nil {
		return report, err
	}
	return report, decode(taken(&out), &report)
}
