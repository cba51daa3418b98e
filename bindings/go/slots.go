package trackbed

// #include <trackbed.h>
import "C"

// Amount is so much of something, in thousandths of a unit.
type Amount int64

// One is one unit: a core, a device, of memory a byte.
const One Amount = 1000

// Amounts of memory as a slot ("mem": 16 * trackbed.GiB).
const (
	KiB = 1024 * One
	MiB = 1024 * KiB
	GiB = 1024 * MiB
)

// Float is the amount in units.
func (a Amount) Float() float64 { return float64(a) / float64(One) }

// Slots is how much of each slot, by its name: "cpu", "mem", "cuda.shares", …
type Slots map[string]Amount

// ParseAmount reads "16g" of mem, "1.5" of cuda.shares, "500m" of cpu. NotFound, with the nearest
// name, for an unknown slot.
func ParseAmount(slot, amount string) (Amount, error) {
	var out C.int64_t
	var told *C.trackbed_error
	status := C.trackbed_slot_parse(chars(slot), sizeOf(slot), chars(amount), sizeOf(amount), &out,
		&told)
	return Amount(out), failure(status, told)
}

// FormatAmount is the other way round.
func FormatAmount(slot string, amount Amount) (string, error) {
	var out C.trackbed_bytes
	var told *C.trackbed_error
	status := C.trackbed_slot_format(chars(slot), sizeOf(slot), C.int64_t(amount), &out, &told)
	if err := failure(status, told); err != nil {
		return "", err
	}
	return string(taken(&out)), nil
}

// DetectOptions say where DetectNode looks. The zero value is fine.
type DetectOptions struct {
	Root    string // where proc/ and sys/ are; empty: "/"
	NVML    string // NVIDIA's library; empty: libnvidia-ml.so.1
	GPUSlot string // how GPUs are handed out; empty: "cuda.device" and "cuda.shares"
}

// DetectNode is what this machine has, as far as this process may use it, as a node description in
// YAML. It loads NVIDIA's library if there is one.
func DetectNode(options DetectOptions) ([]byte, error) {
	var memory arena
	defer memory.free()
	native := C.trackbed_node_options{
		struct_size: C.sizeof_trackbed_node_options,
		root:        memory.text(options.Root),
		nvml:        memory.text(options.NVML),
		gpu_slot:    memory.text(options.GPUSlot),
	}
	var out C.trackbed_bytes
	var told *C.trackbed_error
	status := C.trackbed_node_detect(&native, &out, &told)
	if err := failure(status, told); err != nil {
		return nil, err
	}
	return taken(&out), nil
}

// CheckNode checks a node description, in YAML or JSON, and writes it in its canonical YAML. The
// error is an *Error with every mistake in Diagnostics.
func CheckNode(node []byte, options ParseOptions) ([]byte, error) {
	var out C.trackbed_bytes
	var told *C.trackbed_error
	status := C.trackbed_node_check(data(node), C.size_t(len(node)), C.trackbed_format(options.Format),
		chars(options.File), sizeOf(options.File), &out, &told)
	if err := failure(status, told); err != nil {
		return nil, err
	}
	return taken(&out), nil
}
