// Package decision holds what the decisions about BackupSessions, RestoreSessions and RestoreBatches have in common.
// internal/kube/oneshot takes each of their steps the same way: it observes, asks for a decision, carries the decision
// out and writes the status. The package holds only data.
package decision

import (
	"time"

	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/run/hookstage"
)

// Base is the part of a decision that does not depend on the kind of the object. The zero value asks for nothing.
type Base struct {
	// Verify means that the decision gives up or repeats work. The caller's cache can be older than what the work has
	// reported, so the caller observes again without the cache, asks again, and carries out the second decision.
	Verify bool
	// Look means that the decision needs what is not observed every time: the VolumeSnapshots that a mover reports, or
	// the workloads that are scaled. The caller reads them past every cache, asks again, and carries out the second
	// decision.
	Look bool
	// Yield means that the next decision comes with the next reconcile, so that others can act on what the status says.
	Yield bool
	// Hooks are the attempts that must be under way once the status is written.
	Hooks []hookstage.Run
	// StopHooks are the attempts that must not begin any more.
	StopHooks []hookstage.Attempt
	// EndedHooks are the attempts that end with this decision.
	EndedHooks []hookstage.End
	// Thaws means that post hooks are under way. What the decision deletes is deleted after they are started, because
	// the API server can be slow to refuse a deletion. ThawBegins means that they begin with the next decision: it asks
	// for the deletions again.
	Thaws, ThawBegins bool
	// Event is emitted once the status is written. Nil means that nothing happened that anybody must know.
	Event *run.Event
	// After is when to ask again if nothing else happens. Zero means never.
	After time.Duration
	// Again is when to try again what the API server refuses for now: of all events, only the end of a target brings
	// a try sooner. Zero means that it refuses nothing that can pass.
	Again time.Duration
}
