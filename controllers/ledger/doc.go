// Package ledger has two controllers. The Collector writes the records of ended objects into the outboxes of the
// Ledgers and then releases the objects. The Reconciler pushes an outbox to Git and then empties it.
//
// An outbox is a set of ConfigMaps; each ConfigMap is a parcel of records. Nothing but the outbox lies between the two
// controllers, so each can be killed between any two lines (TestCrash). What can't be written into it, the Collector
// reports to the Reconciler, and finds again after a restart. The order of their writes makes every step repeatable:
//
//	Collector:  ConfigMap, then finalizer. It does not write a record again that is in the outbox or in Git.
//	Reconciler: push, then status, then status.records of the objects, then the ConfigMaps. A push without changes
//	            does nothing.
//
// What was recorded in another branch, and is missing in the one to which a Ledger pushes now, goes the same way again:
// after the first push there, the Reconciler takes the commit out of status.records and gives the finalizer back.
//
// A commit comes only into the status of the object whose record it has, and never into one that was made again under
// the name (TestANamesakeGetsItsOwnRecord).
//
// A Ledger takes records of, and writes commits into objects of, only the namespaces that it may record
// (TestATenantsLedgerRecordsNoOtherNamespace, TestAForgedParcelOfATenantWritesIntoNoOtherNamespace). It pushes to no
// branch that a PolicySync has read before (TestABranchThatIsWatchedBefore, TestAFirstPushLooksForAPolicySyncOnceMore).
//
// The Collector runs one reconcile at a time. The Reconciler reconciles different Ledgers concurrently; they share the
// Outbox, the limiter and the memories, which are safe for concurrent use.
package ledger
