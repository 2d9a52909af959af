// Package policysync pulls backup policy out of Git and applies it.
//
// A reconcile asks the Git server what the reference stands for. If that, the generation and the requests are those of the
// last pass, nothing else happens. Else a pass fetches, builds, checks owners, applies and prunes. A pass is also made
// when the last one is older than driftInterval, so that edits by hand are reverted; it writes only what differs.
//
// # Invariants, and the tests that break when they are broken
//
//   - Nothing new costs one Git request and no write (TestNothingNewIsOneRequest).
//   - A bad revision changes nothing in the cluster (TestABadRevisionKeepsTheLastGoodOne).
//   - What is about to be applied is in the inventory before it is applied, so that a killed manager forgets no object
//     (TestTheInventoryIsWrittenFirst).
//   - A pass asks the API server only about objects that changed on either side (TestAChangeIsApplied,
//     TestEditsByHandAreReverted).
//   - An object of another owner is never touched (TestObjectsOfOthersAreNotTouched).
//   - Removing everything needs a consent to exactly that (TestTheGuard, TestTheGuardIsNotHiddenByARefusedRevision).
//   - Without an account the manager's rights reach no further when deleting than when applying
//     (TestWithoutAnAccountNothingOfAnAccountIsDeleted).
//   - The revision in force is kept in force while a newer one can't be applied
//     (TestEditsByHandAreRevertedWhileABadRevisionStands).
package policysync
