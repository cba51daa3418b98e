package trackbed

// #include <trackbed.h>
import "C"

// Demand is what one member of a task asks of its node.
type Demand struct {
	CPU           Amount
	Memory        int64  // bytes
	Devices       Amount // whole ones and a part of one more
	DeviceKinds   uint64 // a set: bit k stands for kind k; 0: any
	Architectures uint32 // a set: bit a stands for architecture a; 0: any
	Counted       [MaxCounted]Amount
}

func goDemand(native *C.trackbed_demand) Demand {
	return Demand{
		CPU:           Amount(native.cpu),
		Memory:        int64(native.memory),
		Devices:       Amount(native.whole_devices)*One + Amount(native.share),
		DeviceKinds:   uint64(native.device_kinds),
		Architectures: uint32(native.architectures),
		Counted:       goCounted(native.counted),
	}
}

// Placer chooses where a demand is met. It is called while the scheduler is; see the package's
// comment on ports. A DemandObserver is told of demands besides.
type Placer interface {
	// Choose is a place, or false when nowhere. The same story must give the same choices. A choice
	// that is not possible, or an error, counts as nowhere and is what the call that needed it
	// returns.
	Choose(view *ClusterView, demand Demand) (Placement, bool, error)
}

// DemandObserver is a Placer that wants to know of each demand that arrives.
type DemandObserver interface {
	Placer
	ObserveDemand(demand Demand)
}

// ClusterView is the nodes as a Placer sees them, for one demand. Within Choose, and on its
// goroutine, only: afterwards it has no nodes.
type ClusterView struct {
	native *C.trackbed_cluster_view
	demand *C.trackbed_demand
}

// Len is how many nodes there are.
func (v *ClusterView) Len() int { return int(C.trackbed_cluster_view_size(v.native)) }

// Fits tells whether the node is open and has all of the demand free; then the devices are those that
// Trackbed would take there.
func (v *ClusterView) Fits(node NodeID) (Placement, bool) {
	if v.native == nil {
		return Placement{}, false
	}
	var first C.trackbed_placement
	if C.trackbed_cluster_view_fits(v.native, C.uint32_t(node), v.demand, &first) == 0 {
		return Placement{}, false
	}
	return goPlacement(first), true
}

// Node is what a node has, and what is left of it. NotFound.
func (v *ClusterView) Node(node NodeID) (NodeCapacity, NodeState, error) {
	if v.native == nil {
		return NodeCapacity{}, NodeState{}, ErrClosed
	}
	capacity := C.trackbed_node_capacity{struct_size: C.sizeof_trackbed_node_capacity}
	state := C.trackbed_node_state{struct_size: C.sizeof_trackbed_node_state}
	status := C.trackbed_cluster_view_node(v.native, C.uint32_t(node), &capacity, &state)
	return goCapacity(&capacity), goState(&state), failure(status, nil)
}
