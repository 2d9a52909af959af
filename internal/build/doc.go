// Package build turns a verified directory into validated policy objects. It has no Kubernetes client, opens no
// connection and runs no plug-in, so the PolicySync controller and the command line find the same mistakes.
//
// Build is safe for concurrent use; kustomize builds run one after another.
//
// # Invariants, and the tests that break when they are broken
//
//   - Kustomize sees only files that were checked before, in memory: it can reach neither the network nor the rest of
//     the disk (TestBadInput, TestKustomizeSeesOnlyWhatItNames).
//   - The work is bounded by Limits, whatever the files hold (TestLimits, FuzzBuild).
//   - Every mistake names a file, and where there is one a document, line and field (TestBadInput).
//   - Mistakes come in the order of files, documents and lines (TestFindingsAreSorted).
//   - No message holds a value of a Secret (TestNoSecretInFindings).
package build
