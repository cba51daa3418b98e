package trackbed

import (
	"encoding/json"
	"sync"
	"testing"
)

func newAllocator(t *testing.T) *SlotAllocator {
	t.Helper()
	allocator, err := NewSlotAllocator([]byte(node), SlotAllocatorOptions{})
	must(t, err)
	t.Cleanup(allocator.Close)
	return allocator
}

func prepare(t *testing.T, allocator *SlotAllocator, slots Slots) *SlotDemand {
	t.Helper()
	demand, err := allocator.Prepare(slots, EnforcementAccounting)
	must(t, err)
	t.Cleanup(demand.Close)
	return demand
}

func TestSlotsAreGivenAndGivenBack(t *testing.T) {
	noLeaks(t)
	allocator := newAllocator(t)
	demand := prepare(t, allocator, Slots{"cpu": 2 * One, "mem": GiB, "cuda.shares": One / 2})
	id, err := allocator.Allocate(demand)
	must(t, err)
	parts, err := allocator.Parts(id)
	must(t, err)
	held := Slots{}
	for _, part := range parts {
		held[part.Slot] += part.Amount
	}
	if held["cpu"] != 2*One || held["mem"] != GiB || held["cuda.shares"] != One/2 || len(held) != 3 {
		t.Errorf("found %v", held)
	}
	much := prepare(t, allocator, Slots{"cuda.shares": 1800})
	_, err = allocator.Allocate(much)
	wants(t, err, ResourceExhausted, "needs 1.8 cuda.shares, 1.5 of 2 free")
	short, err := allocator.Explain(much)
	must(t, err)
	if short.Kind != ShortfallShortage || short.Needed != 1800 || short.Free != 1500 ||
		short.Missing != 300 || short.Slot != "cuda.shares" || short.Message == "" {
		t.Errorf("found %+v", short)
	}
	usage, err := allocator.Usage()
	must(t, err)
	used := Amount(0)
	for _, device := range usage {
		if device.Slot == "cuda.shares" {
			used += device.Used
		}
	}
	if used != One/2 || allocator.Len() != 1 {
		t.Errorf("found %v used in %d allocations", used, allocator.Len())
	}
	must(t, allocator.Release(id))
	wants(t, allocator.Release(id), FailedPrecondition, "")
	_, err = allocator.Parts(id)
	wants(t, err, NotFound, "")
}

func TestSnapshotsOfSlots(t *testing.T) {
	noLeaks(t)
	one, two := newAllocator(t), newAllocator(t)
	id, err := one.Allocate(prepare(t, one, Slots{"cuda.shares": One}))
	must(t, err)
	snapshot, err := one.Snapshot()
	must(t, err)
	must(t, two.Restore(snapshot))
	copied, err := two.Copy()
	must(t, err)
	defer copied.Close()
	must(t, two.Release(id))
	if two.Len() != 0 || copied.Len() != 1 {
		t.Errorf("found %d and %d", two.Len(), copied.Len())
	}
	parts, err := copied.Parts(id)
	must(t, err)
	again, err := two.AllocateParts(parts)
	must(t, err)
	same, err := two.Parts(again)
	must(t, err)
	if len(same) != 1 || same[0] != parts[0] {
		t.Errorf("found %v, expected %v", same, parts)
	}
	wants(t, two.Restore(json.RawMessage(`{"allocations": 3}`)), InvalidArgument, "")
	wants(t, two.Restore(nil), InvalidArgument, "")
	_, err = two.AllocateParts(nil)
	if err == nil && two.Len() != 2 {
		t.Error("no parts are either refused or an allocation")
	}
}

func TestUnhealthyDevices(t *testing.T) {
	noLeaks(t)
	allocator := newAllocator(t)
	must(t, allocator.SetHealthy("gpu0", false))
	_, err := allocator.Allocate(prepare(t, allocator, Slots{"cuda.shares": 2 * One}))
	wants(t, err, ResourceExhausted, "cuda.shares")
	wants(t, allocator.SetHealthy("gpu7", false), NotFound, "gpu7")
}

func TestMistakesInNodesAndSlots(t *testing.T) {
	noLeaks(t)
	_, err := NewSlotAllocator([]byte("name: n1\ncpuu: 3\n"), SlotAllocatorOptions{})
	found := wants(t, err, InvalidArgument, "cpuu")
	if len(found.Diagnostics) == 0 || found.Diagnostics[0].Line != 2 {
		t.Errorf("found %v", found.Diagnostics)
	}
	_, err = CheckNode([]byte("[]"), ParseOptions{File: "n.yaml"})
	wants(t, err, InvalidArgument, "n.yaml")
	allocator := newAllocator(t)
	_, err = allocator.Prepare(Slots{"cuda.share": One}, EnforcementAccounting)
	wants(t, err, NotFound, "cuda.shares")
	_, err = allocator.Prepare(Slots{"cpu": 9 * One}, EnforcementAccounting)
	wants(t, err, ResourceExhausted, "cpu")
}

func TestAmounts(t *testing.T) {
	amount, err := ParseAmount("mem", "16g")
	must(t, err)
	if amount != 16*GiB {
		t.Errorf("found %v", amount)
	}
	text, err := FormatAmount("cuda.shares", 1500)
	must(t, err)
	if text != "1.5" || Amount(1500).Float() != 1.5 {
		t.Errorf("found %q", text)
	}
	_, err = ParseAmount("cpu", "many")
	wants(t, err, InvalidArgument, "many")
	yaml, err := DetectNode(DetectOptions{NVML: "/nowhere"})
	must(t, err)
	_, err = CheckNode(yaml, ParseOptions{})
	must(t, err)
}

func TestManyGoroutinesOneAllocator(t *testing.T) {
	noLeaks(t)
	allocator := newAllocator(t)
	demand := prepare(t, allocator, Slots{"cpu": One, "cuda.shares": One / 4})
	var group sync.WaitGroup
	for i := 0; i < 16; i++ { // of which 8 find room
		group.Add(1)
		go func() {
			defer group.Done()
			for n := 0; n < 500; n++ {
				id, err := allocator.Allocate(demand)
				if err != nil {
					wants(t, err, ResourceExhausted, "")
					continue
				}
				if err := allocator.Release(id); err != nil {
					t.Error(err)
				}
			}
		}()
	}
	group.Wait()
	if allocator.Len() != 0 {
		t.Errorf("%d are left", allocator.Len())
	}
	allocator.Close()
	allocator.Close()
	if _, err := allocator.Allocate(demand); err != ErrClosed {
		t.Errorf("found %v", err)
	}
	if _, err := allocator.Usage(); err != ErrClosed || allocator.Len() != 0 {
		t.Errorf("found %v", err)
	}
}
