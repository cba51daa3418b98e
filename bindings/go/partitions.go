package trackbed

// #include <trackbed.h>
import "C"

import "encoding/json"

// MIGProfile is a way to cut a part out of a GPU.
type MIGProfile struct {
	Profile       string `json:"profile"`        // "1g.5gb"
	Slot          string `json:"slot"`           // what one counts as: "cuda.device:1g.5gb-mig"
	ID            int    `json:"id"`             // the driver's number: nvidia-smi mig -cgi
	ComputeSlices int    `json:"compute_slices"` // of 7
	MemorySlices  int    `json:"memory_slices"`  // of 8
	Starts        []int  `json:"starts"`         // memory slices at which an instance may begin
	MaxInstances  int    `json:"max_instances"`  // of this profile on one GPU
}

// MIGModel is a model of GPU that can be partitioned.
type MIGModel struct {
	Model    string       `json:"model"` // "A100-40GB"
	Profiles []MIGProfile `json:"profiles"`
}

// MIGInstance is a part that there is.
type MIGInstance struct {
	ID      string `json:"id"`
	Profile string `json:"profile"`
	Start   int    `json:"start"` // its first memory slice
	Free    bool   `json:"free"`  // no task holds it
}

// MIGDevice is a GPU that can be partitioned.
type MIGDevice struct {
	ID        string
	Model     string
	Instances []MIGInstance
	Unhealthy bool // nothing new is placed on it
}

// MarshalJSON is as the library reads it.
func (d MIGDevice) MarshalJSON() ([]byte, error) {
	instances := d.Instances
	if instances == nil {
		instances = []MIGInstance{}
	}
	return json.Marshal(map[string]interface{}{
		"id": d.ID, "model": d.Model, "healthy": !d.Unhealthy, "instances": instances,
	})
}

// MIGStep is one thing to do.
type MIGStep struct {
	Do       string `json:"do"` // "destroy" or "create"
	Device   string `json:"device"`
	Instance string `json:"instance"` // to destroy
	Profile  string `json:"profile"`  // to create, …
	ID       int    `json:"id"`       // … its number, …
	Start    int    `json:"start"`    // … and its first memory slice
}

// MIGAssignment is where a profile that was asked for gets its instance.
type MIGAssignment struct {
	Profile  string `json:"profile"`
	Device   string `json:"device"`
	Start    int    `json:"start"`
	Instance string `json:"instance"` // one that there is; empty: one to create
}

// MIGPlan is how to partition GPUs.
type MIGPlan struct {
	Steps       []MIGStep       `json:"steps"`       // in this order
	Assignments []MIGAssignment `json:"assignments"` // one for each profile
}

// MIGModels are all models that are known.
func MIGModels() ([]MIGModel, error) {
	var out C.trackbed_bytes
	var told *C.trackbed_error
	if err := failure(C.trackbed_mig_models(&out, &told), told); err != nil {
		return nil, err
	}
	var models []MIGModel
	return models, decode(taken(&out), &models)
}

// PlanMIG is how to partition GPUs so that each profile gets an instance. Only plans; nothing is done
// to any device. With reconfigure, free instances may be destroyed, as few as possible; those in use
// never are. ResourceExhausted tells too few free slices from slices that lie wrongly, and whether
// reconfiguring would help.
func PlanMIG(devices []MIGDevice, profiles []string, reconfigure bool) (plan MIGPlan, err error) {
	if devices == nil {
		devices = []MIGDevice{}
	}
	request, err := json.Marshal(map[string]interface{}{
		"devices": devices, "profiles": append([]string{}, profiles...), "reconfigure": reconfigure,
	})
	if err != nil {
		return plan, err
	}
	var out C.trackbed_bytes
	var told *C.trackbed_error
	status := C.trackbed_mig_plan(data(request), C.size_t(len(request)), &out, &told)
	if err = failure(status, told); err != nil {
		return plan, err
	}
	return plan, decode(taken(&out), &plan)
}
