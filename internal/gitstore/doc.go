// Package gitstore appends small files to one branch of a remote Git repository and can tell, after any failure,
// whether they arrived. It is the only package that knows the traps of go-git, so it also reads repositories for
// others (Remote).
//
// A Store owns one private directory for one (URL, branch). It builds commits as objects (blobs, the trees on the
// edited paths, one commit), never as a work tree, and pushes exactly those objects in a request whose ref update is
// a compare-and-swap. Its cost depends on the size of the edit, not on the number of files or commits in the
// repository.
//
// # Invariants, and the tests that break when they are broken
//
//   - Nothing is reported as pushed unless the server said so for our ref, or
//     the ref was read back and is our commit (TestLostReply, TestFaults).
//   - Never a forced update: each push names the old value of the ref, so
//     another writer's commit cannot be overwritten (TestRace,
//     TestMovedUnderThePush).
//   - Update can be repeated after any error: equal content makes no commit, so
//     a record is present exactly once (TestLostReply, TestLostReplyThenMoved,
//     TestErrorEndsSkipping, TestRace).
//   - "Unchanged" is reported only for a head that the server has just confirmed
//     (TestFetchIsSkippedWhileAlone).
//   - Existing files under an append-only prefix are never changed or deleted
//     (TestAppendOnly).
//   - A branch that no longer contains our last pushed commit is reported as
//     ErrHistoryRewritten and not written to (TestHistoryRewritten,
//     TestHistoryBound, TestUnknownLastPushedDownloadsNothing).
//   - Trees are byte for byte those that C git would write (TestTreeOracle), and
//     no path is written that C git or a common file system would refuse or
//     rename (TestCheckPath, TestCheckPathAgainstGit, FuzzCheckPath).
//   - Commit dates never run backwards along the branch
//     (TestCommitDatesNeverRunBackwards); commit texts cannot inject a header
//     (TestCommitTextsAreCleaned).
//   - No credential is part of an error or of a file, or leaves for another
//     host or port (TestScrub, TestFaults, TestParseURL, TestSecretsAreNotPrinted,
//     TestRedirectsCarryNoCredentials).
//   - SSH trusts only a key in known_hosts (TestOpenRefuses, TestHostKey).
//   - What a server sends is bounded in bytes (TestDownloadBound), for a Remote
//     after decompression too and before it is stored (TestRemoteDownloadLimits);
//     every wait ends with the context (TestSilentServerObeysContext).
//   - The directory is a cache: deleting or damaging it loses nothing that was
//     pushed (TestCorruptStore), it does not grow for ever (TestRecycling), and
//     nobody else's directory is touched (TestOpenRefuses,
//     TestDirectoryBelongsToOneBranch). Commits that were not pushed are not
//     kept; pending records live only in the caller's queue.
//
// # Servers
//
// HTTP and SSH servers with and without partial clone behave alike (TestConformance). They differ in how little is
// fetched: single trees if the server hands out objects by hash, commits and trees if it filters, everything at depth
// 1 otherwise.
//
// # Concurrency and freshness
//
// All methods are safe for concurrent use and run one at a time (TestConcurrentUse). A second Store on the same
// directory, in this or another process, is refused with errLocked. Head, ReadFile, Lookup, List and Commit describe
// the state at the last Fetch or Push plus local commits. Fetch drops local commits that were not pushed.
package gitstore
