// Package policysync pulls backup policy from Git and applies it.
//
// A reconcile asks the Git server which revision the reference names. If the revision, the generation and the requests
// are those of the last pass, nothing else happens. Otherwise a pass fetches, builds, checks owners, applies and
// prunes. A pass is also due if the last one is older than driftInterval, so that edits by hand are reverted; it writes
// only what differs.
//
// A Reconciler is safe for concurrent use; one PolicySync is reconciled by one goroutine at a time. What a process
// remembers lies in stores, which are safe for concurrent use and allowed to get lost.
//
// # Invariants, and the tests that break when they are broken
//
//   - A reconcile with nothing new costs one Git request and no write (TestNothingNewIsOneRequest).
//   - A bad revision changes nothing in the cluster (TestABadRevisionKeepsTheLastGoodOne).
//   - With spec.verify, nothing is built or applied that no trusted key has signed
//     (TestAStolenForgeAccountAppliesNothing, TestATagIsVerified), nor what a key has signed that is trusted no more
//     (TestTheTrustedKeysChange).
//   - An object is in the inventory before it is applied, so that a killed manager forgets no object
//     (TestTheInventoryIsWrittenFirst).
//   - A pass writes, and tries in a dry run, only objects that changed on either side (TestAChangeIsApplied,
//     TestEditsByHandAreReverted).
//   - A field that only kubectl owns does not outlive its removal from Git (TestAFieldThatKubectlAppliedGoesWithGit).
//     What a person wrote into a Secret does (TestWhatKubectlWroteIntoASecretStays).
//   - An object of another owner is never touched (TestObjectsOfOthersAreNotTouched).
//   - A branch to which a Ledger pushes is never applied (TestTheBranchOfALedgerIsNoPolicy,
//     TestAPolicySyncWaitsForTheFirstPushOfALedger).
//   - Removing everything needs a consent to exactly that (TestTheGuard, TestTheGuardIsNotHiddenByARefusedRevision).
//   - Nor does a Namespace go without a consent, or an object that takes backups along
//     (TestAMoveBetweenPolicySyncsDeletesNothing), or a Repository its Snapshots
//     (TestARepositoryWithSnapshotsGoesOnlyWithConsent).
//   - A consent counts for what it names until that has gone, in one revision (TestAConsentLastsUntilAWipeHasEnded,
//     TestAConsentThatDeletedNothingCountsForNoLaterRevision), and for nothing else
//     (TestAConsentCountsForNothingThatStayed).
//   - Nothing that only a removal needs stops an apply (TestAStaleObjectHoldsUpOnlyItself).
//   - An object that is being deleted holds up no other, and is applied again once it is gone
//     (TestAnObjectThatIsBeingDeletedHoldsUpOnlyItself).
//   - What data that stays depends on stays too (TestASecretThatARepositoryNeedsIsKept,
//     TestANamespaceWithWhatIsKeptStays), and so does a Repository that policy names
//     (TestARepositoryThatPolicyNamesIsKept).
//   - Without a ServiceAccount the manager deletes only what it is allowed to apply
//     (TestWithoutAnAccountNothingOfAnAccountIsDeleted).
//   - The revision in force stays in force while a newer one can't be applied
//     (TestEditsByHandAreRevertedWhileABadRevisionStands).
package policysync
