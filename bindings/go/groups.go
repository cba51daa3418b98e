package trackbed

// #include "ports.h"
import "C"

import (
	"runtime"
	"time"
)

// Principal is who asks. A nil *Principal stands for the program itself, which may do everything.
type Principal struct {
	Tenant         TenantID
	OperatesNodes  bool // may add, drain and open nodes
	SetsPolicies   bool // may make groups and change their rules
	ManagesTenants bool // may add tenants and set quotas below its own
}

func (p *Principal) native() *C.trackbed_principal {
	if p == nil {
		return nil
	}
	return &C.trackbed_principal{
		struct_size:     C.sizeof_trackbed_principal,
		tenant:          C.uint32_t(p.Tenant),
		operates_nodes:  flag(p.OperatesNodes),
		sets_policies:   flag(p.SetsPolicies),
		manages_tenants: flag(p.ManagesTenants),
	}
}

// GroupRules are what a group is for.
type GroupRules struct {
	Architectures uint32     // of the nodes that may be added: a set; 0: any
	Allowed       []TenantID // these and all below; none: everybody
}

func (r *GroupRules) native(memory *arena) *C.trackbed_group_rules {
	native := &C.trackbed_group_rules{
		struct_size:   C.sizeof_trackbed_group_rules,
		architectures: C.uint32_t(r.Architectures),
		allowed_count: C.size_t(len(r.Allowed)),
	}
	if len(r.Allowed) > 0 {
		native.allowed = memory.numbers(r.Allowed)
	}
	return native
}

// Groups are several schedulers with common tenants, and who may use and who may change which.
// PermissionDenied names the right or rule in the way; NotFound is an unknown group; else errors are
// as of the Scheduler's method of that name.
type Groups struct {
	*turnstile                    // apart, so that ports do not keep forgotten groups alive
	native     *C.trackbed_groups // nil once they are closed
	ports      map[string]hostPorts
}

// NewGroups makes none yet. Close them.
func NewGroups() (*Groups, error) {
	var native *C.trackbed_groups
	var told *C.trackbed_error
	if err := failure(C.trackbed_groups_create(&native, &told), told); err != nil {
		return nil, err
	}
	live.Add(1)
	groups := &Groups{turnstile: &turnstile{}, native: native, ports: map[string]hostPorts{}}
	runtime.SetFinalizer(groups, func(g *Groups) { _ = g.Close() })
	return groups, nil
}

// Close frees the groups and their schedulers. FailedPrecondition from within a port of theirs.
func (g *Groups) Close() error {
	if err := g.enter(); err != nil {
		return err
	}
	defer g.leave()
	if g.native != nil {
		runtime.SetFinalizer(g, nil)
		C.trackbed_groups_free(g.native)
		g.native = nil
		live.Add(-1)
	}
	return nil
}

func (g *Groups) call(
	do func(native *C.trackbed_groups, told **C.trackbed_error) C.trackbed_status) error {
	if err := g.enter(); err != nil {
		return err
	}
	defer g.leave()
	if g.native == nil {
		return ErrClosed
	}
	var told *C.trackbed_error
	return failure(do(g.native, &told), told)
}

// AddTenant adds a tenant to all groups.
func (g *Groups) AddTenant(who *Principal, parent TenantID, name string) (tenant TenantID, err error) {
	err = g.call(func(native *C.trackbed_groups, told **C.trackbed_error) C.trackbed_status {
		var number C.uint32_t
		status := C.trackbed_groups_add_tenant(native, who.native(), C.uint32_t(parent), chars(name),
			sizeOf(name), &number, told)
		tenant = TenantID(number)
		return status
	})
	return tenant, err
}

// SetQuota changes the quota of a tenant in a group.
func (g *Groups) SetQuota(who *Principal, group string, tenant TenantID, quota Quota) error {
	given, err := quota.native()
	if err != nil {
		return err
	}
	return g.call(func(native *C.trackbed_groups, told **C.trackbed_error) C.trackbed_status {
		return C.trackbed_groups_set_quota(native, who.native(), chars(group), sizeOf(group),
			C.uint32_t(tenant), &given, told)
	})
}

// AddGroup makes a group.
func (g *Groups) AddGroup(who *Principal, group string, rules GroupRules,
	options SchedulerOptions) error {
	var memory arena
	defer memory.free()
	ports, chosen := schedulerOptions(&options, g.turnstile, &memory)
	err := g.call(func(native *C.trackbed_groups, told **C.trackbed_error) C.trackbed_status {
		return C.trackbed_groups_add_group(native, who.native(), chars(group), sizeOf(group),
			rules.native(&memory), chosen, told)
	})
	if err != nil {
		ports.giveBack()
		return err
	}
	g.mutex.Lock()
	defer g.mutex.Unlock()
	g.ports[group] = ports
	return nil
}

// SetRules changes what a group is for.
func (g *Groups) SetRules(who *Principal, group string, rules GroupRules) error {
	var memory arena
	defer memory.free()
	return g.call(func(native *C.trackbed_groups, told **C.trackbed_error) C.trackbed_status {
		return C.trackbed_groups_set_rules(native, who.native(), chars(group), sizeOf(group),
			rules.native(&memory), told)
	})
}

// AddNode adds a node to a group.
func (g *Groups) AddNode(who *Principal, group, name string, capacity NodeCapacity) (node NodeID,
	err error) {
	given, err := capacity.native()
	if err != nil {
		return 0, err
	}
	err = g.call(func(native *C.trackbed_groups, told **C.trackbed_error) C.trackbed_status {
		var number C.uint32_t
		status := C.trackbed_groups_add_node(native, who.native(), chars(group), sizeOf(group),
			chars(name), sizeOf(name), &given, &number, told)
		node = NodeID(number)
		return status
	})
	return node, err
}

// SetNodeOpen opens a node, or drains it.
func (g *Groups) SetNodeOpen(who *Principal, group, name string, open bool) error {
	return g.call(func(native *C.trackbed_groups, told **C.trackbed_error) C.trackbed_status {
		return C.trackbed_groups_set_node_open(native, who.native(), chars(group), sizeOf(group),
			chars(name), sizeOf(name), flag(open), told)
	})
}

// Usable are the groups that the principal may submit such work to.
func (g *Groups) Usable(who *Principal, kind WorkKind) ([]string, error) {
	var out C.trackbed_bytes
	err := g.call(func(native *C.trackbed_groups, told **C.trackbed_error) C.trackbed_status {
		return C.trackbed_groups_usable(native, who.native(), C.int32_t(kind), &out, told)
	})
	if err != nil {
		return nil, err
	}
	var names []string
	return names, decode(taken(&out), &names)
}

// Submit adds a task of the principal's tenant, or one below, to the queue of a group.
func (g *Groups) Submit(who *Principal, group string, task Task, now time.Time) error {
	given := task.native()
	return g.call(func(native *C.trackbed_groups, told **C.trackbed_error) C.trackbed_status {
		return C.trackbed_groups_submit(native, who.native(), chars(group), sizeOf(group), &given,
			nanoseconds(now), told)
	})
}

// Predict is what would become of a task of the principal's tenant, or one below, if it were
// submitted now: see Scheduler.Predict.
func (g *Groups) Predict(who *Principal, group string, task Task, now time.Time) (time.Time,
	WaitReason, error) {
	given := task.native()
	var start C.int64_t
	reason := C.trackbed_wait_reason{struct_size: C.sizeof_trackbed_wait_reason}
	var sentence C.trackbed_bytes
	err := g.call(func(native *C.trackbed_groups, told **C.trackbed_error) C.trackbed_status {
		return C.trackbed_groups_predict(native, who.native(), chars(group), sizeOf(group), &given,
			nanoseconds(now), &start, &reason, &sentence, told)
	})
	if err != nil {
		return time.Time{}, WaitReason{}, err
	}
	return goTime(start), goReason(&reason, string(taken(&sentence))), nil
}

// Withdraw takes out a waiting task of the principal's tenant, or one below.
func (g *Groups) Withdraw(who *Principal, group string, task TaskID, now time.Time) error {
	return g.call(func(native *C.trackbed_groups, told **C.trackbed_error) C.trackbed_status {
		return C.trackbed_groups_withdraw(native, who.native(), chars(group), sizeOf(group),
			C.uint64_t(task), nanoseconds(now), told)
	})
}

// Scheduler is the scheduler of a group, for the program, which runs what is planned. It lives, and
// is closed, with the groups. Nil when there is no such group.
func (g *Groups) Scheduler(group string) *Scheduler {
	var scheduler *Scheduler
	_ = g.call(func(groups *C.trackbed_groups, _ **C.trackbed_error) C.trackbed_status {
		native := C.trackbed_groups_scheduler(groups, chars(group), sizeOf(group))
		if native == nil {
			return C.TRACKBED_OK
		}
		scheduler = &Scheduler{turnstile: g.turnstile, ports: g.ports[group]}
		scheduler.close = func() {}
		scheduler.native = func() *C.trackbed_scheduler {
			if g.native == nil {
				return nil
			}
			return native
		}
		return C.TRACKBED_OK
	})
	return scheduler
}
