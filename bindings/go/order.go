package trackbed

import "time"

// Orderer decides who of those that wait goes first, instead of an Order, of priorities and of
// ageing, which it may look at itself: of a scheduler, or of an engine (see Open). The same story must
// give the same answers. It is called while the scheduler or engine is, never two at a time; see the
// package's comment on ports. A ShareOrderer weighs tenants besides.
type Orderer interface {
	// Rank is where the task stands: the smaller goes first, then who was submitted first. A scheduler
	// asks once for each task that is submitted, predicted or restored; an error refuses it.
	Rank(task Task, submitted time.Time) (int64, error)
}

// ShareOrderer is an Orderer by whose shares tenants compete.
type ShareOrderer interface {
	Orderer
	// Share is what the tenant has had, in any unit: of two siblings, at each level of the tree, the
	// one with the smaller share goes first. An error counts as 0, and is what the call that needed it
	// returns.
	Share(tenant TenantID, usage TenantUsage, now time.Time) (float64, error)
}
