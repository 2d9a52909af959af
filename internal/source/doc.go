// Package source turns a Git reference into a directory at a revision. It does not know Kubernetes and keeps nothing
// between calls. Every function is safe for concurrent use.
//
// Resolve asks what a reference stands for and costs one request, so a reconcile with nothing new is one ls-remote.
// Fetch checks that revision out.
//
// # Invariants, and the tests that break when they are broken
//
//   - A reconcile with nothing new is one request (TestResolveIsOneRequest); a
//     pinned commit is none.
//   - What is in the directory is that revision and nothing else: no .git, and of
//     a submodule only its mark (TestFetch, TestFetchLeavesNothingElse).
//   - Nothing is written outside the directory, and no symbolic link in it leads
//     outside (TestSymlinks, TestUnsafeNames).
//   - Sizes are checked before anything is written, and what cannot be checked
//     by then is bounded (TestLimits).
//   - A local path is never read, a credential never leaves for another host and
//     is in no error (TestURLs, TestRedirect, TestNoCredentialInErrors).
//   - Nothing is written of a revision that must be signed and is not, whatever the server says about it
//     (TestFetchVerified, TestATagOfAnother, TestAServerThatLies).
//   - Each failure has one kind and one sentence that says what to do
//     (TestErrors, TestSSHErrors, TestHostDown).
package source
