// Package ledger has two controllers. The Collector writes what ended into the outboxes of the Ledgers and lets it go; the
// Reconciler pushes an outbox to Git and empties it.
//
// Between the two lie only the ConfigMaps of the outbox, so that either may be killed between any two lines. The order of
// what they do makes every step repeatable:
//
//	Collector:  ConfigMap, then finalizer. A record that is in the outbox already, or in Git, is not written again.
//	Reconciler: push, then status, then the sessions' status.records, then the ConfigMaps. A push of what is there is none.
package ledger
